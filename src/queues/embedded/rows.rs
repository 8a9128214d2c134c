//! Jobs as rows, on their way back into memory.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, Row, params};

use super::backlog::Head;
use super::bodies::WINDOW_BYTES;
use super::place::{Lane, Place};
use super::ready::{Read, Scan};
use super::ready_queue::{ReadyQueue, Registry};
use super::sorted::Sorted;
use super::waiting::{Parts, Stored, Waiting};
use crate::job::{FailureDocument, Life, Message};

/// The columns that [`waiting`] reads, in its order.
pub(super) const COLUMNS: &str = "place, home, id, submitted, priority, unsettled, key, headers, life, failure, body";

fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Bytes>> {
    let bytes: Option<Vec<u8>> = row.get(column)?;
    Ok(bytes.map(Bytes::from))
}

/// A row of [`COLUMNS`] as a job.
pub(super) fn waiting(row: &Row<'_>, registry: &Registry) -> rusqlite::Result<Waiting> {
    sorted(row, registry, |_| None)
}

fn sorted(row: &Row<'_>, registry: &Registry, sort: impl Fn(&Message) -> Option<Sorted>) -> rusqlite::Result<Waiting> {
    let parts = Parts { headers: row.get(7)?, life: bytes(row, 8)?, failure: bytes(row, 9)? };
    let message = Message { body: bytes(row, 10)?.unwrap_or_default(), key: bytes(row, 6)?, headers: parts.into_headers() };
    let home = row.get(1)?;
    let id = row.get_ref(2)?.as_str()?;
    let digest = registry.numbered(home).map_or(0, |home| home.digest(id));
    let job = Arc::new(Stored { id: id.into(), digest, priority: row.get(4)?, sorted: sort(&message), message });
    Ok(Waiting { place: Place(row.get(0)?), home, submitted: row.get(3)?, unsettled: row.get(5)?, job })
}

/// The life of a row of [`COLUMNS`]; of a dead letter that another system sent here, what its failure says of it.
pub(super) fn life(row: &Row<'_>) -> rusqlite::Result<Life> {
    if let Some(life) = bytes(row, 8)? {
        return Ok(serde_json::from_slice(&life).unwrap_or_default());
    }
    let failure = bytes(row, 9)?.and_then(|json| serde_json::from_slice::<FailureDocument>(&json).ok());
    Ok(failure.map_or_else(Life::default, |failure| failure.life()))
}

/// What a read has found.
#[derive(Default)]
pub(super) struct Rows {
    pub jobs: Vec<Waiting>,
    /// A scan has seen all there was.
    pub complete: bool,
    /// So many of the jobs to be loaded were looked for; those of them that are not in `jobs` are gone.
    pub looked_for: usize,
}

/// Reads for the backlog of a queue.
pub(super) fn read(connection: &Connection, registry: &Registry, queue: &ReadyQueue, read: &Read) -> rusqlite::Result<Rows> {
    match read {
        Read::Scan(part) => scan(connection, registry, queue, *part),
        Read::Load(heads) => load(connection, registry, heads),
    }
}

fn scan(connection: &Connection, registry: &Registry, queue: &ReadyQueue, scan: Scan) -> rusqlite::Result<Rows> {
    let mut found = Rows { complete: true, ..Rows::default() };
    let Some(number) = queue.number() else { return Ok(found) };
    let (first, _) = Place::lane_bounds(number, scan.lane);
    let select = format!("SELECT {COLUMNS} FROM jobs WHERE place > ? AND place <= ? ORDER BY place");
    let mut statement = connection.prepare_cached(&select)?;
    let mut rows = statement.query(params![scan.after.max(first).0, scan.tail.0])?;
    let mut size = 0;
    while let Some(row) = rows.next()? {
        let job = sorted(row, registry, |message| queue.sorted(message))?;
        size += job.message.size();
        found.jobs.push(job);
        if found.jobs.len() >= scan.most || size >= WINDOW_BYTES {
            found.complete = false;
            break;
        }
    }
    Ok(found)
}

/// Places that are no further from each other than this are read in one go.
const NEAR: i64 = 8;

/// The jobs at these places, in their order.
fn load(connection: &Connection, registry: &Registry, heads: &[Head]) -> rusqlite::Result<Rows> {
    let select = format!("SELECT {COLUMNS} FROM jobs WHERE place BETWEEN ? AND ? ORDER BY place");
    let mut statement = connection.prepare_cached(&select)?;
    let (mut found, mut size) = (Rows::default(), 0);
    for run in heads.chunk_by(|one, next| (1..=NEAR).contains(&(next.place.0 - one.place.0))) {
        let mut rows = statement.query([run[0].place.0, run[run.len() - 1].place.0])?;
        while let Some(row) = rows.next()? {
            let place = Place(row.get(0)?);
            let Ok(at) = run.binary_search_by_key(&place, |head| head.place) else { continue };
            let job = sorted(row, registry, |_| Some(run[at].sorted))?;
            size += job.message.size();
            found.jobs.push(job);
            if size >= WINDOW_BYTES {
                found.looked_for += at + 1;
                return Ok(found);
            }
        }
        found.looked_for += run.len();
    }
    Ok(found)
}

/// The last place of each ready lane of a queue; `Place::NONE` where it is empty.
pub(super) fn tails(connection: &Connection, number: u16) -> rusqlite::Result<[Place; Lane::READY]> {
    let mut statement = connection.prepare_cached("SELECT max(place) FROM jobs WHERE place BETWEEN ? AND ?")?;
    let mut tails = [Place::NONE; Lane::READY];
    for (lane, tail) in (0..).map(Lane).zip(&mut tails) {
        let (first, last) = Place::lane_bounds(number, lane);
        let found: Option<i64> = statement.query_row([first.0, last.0], |row| row.get(0))?;
        *tail = Place(found.unwrap_or_default());
    }
    Ok(tails)
}
