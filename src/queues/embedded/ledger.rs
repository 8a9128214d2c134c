//! What went in, what came out and what stands, counted in the same commit as the thing itself.

use std::collections::HashMap;

use rusqlite::{Connection, Statement, params};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::place::{EndKind, Lane, QueueNumber};

/// A line of a queue's ledger. The first five carry sums over ids and belong to the queue a job was submitted to; the
/// others are plain counts of what stands in a queue now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Line {
    Submitted,
    Completed,
    Discarded,
    Moved,
    DeadElsewhere,
    Waiting,
    Delayed,
    Parked,
    /// Of the file, under queue 0: the sequence of places, the number of ends, the endings kept, and the ids of ended
    /// jobs that were forgotten before their time.
    Sequence,
    Ends,
    KeptEndings,
    Evicted,
}

/// The queue of the lines that belong to the file.
pub(super) const FILE: QueueNumber = 0;

impl Line {
    const ALL: [(Line, &'static str); 12] = [
        (Line::Submitted, "submitted"),
        (Line::Completed, "completed"),
        (Line::Discarded, "discarded"),
        (Line::Moved, "moved"),
        (Line::DeadElsewhere, "dead_elsewhere"),
        (Line::Waiting, "waiting"),
        (Line::Delayed, "delayed"),
        (Line::Parked, "parked"),
        (Line::Sequence, "sequence"),
        (Line::Ends, "ends"),
        (Line::KeptEndings, "kept_endings"),
        (Line::Evicted, "evicted"),
    ];

    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, spelled)| *spelled == name).map(|(line, _)| *line)
    }

    pub fn of_end(kind: EndKind) -> Self {
        match kind {
            EndKind::Completed => Line::Completed,
            EndKind::Discarded => Line::Discarded,
            EndKind::Moved => Line::Moved,
            EndKind::DeadElsewhere => Line::DeadElsewhere,
        }
    }

    pub fn of_lane(lane: Lane) -> Self {
        match lane {
            Lane::DELAYED => Line::Delayed,
            Lane::PARKED => Line::Parked,
            _ => Line::Waiting,
        }
    }
}

/// A count, and the wrapping sum of the digests of what was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub count: i64,
    pub sum: u128,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    pub fn subtract(&mut self, other: Tally) {
        self.count -= other.count;
        self.sum = self.sum.wrapping_sub(other.sum);
    }
}

/// What [`digest`] starts from for the jobs of one queue, in a file with this salt.
pub(super) fn seed(salt: u64, queue: &str) -> u64 {
    xxh3_64_with_seed(queue.as_bytes(), salt)
}

/// By what a job is known, and what it adds to the sums: a multiset of ids is told by the sum of their digests.
pub(super) fn digest(seed: u64, id: &str) -> u128 {
    xxh3_128_with_seed(id.as_bytes(), seed)
}

pub(super) type Lines = HashMap<(QueueNumber, Line), Tally>;

/// The committed lines, and what the transaction at hand adds to them.
#[derive(Default)]
pub(super) struct Ledger {
    committed: Lines,
    /// Few lines change in one transaction.
    changes: Vec<((QueueNumber, Line), Tally)>,
}

impl Ledger {
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        Ok(Ledger { committed: read_lines(connection)?, changes: Vec::new() })
    }

    pub fn get(&self, queue: QueueNumber, line: Line) -> Tally {
        let mut tally = self.committed.get(&(queue, line)).copied().unwrap_or_default();
        if let Some((_, change)) = self.changes.iter().find(|(key, _)| *key == (queue, line)) {
            tally.add(*change);
        }
        tally
    }

    pub fn add(&mut self, queue: QueueNumber, line: Line, count: i64, sum: u128) {
        let change = Tally { count, sum };
        match self.changes.iter_mut().find(|(key, _)| *key == (queue, line)) {
            Some((_, tally)) => tally.add(change),
            None => self.changes.push(((queue, line), change)),
        }
    }

    /// Adds to a plain count.
    pub fn count(&mut self, queue: QueueNumber, line: Line, count: i64) {
        self.add(queue, line, count, 0);
    }

    /// The jobs that stand in the file.
    pub fn live(&self) -> i64 {
        let standing = |line: &Line| matches!(line, Line::Waiting | Line::Delayed | Line::Parked);
        self.committed.iter().filter(|((_, line), _)| standing(line)).map(|(_, tally)| tally.count).sum()
    }

    /// Raises a counter of the file to a value.
    pub fn raise(&mut self, line: Line, value: i64) {
        let rise = value - self.get(FILE, line).count;
        if rise != 0 {
            self.count(FILE, line, rise);
        }
    }

    /// Writes the changed lines into the transaction at hand.
    pub fn write(&self, upsert: &mut Statement<'_>) -> rusqlite::Result<()> {
        for ((queue, line), _) in &self.changes {
            let tally = self.get(*queue, *line);
            upsert.execute(params![queue, line.as_str(), tally.count, tally.sum.to_le_bytes()])?;
        }
        Ok(())
    }

    pub const UPSERT: &str = "INSERT INTO ledger(queue, line, count, sum) VALUES(?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET count = excluded.count, sum = excluded.sum";

    pub fn committed(&mut self) {
        for (key, change) in self.changes.drain(..) {
            self.committed.entry(key).or_default().add(change);
        }
    }

    pub fn rolled_back(&mut self) {
        self.changes.clear();
    }
}

/// All lines of the file, in one read.
pub(super) fn read_lines(connection: &Connection) -> rusqlite::Result<Lines> {
    let mut statement = connection.prepare("SELECT queue, line, count, sum FROM ledger")?;
    let mut rows = statement.query([])?;
    let mut lines = Lines::new();
    while let Some(row) = rows.next()? {
        let Some(line) = Line::from_name(row.get_ref(1)?.as_str()?) else { continue };
        lines.insert((row.get(0)?, line), Tally { count: row.get(2)?, sum: u128::from_le_bytes(row.get(3)?) });
    }
    Ok(lines)
}
