//! Listings, in reads so short that they keep no log from being folded.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::super::endings;
use super::super::place::{EndKind, Lane, Place, QueueNumber};
use super::super::ready_queue::ReadyQueue;
use super::super::store::{Shared, unavailable};
use super::super::writer::act::{ended_state, standing_state};
use super::entry::{Listed, of_ending};
use super::matching::{matches, matches_ended};
use crate::ports::{Cursor, Entry, Filter, Page, QueueError, State};

/// Rows looked at in one transaction, and in one call.
const IN_TRANSACTION: usize = 500;
const IN_CALL: usize = 20_000;

/// Where a listing stands: first the jobs in the file by their sequence, then the endings by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Jobs(i64),
    Endings(i64),
    Over,
}

impl At {
    fn parse(text: &str) -> Option<Self> {
        let number = text.get(1..)?.parse().ok()?;
        match text.as_bytes()[0] {
            b'j' => Some(At::Jobs(number)),
            b'e' => Some(At::Endings(number)),
            _ => None,
        }
    }

    fn spell(self) -> Option<String> {
        match self {
            At::Jobs(sequence) => Some(format!("j{sequence}")),
            At::Endings(number) => Some(format!("e{number}")),
            At::Over => None,
        }
    }
}

/// One call for a page.
pub(super) struct Browse {
    shared: Arc<Shared>,
    filter: Filter,
    now: Timestamp,
    limit: usize,
    at: At,
    looked_at: usize,
    entries: Vec<Entry>,
}

impl Browse {
    pub fn new(shared: &Arc<Shared>, filter: Filter, page: &Cursor) -> Result<Self, QueueError> {
        let at = match &page.after {
            None => At::Jobs(0),
            Some(text) => At::parse(text).ok_or_else(|| {
                QueueError::Refused(format!("cursor {text:?} was not given out by a listing: start without one"))
            })?,
        };
        let now = Timestamp::from_millisecond(shared.options.clock.now()).unwrap_or_default();
        Ok(Browse { shared: shared.clone(), filter, now, limit: page.limit, at, looked_at: 0, entries: Vec::new() })
    }

    /// Reads one page; blocks.
    pub fn page(mut self) -> Result<Page, QueueError> {
        let shared = self.shared.clone();
        while !self.is_full() && self.looked_at < IN_CALL && self.at != At::Over {
            let read = shared.readers.read(|connection| match self.at {
                At::Jobs(after) => self.read_jobs(connection, after),
                At::Endings(after) => self.read_endings(connection, after),
                At::Over => Ok(()),
            });
            read.map_err(|error| unavailable(&shared.options.path, &error))?;
        }
        Ok(Page { entries: self.entries, next: self.at.spell(), looked: None })
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.limit
    }

    fn read_jobs(&mut self, connection: &Connection, after: i64) -> rusqlite::Result<()> {
        let mut heads = Heads::new(connection, self.lanes(), after)?;
        for _ in 0..IN_TRANSACTION {
            if self.is_full() {
                return Ok(());
            }
            let Some(place) = heads.next(connection)? else {
                self.at = At::Endings(0);
                return Ok(());
            };
            self.looked_at += 1;
            self.at = At::Jobs(place.sequence());
            if let Some(listed) = Listed::read(&self.shared, connection, place)?
                && self.is_meant(&listed)
            {
                self.entries.push(listed.into_entry(&self.shared));
            }
        }
        Ok(())
    }

    fn is_meant(&self, listed: &Listed) -> bool {
        let home = || self.shared.registry.numbered(listed.job.home);
        let lies_in = || self.shared.registry.numbered(listed.job.place.queue());
        let is_queue = |name: &str| [home(), lies_in()].into_iter().flatten().any(|queue| *queue.name == *name);
        self.filter.state.is_none_or(|state| state == listed.state)
            && self.filter.queue.as_deref().is_none_or(is_queue)
            && matches(&self.filter, listed, self.now)
    }

    /// The lanes in which matching jobs can stand.
    fn lanes(&self) -> Vec<(QueueNumber, Lane)> {
        let wanted = |queue: &ReadyQueue, lane: Lane| match self.filter.state {
            None => true,
            Some(State::Running) => lane.is_ready(),
            Some(state) => standing_state(queue, lane) == state,
        };
        let queues = self.shared.registry.all();
        let queues = queues.iter().filter(|queue| self.may_hold(queue)).filter_map(|queue| Some((queue, queue.number()?)));
        queues
            .flat_map(|(queue, number)| {
                let lanes = (0..=Lane::PARKED.0).map(Lane).filter(|lane| wanted(queue, *lane));
                lanes.map(move |lane| (number, lane))
            })
            .collect()
    }

    /// Whether jobs of the wanted queue can stand here: in itself, in its dead letters and where its jobs are parked.
    fn may_hold(&self, queue: &ReadyQueue) -> bool {
        let Some(wanted) = &self.filter.queue else { return true };
        queue.name.strip_prefix(&**wanted).is_some_and(|rest| rest.is_empty() || queue.is_dead() || queue.parked_from().is_some())
    }

    fn read_endings(&mut self, connection: &Connection, after: i64) -> rusqlite::Result<()> {
        let state = self.filter.state;
        let wanted = |kind| state.is_none_or(|state| state == ended_state(kind));
        if ![EndKind::Completed, EndKind::Discarded, EndKind::Moved].into_iter().any(wanted) {
            self.at = At::Over;
            return Ok(());
        }
        let mut block = connection.prepare_cached(
            "SELECT block FROM endings
             WHERE first >= coalesce((SELECT max(first) FROM endings WHERE first <= ?1), ?1) AND first + count > ?1
             ORDER BY first LIMIT 1",
        )?;
        let block: Option<Vec<u8>> = block.query_row([after + 1], |row| row.get(0)).optional()?;
        let Some(block) = block else {
            self.at = At::Over;
            return Ok(());
        };
        for kept in endings::entries(&block.into()).filter(|kept| kept.number > after) {
            if self.is_full() {
                return Ok(());
            }
            self.looked_at += 1;
            self.at = At::Endings(kept.number);
            if wanted(kept.kind) && matches_ended(&self.shared, &self.filter, &kept, self.now) {
                self.entries.push(of_ending(&self.shared, kept));
            }
        }
        Ok(())
    }
}

/// The first places of several lanes, merged by sequence.
struct Heads {
    heads: BinaryHeap<Reverse<(i64, Place)>>,
}

impl Heads {
    fn new(connection: &Connection, lanes: Vec<(QueueNumber, Lane)>, after: i64) -> rusqlite::Result<Self> {
        let mut heads = Heads { heads: BinaryHeap::new() };
        lanes.into_iter().try_for_each(|(queue, lane)| heads.push(connection, Place::new(queue, lane, after)))?;
        Ok(heads)
    }

    /// Adds the first place of a lane after this one.
    fn push(&mut self, connection: &Connection, after: Place) -> rusqlite::Result<()> {
        let (_, last) = Place::lane_bounds(after.queue(), after.lane());
        let mut select =
            connection.prepare_cached("SELECT place FROM jobs WHERE place > ? AND place <= ? ORDER BY place LIMIT 1")?;
        if let Some(place) = select.query_row([after.0, last.0], |row| row.get(0).map(Place)).optional()? {
            self.heads.push(Reverse((place.sequence(), place)));
        }
        Ok(())
    }

    fn next(&mut self, connection: &Connection) -> rusqlite::Result<Option<Place>> {
        let Some(Reverse((_, place))) = self.heads.pop() else { return Ok(None) };
        self.push(connection, place)?;
        Ok(Some(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_anything_else_is_none() {
        for at in [At::Jobs(17), At::Endings(0)] {
            assert_eq!(At::parse(&at.spell().unwrap()), Some(at));
        }
        for text in ["", "j", "x1", "jx", "é"] {
            assert_eq!(At::parse(text), None, "{text:?}");
        }
    }
}
