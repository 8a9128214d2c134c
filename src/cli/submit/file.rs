//! Many jobs from a file: read and sent in chunks, so that any number fits in little memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Submit, Taken, TakenJob};
use crate::cli::screen::Screen;
use crate::cli::session::{Refusal, Session};
use crate::cli::words::count;
use crate::cli::{Exit, Failure};
use crate::units::spell_size;

/// Lines of a chunk, which is taken as a whole or not at all.
const LINES: usize = 500;
/// Bytes of a chunk; a single longer line goes alone.
const BYTES: usize = 4 << 20;
/// The longest line read, in bytes, unless `worker.body_limit` lets a job be larger.
const LONGEST_LINE: u64 = 16 << 20;

/// Lines that are sent together.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// The number of its first line.
    first: usize,
    lines: usize,
}

/// What was done so far.
#[derive(Default)]
struct Tally {
    submitted: u64,
    known: u64,
}

/// Submits every line; the jobs are the answer where their ends are waited for.
pub(super) async fn submit(
    session: &Session,
    submit: &Submit,
    path: &Path,
    screen: &mut Screen,
) -> Result<Vec<TakenJob>, Failure> {
    let (mut reader, size) = open(path)?;
    let (progress, mut tally, mut jobs) = (bar(size), Tally::default(), Vec::new());
    let longest = LONGEST_LINE.max(session.body_limit());
    let batch = batch(submit, path).map_err(|error| unreadable(path, &error))?;
    let mut next = 1;
    loop {
        let read = read(&mut reader, next, submit.from_line, longest).map_err(|error| unreadable(path, &error));
        let chunk = read.map_err(|failure| tally.so_far(failure, next))?;
        next = chunk.first + chunk.lines;
        if chunk.lines == 0 {
            break;
        }
        progress.inc(chunk.bytes.len() as u64);
        if chunk.bytes.trim_ascii().is_empty() {
            continue;
        }
        let bytes = batch.as_ref().map_or_else(|| chunk.bytes.clone(), |batch| in_batch(&chunk.bytes, batch));
        let ask = submit.ask().body("application/x-ndjson", bytes);
        let taken: Taken = session.ask(ask).await.map_err(|refusal| tally.refused(refusal, chunk.first))?;
        tally.add(&taken);
        if submit.wait.is_some() {
            jobs.extend(taken.jobs);
        } else if screen.json {
            taken.jobs.iter().try_for_each(|job| screen.document(job))?;
        }
    }
    progress.finish_and_clear();
    if !screen.json {
        let text = format!("{} submitted{}", count(tally.submitted, "job", "jobs"), tally.known());
        if submit.wait.is_some() { eprintln!("{text}") } else { screen.line(&text)? }
    }
    Ok(jobs)
}

fn open(path: &Path) -> Result<(Box<dyn BufRead>, Option<u64>), Failure> {
    if path == Path::new("-") {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::not_found(format!("there is no file {}", path.display())),
        _ => unreadable(path, &error),
    })?;
    let size = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
    Ok((Box::new(BufReader::new(file)), size))
}

/// The batch that the jobs are put into, as JSON: as large as the file has jobs, unless its size is said.
fn batch(submit: &Submit, path: &Path) -> io::Result<Option<Value>> {
    let Some(batch) = &submit.job.batch else { return Ok(None) };
    let size = match batch.size {
        None if path.is_file() => Some(jobs_in(&mut BufReader::new(File::open(path)?))?),
        size => size,
    };
    Ok(Some(serde_json::json!({ "id": batch.id, "size": size })))
}

/// Lines that are not blank.
fn jobs_in(reader: &mut impl BufRead) -> io::Result<u64> {
    let (mut jobs, mut blank) = (0, true);
    loop {
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            return Ok(jobs + u64::from(!blank));
        }
        for byte in piece {
            match byte {
                b'\n' => {
                    jobs += u64::from(!blank);
                    blank = true;
                }
                byte => blank &= byte.is_ascii_whitespace(),
            }
        }
        let length = piece.len();
        reader.consume(length);
    }
}

/// Each job that names no batch put into this one; what is no JSON object is left for the API to refuse.
fn in_batch(lines: &[u8], batch: &Value) -> Vec<u8> {
    let mut written = Vec::with_capacity(lines.len());
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        match serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(line) {
            Ok(mut job) if !job.contains_key("batch") && !job.contains_key("batchid") => {
                // a value of JSON always has a spelling
                job.extend(serde_json::value::to_raw_value(batch).ok().map(|batch| ("batch".to_owned(), batch)));
                written.extend(serde_json::to_vec(&job).unwrap_or_default());
                written.push(b'\n');
            }
            _ => written.extend_from_slice(line),
        }
    }
    written
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::InvalidData {
        return Failure::usage(error.to_string());
    }
    Failure::failed(format!("cannot read {}: {error}", path.display()))
}

/// Reads the next chunk; lines before `from` are passed over, as empty ones are by the API, and counted.
///
/// A line of more than `longest` bytes is an error: in two pieces it would be two jobs.
fn read(reader: &mut dyn BufRead, first: usize, from: usize, longest: u64) -> io::Result<Chunk> {
    let mut chunk = Chunk { first, ..Chunk::default() };
    while chunk.lines < LINES && chunk.bytes.len() < BYTES {
        let start = chunk.bytes.len();
        let length = reader.take(longest + 1).read_until(b'\n', &mut chunk.bytes)?;
        if length == 0 {
            break;
        }
        if length as u64 > longest {
            let message = format!("line {}: over {}, larger than any job", first + chunk.lines, spell_size(longest));
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        if !chunk.bytes.ends_with(b"\n") {
            chunk.bytes.push(b'\n'); // the last line
        }
        if first + chunk.lines < from {
            chunk.bytes.truncate(start);
            chunk.bytes.push(b'\n');
        }
        chunk.lines += 1;
    }
    Ok(chunk)
}

/// Bytes where the size is known, on a terminal only.
fn bar(size: Option<u64>) -> ProgressBar {
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{wide_bar} {bytes}/{total_bytes} {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

impl Tally {
    fn add(&mut self, taken: &Taken) {
        let known = taken.jobs.iter().filter(|job| job.existing).count() as u64;
        self.known += known;
        self.submitted += taken.jobs.len() as u64 - known;
    }

    fn known(&self) -> String {
        if self.known == 0 { String::new() } else { format!(", {} known already", count(self.known, "was", "were")) }
    }

    /// The line of the file instead of the line of the chunk, and where to go on.
    fn refused(&self, refusal: Refusal, first: usize) -> Failure {
        let Refusal { mut failure, line } = refusal;
        if let Some(line) = line {
            failure.message = format!("line {}: {}", first + line - 1, failure.message);
        }
        self.so_far(failure, first)
    }

    fn so_far(&self, failure: Failure, first: usize) -> Failure {
        let nothing = self.submitted + self.known == 0;
        let message = match nothing {
            true => format!("{}; nothing was submitted", failure.message),
            false => format!(
                "{}; the {} before line {first} are submitted",
                failure.message,
                count(self.submitted + self.known, "job", "jobs")
            ),
        };
        let exit = if nothing { failure.exit } else { Exit::Partly };
        Failure::new(exit, message).fix(match nothing {
            true => "put it right and submit again".to_owned(),
            false => format!("put it right and go on with --from-line {first}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(text: &str, from: usize) -> Vec<(usize, usize, String)> {
        let mut reader = text.as_bytes();
        let (mut all, mut next) = (Vec::new(), 1);
        loop {
            let chunk = read(&mut reader, next, from, LONGEST_LINE).unwrap();
            if chunk.lines == 0 {
                return all;
            }
            next = chunk.first + chunk.lines;
            all.push((chunk.first, chunk.lines, String::from_utf8(chunk.bytes).unwrap()));
        }
    }

    #[test]
    fn a_file_is_read_in_chunks_whose_lines_keep_their_numbers() {
        let text: String = (1..=1201).map(|line| format!("{line}\n")).collect();
        let sizes: Vec<(usize, usize)> = chunks(&text, 1).into_iter().map(|(first, lines, _)| (first, lines)).collect();
        assert_eq!(sizes, [(1, 500), (501, 500), (1001, 201)]);
    }

    #[test]
    fn a_last_line_without_a_break_is_a_line_and_skipped_ones_leave_empty_lines() {
        assert_eq!(chunks("a\nb\nc", 3), [(1, 3, "\n\nc\n".into())]);
        assert_eq!(chunks("", 1), []);
    }

    #[test]
    fn jobs_are_put_into_a_batch_but_for_those_that_name_one() {
        let lines = b"{\"type\":\"t\",\"data\":1.0}\n\n{\"type\":\"t\",\"batch\":{\"id\":\"own\"}}\nnonsense\n";
        let written = String::from_utf8(in_batch(lines, &serde_json::json!({"id": "b", "size": 3}))).unwrap();
        let expected = "{\"batch\":{\"id\":\"b\",\"size\":3},\"data\":1.0,\"type\":\"t\"}\n\n\
                        {\"type\":\"t\",\"batch\":{\"id\":\"own\"}}\nnonsense\n";
        assert_eq!(written, expected);
        assert_eq!(jobs_in(&mut &lines[..]).unwrap(), 3);
        assert_eq!(jobs_in(&mut &b"a\n \r\nb"[..]).unwrap(), 2);
    }

    #[test]
    fn a_large_line_ends_its_chunk() {
        let text = format!("{}\nshort\n", "x".repeat(BYTES));
        let sizes: Vec<usize> = chunks(&text, 1).into_iter().map(|(_, lines, _)| lines).collect();
        assert_eq!(sizes, [1, 1]);
    }

    #[test]
    fn a_line_longer_than_any_job_is_refused_and_not_sent_in_pieces() {
        let refused = read(&mut "short\n0123456789\n".as_bytes(), 1, 1, 10).err().unwrap();
        assert_eq!(refused.to_string(), "line 2: over 10B, larger than any job");
        assert_eq!(read(&mut "short\n012345678\n".as_bytes(), 1, 1, 10).unwrap().lines, 2);
    }
}
