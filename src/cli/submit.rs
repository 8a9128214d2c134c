//! `windlass submit`: one job from the command line, or many from a file of JSON lines.

mod file;
pub(super) mod wait;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::filter::spelled;
use super::screen::Screen;
use super::session::{Ask, Missing, Reach, Session};
use super::{Exit, Failure, Globals};
use crate::admin::intake::{Taken, TakenJob};
use crate::units::parse_duration;

/// Submit a job, or a file of jobs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass submit image.resize '{\"file\": \"cat.png\", \"width\": 200}'
  windlass submit report.build --wait 30s      prints what the job returned
  windlass submit --file jobs.jsonl            one job per line, as JSON
  windlass submit --file jobs.jsonl --batch b1 the same, as one job batch
  producer | windlass submit --file -

With an id of your own (--id) a repeated submit adds nothing. A line that is no
job is named by its number, and nothing of its chunk (500 lines) is taken.")]
pub struct Submit {
    /// What is to be done, such as image.resize; a route takes it
    #[arg(value_name = "TYPE", required_unless_present = "file")]
    kind: Option<String>,
    /// The payload: any JSON
    #[arg(value_parser = json)]
    data: Option<Box<RawValue>>,
    /// Jobs from a file of JSON lines, or - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kind", "data", "id", "key", "tenant", "priority", "delay", "not_before", "deadline"])]
    file: Option<PathBuf>,
    /// Start at this line of the file
    #[arg(long, value_name = "LINE", default_value_t = 1, requires = "file", hide_default_value = true)]
    from_line: usize,
    /// Into this queue [default: the one that a pool takes from]
    #[arg(long)]
    queue: Option<String>,
    /// Wait for the end and print the result, at most so long [default: 5m]
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "5m", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// Unchecked, as a foreign producer would put it
    #[arg(long)]
    as_is: bool,
    #[command(flatten)]
    job: JobOptions,
    #[command(flatten)]
    reach: Reach,
}

/// The keys of a job beside its type and data.
#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "The job")]
struct JobOptions {
    /// Its id; a known one adds nothing [default: a new UUID]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Its ordering or partition key
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// For whom it is done
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    /// 9 goes first, 0 last [default: 4]
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=9))]
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    /// Not before this time has passed, such as 30s
    #[arg(long, value_name = "TIME", value_parser = spelled)]
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<String>,
    /// Not before this instant (RFC 3339)
    #[arg(long, value_name = "INSTANT", conflicts_with = "delay")]
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<jiff::Timestamp>,
    /// Pointless after this: an instant, or a time from now such as 10m
    #[arg(long, value_name = "WHEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<String>,
    /// The job batch it belongs to; with --file, all that name none
    #[arg(long, value_name = "ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<Batch>,
    /// How many jobs the batch has [default: with --file, its jobs]
    #[arg(long, value_name = "JOBS", requires = "batch", value_parser = clap::value_parser!(u64).range(1..))]
    #[serde(skip)]
    batch_size: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
struct Batch {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

impl From<String> for Batch {
    fn from(id: String) -> Self {
        Batch { id, size: None }
    }
}

/// The job as Windlass JSON.
#[derive(Serialize)]
struct Job<'a> {
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    #[serde(flatten)]
    options: &'a JobOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

fn json(text: &str) -> Result<Box<RawValue>, String> {
    RawValue::from_string(text.to_owned())
        .map_err(|error| format!("{error}; write JSON, and quote it for the shell, such as '{{\"width\": 200}}'"))
}

pub(super) async fn run(mut submit: Submit, globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    let size = submit.job.batch_size;
    if let Some(batch) = &mut submit.job.batch {
        batch.size = size;
    }
    let session = Session::open(submit.reach.target(globals)?, Missing::Create).await?;
    let jobs = match &submit.file {
        Some(path) => file::submit(&session, &submit, path, screen).await?,
        None => one(&session, &submit, screen).await?,
    };
    match submit.wait {
        Some(wait) => wait::wait(session, jobs, wait, screen).await,
        None => {
            session.close().await;
            Ok(Exit::Done)
        }
    }
}

/// Submits the job of the command line. Its id is the answer, so that a script can keep it.
async fn one(session: &Session, submit: &Submit, screen: &mut Screen) -> Result<Vec<TakenJob>, Failure> {
    let job = Job { kind: submit.kind.as_deref(), options: &submit.job, data: submit.data.as_deref() };
    let taken: Taken = session.ask(submit.ask().json(&job)).await?;
    for job in &taken.jobs {
        if job.existing && !screen.json {
            eprintln!("note: the id is known already; nothing was added");
        }
        match submit.wait {
            None => screen.answer(job, &job.id)?,
            Some(_) if screen.json => {}
            Some(_) => eprintln!("submitted {} to {}", job.id, job.queue),
        }
    }
    Ok(taken.jobs)
}

impl Submit {
    fn ask(&self) -> Ask {
        let ask = Ask::post("/jobs").with_any("queue", self.queue.as_deref());
        if self.as_is { ask.with("as_is", "true") } else { ask }
    }
}
