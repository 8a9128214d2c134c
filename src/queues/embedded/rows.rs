//! Jobs as rows, on their way back into memory.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, Row, params};

use super::place::{Lane, Place};
use super::ready::{REFILL_BYTES, REFILL_JOBS, Refill, Refilled};
use super::ready_queue::{ReadyQueue, Registry};
use super::waiting::{Parts, Stored, Waiting};
use crate::job::Message;

/// The columns that [`waiting`] reads, in its order.
pub(super) const COLUMNS: &str = "place, home, id, submitted, priority, unsettled, key, headers, life, failure, body";

fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Bytes>> {
    let bytes: Option<Vec<u8>> = row.get(column)?;
    Ok(bytes.map(Bytes::from))
}

/// A row of [`COLUMNS`] as a job.
pub(super) fn waiting(row: &Row<'_>, registry: &Registry) -> rusqlite::Result<Waiting> {
    let parts = Parts { headers: row.get(7)?, life: bytes(row, 8)?, failure: bytes(row, 9)? };
    let message = Message { body: bytes(row, 10)?.unwrap_or_default(), key: bytes(row, 6)?, headers: parts.into_headers() };
    let home = row.get(1)?;
    let id = row.get_ref(2)?.as_str()?;
    let digest = registry.numbered(home).map_or(0, |home| home.digest(id));
    let job = Arc::new(Stored { id: id.into(), digest, priority: row.get(4)?, message });
    Ok(Waiting { place: Place(row.get(0)?), home, submitted: row.get(3)?, unsettled: row.get(5)?, job })
}

/// Reads a part of a ready lane.
pub(super) fn refill(
    connection: &Connection,
    registry: &Registry,
    queue: &ReadyQueue,
    refill: Refill,
) -> rusqlite::Result<Refilled> {
    let Some(number) = queue.number() else { return Ok(Refilled { jobs: Vec::new(), complete: true }) };
    let (first, last) = Place::lane_bounds(number, refill.lane);
    let select = format!("SELECT {COLUMNS} FROM jobs WHERE place > ? AND place <= ? ORDER BY place");
    let mut statement = connection.prepare_cached(&select)?;
    let mut rows = statement.query(params![refill.after.max(first).0, last.0])?;
    let (mut jobs, mut size) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let job = waiting(row, registry)?;
        size += job.message.size();
        jobs.push(job);
        if jobs.len() >= REFILL_JOBS || size >= REFILL_BYTES {
            return Ok(Refilled { jobs, complete: false });
        }
    }
    Ok(Refilled { jobs, complete: true })
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
