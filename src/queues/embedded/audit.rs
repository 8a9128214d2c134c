//! The proof that nothing was lost: what went in less what came out is what stands in the file, id by id.
//!
//! Each commit adds the ids it takes in and lets out to sums of 128-bit hashes (`ledger.rs`). The sum over the rows must
//! be what is left; a row that was deleted, added or renamed behind the store's back cannot keep it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use serde::Serialize;

use super::file::OpenError;
use super::known;
use super::ledger::{self, FILE, Line, Lines, Tally};
use super::place::{Place, QueueNumber};
use super::ready_queue::DEAD_SUFFIX;
use super::schema::{self, explain};
use super::store::Store;
use crate::ports::QueueError;

/// What an audit found.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    pub ok: bool,
    /// One line per queue that jobs were submitted to.
    pub queues: Vec<AuditLine>,
    /// Ids of ended jobs that were forgotten before their time, because too many were kept.
    pub evicted: u64,
    /// What does not agree, in sentences; empty when `ok`.
    pub problems: Vec<String>,
}

/// The account of one queue: `submitted = completed + discarded + moved + dead + waiting`.
#[derive(Clone, Debug, Serialize)]
pub struct AuditLine {
    pub queue: Arc<str>,
    pub submitted: u64,
    pub completed: u64,
    pub discarded: u64,
    /// Kept by another system by now.
    pub moved: u64,
    /// In the dead letters of this file.
    pub dead: u64,
    /// Waiting, delayed, parked or running.
    pub waiting: u64,
    pub balanced: bool,
}

/// Audits a file, whether or not a process has it open; one read of one moment.
///
/// # Errors
/// When the file is not a store or cannot be read; damage that can be named is a finding, not an error.
pub fn audit(path: &Path) -> Result<Audit, OpenError> {
    let mut connection = schema::open_foreign_reader(path)?;
    let explain = |error: rusqlite::Error| explain(path, &error);
    let snapshot = connection.transaction().map_err(explain)?;
    take_stock(&snapshot).map_err(explain)
}

impl Store {
    /// Audits this store while it works.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn audit(&self) -> Result<Audit, QueueError> {
        self.shared.read(|_, connection| take_stock(connection)).await
    }
}

struct Named {
    name: Arc<str>,
    seed: u64,
}

type Queues = BTreeMap<QueueNumber, Named>;

/// What stands in the file for one home, in its dead letters and elsewhere.
#[derive(Default)]
struct Standing {
    dead: i64,
    waiting: i64,
    all: Tally,
}

fn take_stock(connection: &Connection) -> rusqlite::Result<Audit> {
    let mut problems = quick_check(connection)?;
    if !problems.is_empty() {
        return Ok(Audit { ok: false, queues: Vec::new(), evicted: 0, problems });
    }
    let queues = read_queues(connection)?;
    let lines = ledger::read_lines(connection)?;
    let Jobs { homes, lanes, each } = read_jobs(connection, &queues, &mut problems)?;
    for (number, queue) in &queues {
        for line in [Line::Waiting, Line::Delayed, Line::Parked] {
            let counted = lines.get(&(*number, line)).map_or(0, |tally| tally.count);
            let found = lanes.get(&(*number, line)).copied().unwrap_or_default();
            if counted != found {
                problems.push(format!("{}: {counted} jobs were counted as {}, {found} are there", queue.name, line.as_str()));
            }
        }
    }
    problems.extend(compare_ids(connection, each)?);
    let accounts = queues.iter().filter_map(|(number, queue)| account(*number, queue, &lines, homes.get(number)));
    let accounts: Vec<AuditLine> = accounts.collect();
    for line in accounts.iter().filter(|line| !line.balanced) {
        let left = line.submitted as i128 - (line.completed + line.discarded + line.moved) as i128;
        let there = line.dead + line.waiting;
        problems.push(format!("{}: {left} jobs must be there by the ledger, {there} are, or others than those", line.queue));
    }
    let evicted = lines.get(&(FILE, Line::Evicted)).map_or(0, |tally| unsigned(tally.count));
    Ok(Audit { ok: problems.is_empty(), queues: accounts, evicted, problems })
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}

fn quick_check(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = connection.prepare("PRAGMA quick_check(10)")?;
    let found: Vec<String> = check.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}

fn read_queues(connection: &Connection) -> rusqlite::Result<Queues> {
    let mut select = connection.prepare("SELECT number, name FROM queues")?;
    let salt = schema::salt(connection)?;
    let read = select.query_map([], |row| {
        let name: String = row.get(1)?;
        Ok((row.get(0)?, Named { seed: ledger::seed(salt, &name), name: name.into() }))
    })?;
    read.collect()
}

/// All jobs: their sums by home, their numbers by where they stand, and each by its digest.
#[derive(Default)]
struct Jobs {
    homes: HashMap<QueueNumber, Standing>,
    lanes: HashMap<(QueueNumber, Line), i64>,
    /// In the order of the digests.
    each: Vec<Found>,
}

struct Found {
    digest: u128,
    place: Place,
    /// What is known under the digest, as its column.
    known: i64,
}

fn read_jobs(connection: &Connection, queues: &Queues, problems: &mut Vec<String>) -> rusqlite::Result<Jobs> {
    let mut jobs = Jobs::default();
    let mut select = connection.prepare("SELECT place, home, id FROM jobs")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (place, home, id) = (Place(row.get(0)?), row.get(1)?, row.get_ref(2)?.as_str()?);
        let (Some(queue), Some(lies_in)) = (queues.get(&home), queues.get(&place.queue())) else {
            problems.push(format!("job {id:?} belongs to a queue that does not exist"));
            continue;
        };
        let digest = ledger::digest(queue.seed, id);
        let standing = jobs.homes.entry(home).or_default();
        standing.all.add(Tally { count: 1, sum: digest });
        let dead = lies_in.name.ends_with(DEAD_SUFFIX);
        *(if dead { &mut standing.dead } else { &mut standing.waiting }) += 1;
        *jobs.lanes.entry((place.queue(), Line::of_lane(place.lane()))).or_default() += 1;
        jobs.each.push(Found { digest, place, known: 0 });
    }
    jobs.each.sort_unstable_by_key(|job| job.digest);
    Ok(jobs)
}

/// Every job is found by its id, and every id that stands names a job.
fn compare_ids(connection: &Connection, mut jobs: Vec<Found>) -> rusqlite::Result<Option<String>> {
    let mut without_job = HashSet::new();
    known::read_all(connection, |digest, entry| match jobs.binary_search_by_key(&digest, |job| job.digest) {
        Ok(at) => jobs[at].known = entry.standing,
        Err(_) if entry.standing >= 0 => drop(without_job.insert(digest)),
        Err(_) => drop(without_job.remove(&digest)),
    })?;
    let lost = jobs.iter().filter(|job| job.known != job.place.0).count();
    let agree = lost == 0 && without_job.is_empty();
    Ok((!agree).then(|| {
        format!("{lost} of {} jobs are not found by their id; {} ids name jobs that are not there", jobs.len(), without_job.len())
    }))
}

fn account(number: QueueNumber, queue: &Named, lines: &Lines, standing: Option<&Standing>) -> Option<AuditLine> {
    let line = |line| lines.get(&(number, line)).copied().unwrap_or_default();
    let (dead, waiting, all) = standing.map_or((0, 0, Tally::default()), |found| (found.dead, found.waiting, found.all));
    let submitted = line(Line::Submitted);
    if submitted == Tally::default() && all == Tally::default() {
        return None;
    }
    let mut left = submitted;
    let ends = [Line::Completed, Line::Discarded, Line::Moved, Line::DeadElsewhere];
    ends.into_iter().for_each(|end| left.subtract(line(end)));
    Some(AuditLine {
        queue: queue.name.clone(),
        submitted: unsigned(submitted.count),
        completed: unsigned(line(Line::Completed).count),
        discarded: unsigned(line(Line::Discarded).count),
        moved: unsigned(line(Line::Moved).count + line(Line::DeadElsewhere).count),
        dead: unsigned(dead),
        waiting: unsigned(waiting),
        balanced: left == all,
    })
}
