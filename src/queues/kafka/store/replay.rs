//! The values that the records of a topic come to, in the order in which they lie there: pure, so that everybody who reads them
//! knows the same. Which proposals were accepted is written nowhere; it follows.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;

use super::record::{Kept, Proposed, What};
use crate::state::Held;

/// What is expired is removed once so many changes were accepted since.
const SWEEP_EVERY: u64 = 1024;

/// A proposal that has been read.
#[derive(Debug, PartialEq, Eq)]
pub struct Decided {
    pub by: Arc<str>,
    pub number: u64,
    pub accepted: bool,
}

/// What has been read of the topic.
#[derive(Debug, Default)]
pub struct Replay {
    values: BTreeMap<Arc<str>, Held>,
    /// The latest time of a record, in milliseconds: it never goes back.
    time: i64,
    /// One above the last offset that was read.
    next: i64,
    accepted: u64,
    /// While it is not known what the records before the first one came to.
    waiting: Option<Waiting>,
    /// Bytes of proposals since the last snapshot that is known of.
    since: usize,
    /// Bytes of the last snapshot, and of the parts that were read of the next.
    snapshot: (usize, usize),
}

/// A topic that begins in the middle is read up to the end of a snapshot.
#[derive(Debug, Default)]
struct Waiting {
    start: i64,
    proposals: Vec<(i64, i64, Proposal)>,
    snapshots: HashMap<Arc<str>, Vec<Vec<Kept>>>,
}

#[derive(Debug)]
struct Proposal {
    by: Arc<str>,
    number: u64,
    changes: Vec<Proposed>,
}

impl Replay {
    /// Of a topic whose first record has this offset.
    pub fn from(start: i64) -> Self {
        let waiting = (start > 0).then(|| Waiting { start, ..Waiting::default() });
        Replay { next: start, waiting, ..Replay::default() }
    }

    /// One above the last offset that was read.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Whether it is known what is kept.
    pub fn knows(&self) -> bool {
        self.waiting.is_none()
    }

    /// The offset before which it is not known what the records came to.
    pub fn unknown_before(&self) -> Option<i64> {
        self.waiting.as_ref().map(|waiting| waiting.start)
    }

    /// The time of the topic, in milliseconds.
    pub fn time(&self) -> i64 {
        self.time
    }

    /// Whether so much was proposed since the last snapshot, and more than it holds.
    pub fn wants_snapshot(&self, after: usize) -> bool {
        self.knows() && self.since > after.max(self.snapshot.0)
    }

    /// Reads the next record of the topic, of `size` bytes, none where it is not ours. Answers what it decides.
    pub fn read(&mut self, offset: i64, time: i64, size: usize, what: Option<What>) -> Vec<Decided> {
        self.next = offset + 1;
        match (what, &mut self.waiting) {
            (None, _) => Vec::new(),
            (Some(What::Change { by, number, changes }), waiting) => {
                self.since += size;
                let proposal = Proposal { by, number, changes };
                match waiting {
                    Some(waiting) => waiting.proposals.push((offset, time, proposal)),
                    None => return vec![self.decide(offset, time, proposal)],
                }
                Vec::new()
            }
            (Some(What::Snapshot { id, values }), waiting) => {
                self.since = 0; // somebody is at it
                self.snapshot.1 += size;
                if let Some(waiting) = waiting {
                    waiting.snapshots.entry(id).or_default().push(values);
                }
                Vec::new()
            }
            (Some(What::SnapshotEnd { id, up_to, time, parts }), waiting) => {
                self.snapshot = (self.snapshot.1, 0);
                let Some(waiting) = waiting else { return Vec::new() };
                let found = waiting.snapshots.remove(&id).unwrap_or_default();
                // what lies between one that is older and the first record that is left is gone
                if found.len() != parts || up_to < waiting.start {
                    return Vec::new();
                }
                let proposals = std::mem::take(&mut waiting.proposals);
                self.waiting = None;
                self.time = time;
                self.values = found.into_iter().flatten().map(Kept::held).collect();
                let later = proposals.into_iter().filter(|(offset, ..)| *offset >= up_to);
                later.map(|(offset, time, proposal)| self.decide(offset, time, proposal)).collect()
            }
        }
    }

    /// By what is kept where it lies, at the time of the topic there.
    fn decide(&mut self, offset: i64, time: i64, proposal: Proposal) -> Decided {
        self.time = self.time.max(time);
        let Proposal { by, number, changes } = proposal;
        let now = self.time;
        let holds = |change: &Proposed| change.when().holds(self.get(&change.key, now).map(|held| held.version));
        let accepted = changes.iter().all(holds);
        if accepted {
            let version = u64::try_from(offset).unwrap_or(0) + 1;
            for change in changes {
                match change.kept(version) {
                    (key, Some(held)) => drop(self.values.insert(key, held)),
                    (key, None) => drop(self.values.remove(&key)),
                }
            }
            self.accepted += 1;
            if self.accepted.is_multiple_of(SWEEP_EVERY) {
                self.values.retain(|_, held| lives(held, now));
            }
        }
        Decided { by, number, accepted }
    }

    /// The value of a key at a time, in milliseconds.
    pub fn get(&self, key: &str, now: i64) -> Option<&Held> {
        self.values.get(key).filter(|held| lives(held, now))
    }

    /// At most `limit` values whose keys start with `prefix`, in order, after the key `after`.
    pub fn scan(&self, prefix: &str, after: Option<&str>, limit: usize, now: i64) -> Vec<(Arc<str>, Held)> {
        let start = match after.filter(|after| *after >= prefix) {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        let found = self.values.range::<str, _>((start, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix));
        let living = found.filter(|(_, held)| lives(held, now));
        living.take(limit).map(|(key, held)| (key.clone(), held.clone())).collect()
    }

    /// All that lives now, for a snapshot.
    pub fn values(&self) -> Vec<Kept> {
        self.values.iter().filter(|(_, held)| lives(held, self.time)).map(Kept::from).collect()
    }
}

fn lives(held: &Held, now: i64) -> bool {
    held.expires.is_none_or(|expires| Timestamp::from_millisecond(now).is_ok_and(|now| expires > now))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::state::{Change, New, When};

    type Log = Vec<(i64, What)>;

    /// How one of the keys is changed: the condition, and for how long the value is kept.
    fn change() -> impl Strategy<Value = (u8, u8, u64, Option<i64>)> {
        (0u8..4, 0u8..3, 0u64..12, prop::option::of(0i64..30))
    }

    fn proposed((key, when, version, kept): (u8, u8, u64, Option<i64>), time: i64) -> Proposed {
        let when = [When::Always, When::Absent, When::Version(version)][usize::from(when)];
        let expires = kept.and_then(|kept| Timestamp::from_millisecond(time + kept).ok());
        let to = (version % 4 > 0).then(|| New { value: version.to_string().into(), expires });
        Change { key: format!("k{key}").into(), when, to }.into()
    }

    fn read(log: &Log, from: usize) -> (Replay, Vec<(i64, bool)>) {
        let (mut replay, mut decided) = (Replay::from(from as i64), Vec::new());
        for (offset, (time, what)) in log.iter().enumerate().skip(from) {
            let read = replay.read(offset as i64, *time, 1, Some(what.clone()));
            decided.extend(read.into_iter().map(|decided| (decided.number as i64, decided.accepted)));
        }
        (replay, decided)
    }

    proptest! {
        #[test]
        fn whoever_reads_from_a_snapshot_on_knows_what_those_know_who_read_all(
            steps in prop::collection::vec((prop::collection::vec(change(), 1..4), 0i64..10), 1..40),
            at in any::<prop::sample::Index>(),
            late in 0usize..6,
            foreign in any::<bool>(),
        ) {
            let (mut log, mut time, mut snapshot) = (Log::new(), 0, None);
            let at = at.index(steps.len());
            for (number, (changes, passed)) in steps.into_iter().enumerate() {
                time += passed;
                if number == at {
                    let (replay, _) = read(&log, 0);
                    snapshot = Some((log.len(), replay.time(), replay.values()));
                }
                // it is written while others go on
                if number == at + late && let Some((up_to, then, values)) = snapshot.take() {
                    if foreign {
                        log.push((time, What::SnapshotEnd { id: "other".into(), up_to: up_to as i64, time: then, parts: 1 }));
                    }
                    let parts: Vec<Vec<Kept>> = values.chunks(2).map(<[Kept]>::to_vec).collect();
                    let count = parts.len();
                    log.extend(parts.into_iter().map(|values| (time, What::Snapshot { id: "s".into(), values })));
                    log.push((time, What::SnapshotEnd { id: "s".into(), up_to: up_to as i64, time: then, parts: count }));
                }
                let changes = changes.into_iter().map(|change| proposed(change, time)).collect();
                log.push((time, What::Change { by: "w".into(), number: log.len() as u64, changes }));
            }
            let (whole, decided) = read(&log, 0);
            let ended = log.iter().any(|(_, what)| matches!(what, What::SnapshotEnd { id, .. } if &**id == "s"));
            if ended {
                let up_to = log.iter().find_map(|(_, what)| match what {
                    What::SnapshotEnd { up_to, id, .. } if &**id == "s" => Some(*up_to),
                    _ => None,
                }).unwrap();
                let (later, decided_later) = read(&log, up_to as usize);
                prop_assert!(later.knows());
                prop_assert_eq!(later.scan("", None, 99, later.time()), whole.scan("", None, 99, whole.time()));
                let same: Vec<_> = decided.into_iter().filter(|(number, _)| *number >= up_to).collect();
                prop_assert_eq!(decided_later, same);
                // of what a snapshot says of what is gone since, nothing is known
                if up_to > 0 {
                    prop_assert!(!read(&log, up_to as usize + 1).0.knows());
                }
            }
        }
    }

    #[test]
    fn a_topic_that_begins_in_the_middle_without_a_whole_snapshot_is_not_understood() {
        let mut replay = Replay::from(5);
        replay.read(5, 0, 1, Some(What::SnapshotEnd { id: "s".into(), up_to: 5, time: 0, parts: 1 }));
        assert!(!replay.knows(), "its only part is missing");
        replay.read(6, 0, 1, Some(What::SnapshotEnd { id: "empty".into(), up_to: 6, time: 0, parts: 0 }));
        assert!(replay.knows());
    }
}
