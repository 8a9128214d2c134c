//! Which ids are known, and where their jobs stand or how they ended.
//!
//! A B-tree of ids would change a page of its own for every job whose ids come in no order, thousands of times the bytes
//! of an entry. So entries are gathered in memory, logged with each commit, and written now and then as a sorted segment
//! (`known/segment.rs`); the newest entry of an id holds. An id is known here by its digest.

mod segment;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use rusqlite::{Connection, params};

use super::place::Standing;
pub(super) use segment::{Entry, Segment};

/// Entries to a segment at most; a smaller limit of ids has smaller segments.
const LARGEST_SEGMENT: u64 = 1 << 17;

pub(super) struct Known {
    /// Newer than all segments.
    fresh: Fresh,
    /// Oldest first.
    segments: Vec<Segment>,
    /// As many fresh entries make a segment.
    segment_size: usize,
    /// Of the transaction at hand: what it wrote over, and its entries as they are logged.
    undo: Vec<(u128, Option<Entry>)>,
    log: Vec<u8>,
}

type Fresh = HashMap<u128, Entry, BuildHasherDefault<AsIs>>;

/// A digest needs no further hashing.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        // digests are hashed as integers
    }

    fn write_u128(&mut self, digest: u128) {
        self.0 = digest as u64;
    }
}

impl Known {
    /// Reads what the file knows; `limit` is the number of ended ids that are kept.
    pub fn read(connection: &Connection, limit: u64) -> rusqlite::Result<Self> {
        let mut fresh = Fresh::default();
        let mut log = connection.prepare("SELECT entries FROM known_log ORDER BY number")?;
        let mut rows = log.query([])?;
        while let Some(row) = rows.next()? {
            fresh.extend(segment::entries(row.get_ref(0)?.as_blob()?));
        }
        let segment_size = usize::try_from((limit / 16).clamp(4, LARGEST_SEGMENT)).unwrap_or(usize::MAX);
        let (undo, log) = (Vec::new(), Vec::new());
        Ok(Known { fresh, segments: Segment::read_all(connection)?, segment_size, undo, log })
    }

    pub fn get(&self, connection: &Connection, digest: u128) -> rusqlite::Result<Option<Entry>> {
        self.newest(connection, digest, 0)
    }

    /// The newest entry in the segments from `first` on and in memory.
    fn newest(&self, connection: &Connection, digest: u128, first: usize) -> rusqlite::Result<Option<Entry>> {
        if let Some(entry) = self.fresh.get(&digest) {
            return Ok(Some(*entry));
        }
        for segment in self.segments[first..].iter().rev().filter(|segment| segment.may_hold(digest)) {
            if let Some(entry) = segment.get(connection, digest)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    pub fn set(&mut self, digest: u128, entry: Entry) {
        segment::append(&mut self.log, digest, entry);
        self.undo.push((digest, self.fresh.insert(digest, entry)));
    }

    /// Logs what was set, within the transaction at hand.
    pub fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.log.is_empty() {
            return Ok(());
        }
        connection.prepare_cached("INSERT INTO known_log(entries) VALUES(?)")?.execute([&self.log]).map(drop)
    }

    pub fn committed(&mut self) {
        self.undo.clear();
        self.log.clear();
    }

    pub fn rolled_back(&mut self) {
        for (digest, before) in self.undo.drain(..).rev() {
            match before {
                Some(entry) => self.fresh.insert(digest, entry),
                None => self.fresh.remove(&digest),
            };
        }
        self.log.clear();
    }

    /// Whether the fresh entries should become a segment.
    pub fn is_full(&self) -> bool {
        self.fresh.len() >= self.segment_size
    }

    /// Writes the fresh entries as a segment, within the transaction at hand; [`Known::settle`] takes it over.
    pub fn write_segment(&self, connection: &Connection) -> rusqlite::Result<Segment> {
        let number = self.segments.last().map_or(1, |last| last.number + 1);
        let mut entries: Vec<(u128, Entry)> = self.fresh.iter().map(|(digest, entry)| (*digest, *entry)).collect();
        entries.sort_unstable_by_key(|(digest, _)| *digest);
        connection.prepare_cached("DELETE FROM known_log")?.execute([])?;
        Segment::write(connection, number, &entries)
    }

    /// After the commit of a new segment.
    pub fn settle(&mut self, segment: Segment) {
        self.fresh.clear();
        self.segments.push(segment);
    }

    /// The ended ids that are known, at most; ids that ended twice count twice.
    fn ended(&self) -> i64 {
        let fresh = self.fresh.values().filter(|entry| entry.standing < 0).count() as i64;
        fresh + self.segments.iter().map(|segment| segment.ended).sum::<i64>()
    }

    /// Whether the oldest segment should go: all in it is from before `oldest`, or enough ended ids are known without it,
    /// or most entries are superseded. Only the oldest ever goes: the end of a job must not be forgotten before the entry
    /// that says where it stood.
    pub fn is_crowded(&self, oldest: i64, limit: i64, live: i64) -> bool {
        let Some(first) = self.segments.first() else { return false };
        let (ended, entries) = (self.ended(), self.segments.iter().map(|segment| segment.count).sum::<i64>());
        let most = limit.saturating_add(live).saturating_mul(2).saturating_add(self.segment_size as i64);
        first.newest < oldest || (ended > limit && ended - first.ended >= limit) || entries > most
    }

    /// Removes the oldest segment within the transaction at hand and sets the entries of its live jobs anew, as of `now`;
    /// counts the ended ids from `oldest` on that are forgotten with it. [`Known::dropped`] follows the commit.
    pub fn drop_oldest(&mut self, connection: &Connection, oldest: i64, now: i64) -> rusqlite::Result<i64> {
        let mut evicted = 0;
        let Some(segment) = self.segments.first() else { return Ok(0) };
        let (number, (first, last)) = (segment.number, segment.rows());
        for (digest, entry) in segment.entries(connection)? {
            match Standing::from_column(entry.standing) {
                Standing::At(_) if self.newest(connection, digest, 1)?.is_none() => {
                    self.set(digest, Entry { at: now, ..entry });
                }
                Standing::At(_) => {}
                Standing::Ended(..) => evicted += i64::from(entry.at >= oldest),
            }
        }
        connection.execute("DELETE FROM known WHERE place BETWEEN ? AND ?", params![first, last])?;
        connection.execute("DELETE FROM known_segments WHERE number = ?", [number])?;
        Ok(evicted)
    }

    /// After the commit that removed the oldest segment.
    pub fn dropped(&mut self) {
        self.segments.remove(0);
    }
}

/// Goes through all entries of the file, oldest first, so that the last one said of an id holds.
pub(super) fn read_all(connection: &Connection, mut take: impl FnMut(u128, Entry)) -> rusqlite::Result<()> {
    for select in ["SELECT entries FROM known ORDER BY place", "SELECT entries FROM known_log ORDER BY number"] {
        let mut select = connection.prepare(select)?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            segment::entries(row.get_ref(0)?.as_blob()?).for_each(|(digest, entry)| take(digest, entry));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
