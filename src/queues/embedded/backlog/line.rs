//! The jobs of one tenant, type and priority, in order, but for those whose key is shut.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use super::super::place::Place;
use super::super::sorted::Spreading;

/// A job in a line; `key` is 0 without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Entry {
    pub place: Place,
    pub key: u64,
}

pub(super) type Keys = HashSet<u64, Spreading>;

#[derive(Default)]
pub(super) struct Line {
    /// Whether it stands among those that take turns.
    pub listed: bool,
    /// In the order of their places.
    queue: VecDeque<Entry>,
    held: Option<Box<Held>>,
}

/// Jobs whose key was shut when their turn came.
#[derive(Default)]
struct Held {
    by_key: HashMap<u64, VecDeque<Entry>, Spreading>,
    /// The first job of each key that is open again.
    first: BTreeSet<(Place, u64)>,
}

/// Empty queues keep no more memory than for this many.
const KEPT: usize = 64;

impl Line {
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.held.is_none()
    }

    /// Jobs that were never passed over.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn insert(&mut self, entry: Entry) {
        insert(&mut self.queue, entry);
    }

    /// The job whose turn it is; sets those of shut keys aside on the way.
    pub fn head(&mut self, shut: &Keys) -> Option<Entry> {
        while let Some(entry) = self.queue.front().copied() {
            if entry.key == 0 || !shut.contains(&entry.key) {
                break;
            }
            self.queue.pop_front();
            insert(self.held.get_or_insert_default().by_key.entry(entry.key).or_default(), entry);
        }
        let held = self.held.as_ref().and_then(|held| held.first.first().copied());
        match (self.queue.front(), held) {
            (Some(entry), Some((place, _))) if entry.place < place => Some(*entry),
            (_, Some((place, key))) => Some(Entry { place, key }),
            (entry, None) => entry.copied(),
        }
    }

    /// Takes what [`Line::head`] has just answered.
    pub fn pop(&mut self, head: Entry) {
        if self.queue.front() == Some(&head) {
            self.queue.pop_front();
            if self.queue.is_empty() && self.queue.capacity() > KEPT {
                self.queue = VecDeque::new();
            }
            return;
        }
        let Some(held) = &mut self.held else { return };
        held.close(head.key);
        if let Some(entries) = held.by_key.get_mut(&head.key) {
            entries.pop_front();
        }
        held.open(head.key);
        if held.by_key.is_empty() {
            self.held = None;
        }
    }

    pub fn shut(&mut self, key: u64) {
        if let Some(held) = &mut self.held {
            held.close(key);
        }
    }

    pub fn open(&mut self, key: u64) {
        if let Some(held) = &mut self.held {
            held.open(key);
        }
    }

    /// The next jobs in the order of their turns, but that of a key which was shut only the first is known; those of shut
    /// keys are left out.
    pub fn next<'a>(&'a self, shut: &'a Keys) -> impl Iterator<Item = Entry> + 'a {
        let held = self.held.iter().flat_map(|held| &held.first).map(|(place, key)| Entry { place: *place, key: *key });
        let queue = self.queue.iter().copied().filter(|entry| entry.key == 0 || !shut.contains(&entry.key));
        let (mut held, mut queue) = (held.peekable(), queue.peekable());
        std::iter::from_fn(move || match (held.peek(), queue.peek()) {
            (Some(one), Some(other)) if one.place < other.place => held.next(),
            (_, Some(_)) => queue.next(),
            (_, None) => held.next(),
        })
    }

    /// The first place of all that wait here, shut or not.
    pub fn first(&self) -> Option<Place> {
        let held = self.held.iter().flat_map(|held| held.by_key.values()).filter_map(|entries| entries.front());
        held.chain(self.queue.front()).map(|entry| entry.place).min()
    }
}

impl Held {
    fn close(&mut self, key: u64) {
        if let Some(entry) = self.by_key.get(&key).and_then(VecDeque::front) {
            self.first.remove(&(entry.place, key));
        }
    }

    /// A key without jobs leaves nothing behind.
    fn open(&mut self, key: u64) {
        match self.by_key.get(&key).map(VecDeque::front) {
            Some(Some(entry)) => drop(self.first.insert((entry.place, key))),
            Some(None) => drop(self.by_key.remove(&key)),
            None => {}
        }
    }
}

/// Nearly always at one of the ends.
fn insert(entries: &mut VecDeque<Entry>, entry: Entry) {
    match entries.back() {
        Some(last) if last.place > entry.place => {
            let at = entries.partition_point(|other| other.place < entry.place);
            entries.insert(at, entry);
        }
        _ => entries.push_back(entry),
    }
}
