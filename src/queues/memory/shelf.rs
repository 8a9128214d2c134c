//! The messages of one queue in memory: ready by priority, delayed by due time, leased by token.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::job::{DEFAULT_PRIORITY, JOB_HEADER, Life, Message};
use crate::ports::Room;

/// Names one lease of one message; never used again.
pub(super) type Token = u64;

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub message: Message,
    pub id: Option<Arc<str>>,
    pub priority: Option<u8>,
    pub published: Timestamp,
    pub unsettled: u32,
    /// Its turn among those of its priority; one that is given back has it again, in whatever order they come back.
    pub turn: u64,
    /// In a place of parked messages: when it goes back to its queue, and its turn.
    pub parked: Option<(Timestamp, u64)>,
}

#[derive(Default)]
pub(super) struct Shelf {
    /// By priority, 9 first.
    ready: [BTreeMap<u64, Item>; 10],
    delayed: BTreeMap<(Timestamp, u64), Item>,
    /// Taken in turn, whatever their time; the set finds those whose time is over.
    parked: BTreeMap<u64, Item>,
    returning: BTreeSet<(Timestamp, u64)>,
    leased: HashMap<Token, (Item, Instant)>,
    counter: u64,
}

impl Shelf {
    pub fn len(&self) -> usize {
        self.ready.iter().map(BTreeMap::len).sum::<usize>() + self.delayed.len() + self.parked.len() + self.leased.len()
    }

    /// What there is, is leased.
    pub fn is_drained(&self) -> bool {
        self.len() == self.leased.len()
    }

    pub fn messages(&self) -> Vec<Message> {
        self.ready
            .iter()
            .flat_map(BTreeMap::values)
            .chain(self.delayed.values())
            .chain(self.parked.values())
            .map(|item| item.message.clone())
            .collect()
    }

    pub fn put(&mut self, item: Item, due: Option<Timestamp>) {
        match due {
            Some(due) => {
                self.counter += 1;
                self.delayed.insert((due, self.counter), item);
            }
            None => self.append(item),
        }
    }

    /// Behind all that wait.
    fn append(&mut self, mut item: Item) {
        self.counter += 1;
        item.turn = self.counter;
        self.put_back(item);
    }

    /// Puts a message at the end of a place of parked ones, to go back to its queue at `until`.
    pub fn park(&mut self, mut item: Item, until: Timestamp) {
        self.counter += 1;
        item.parked = Some((until, self.counter));
        self.put_back(item);
    }

    /// Takes out what has been parked for too long.
    pub fn overdue(&mut self, now: Timestamp) -> Vec<Item> {
        let later = self.returning.split_off(&(now, u64::MAX));
        let over = std::mem::replace(&mut self.returning, later);
        over.into_iter().filter_map(|(_, turn)| self.parked.remove(&turn)).collect()
    }

    pub fn next_return(&self) -> Option<Timestamp> {
        self.returning.first().map(|(until, _)| *until)
    }

    /// Takes what fits into `room`, after what is due and what was abandoned has become ready.
    pub fn lease(&mut self, room: Room, now: Timestamp, instant: Instant) -> Vec<(Token, Item)> {
        self.ripen(now, instant);
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.parked.first_entry() {
            bytes += next.get().message.size();
            if taken.len() >= room.jobs || (bytes > room.bytes && !taken.is_empty()) {
                return taken;
            }
            let item = next.remove();
            if let Some(at) = &item.parked {
                self.returning.remove(at);
            }
            self.counter += 1;
            self.leased.insert(self.counter, (item.clone(), instant + room.lease));
            taken.push((self.counter, item));
        }
        for lane in 0..self.ready.len() {
            while let Some(next) = self.ready[lane].first_entry() {
                bytes += next.get().message.size();
                if taken.len() >= room.jobs || (bytes > room.bytes && !taken.is_empty()) {
                    return taken;
                }
                let item = next.remove();
                self.counter += 1;
                self.leased.insert(self.counter, (item.clone(), instant + room.lease));
                taken.push((self.counter, item));
            }
        }
        taken
    }

    fn ripen(&mut self, now: Timestamp, instant: Instant) {
        let later = self.delayed.split_off(&(now, u64::MAX));
        for item in std::mem::replace(&mut self.delayed, later).into_values() {
            self.append(item);
        }
        let expired: Vec<Token> =
            self.leased.iter().filter(|(_, (_, until))| *until <= instant).map(|(token, _)| *token).collect();
        for token in expired {
            if let Some((mut item, _)) = self.leased.remove(&token) {
                item.unsettled += 1;
                self.put_back(item);
            }
        }
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        self.delayed.keys().next().map(|(due, _)| *due)
    }

    pub fn next_expiry(&self) -> Option<Instant> {
        self.leased.values().map(|(_, until)| *until).min()
    }

    /// Consumes a leased message; false when the lease is over.
    pub fn take(&mut self, token: Token, now: Instant) -> bool {
        match self.leased.get(&token) {
            Some((_, until)) if *until > now => self.leased.remove(&token).is_some(),
            _ => false,
        }
    }

    pub fn extend(&mut self, token: Token, now: Instant, to: Instant) -> bool {
        match self.leased.get_mut(&token) {
            Some((_, until)) if *until > now => {
                *until = to;
                true
            }
            _ => false,
        }
    }

    pub fn rewrite(&mut self, token: Token, life: &Life) -> bool {
        let leased = self.leased.get_mut(&token);
        leased.map(|(item, _)| item.message.set_header(JOB_HEADER, life.to_json())).is_some()
    }

    /// Puts a leased message back where it was; false when it was settled or its lease is over.
    pub fn give_back(&mut self, token: Token) -> bool {
        let Some((item, _)) = self.leased.remove(&token) else { return false };
        self.put_back(item);
        true
    }

    /// Where it was.
    fn put_back(&mut self, item: Item) {
        match item.parked {
            Some((until, turn)) => {
                self.returning.insert((until, turn));
                self.parked.insert(turn, item);
            }
            None => {
                self.lane(&item).insert(item.turn, item);
            }
        }
    }

    fn lane(&mut self, item: &Item) -> &mut BTreeMap<u64, Item> {
        &mut self.ready[9 - usize::from(item.priority.unwrap_or(DEFAULT_PRIORITY).min(9))]
    }
}
