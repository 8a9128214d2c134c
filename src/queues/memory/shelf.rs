//! The messages of one queue in memory: ready by priority, delayed by due time, leased by token.

use std::collections::{BTreeMap, HashMap, VecDeque};
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
}

#[derive(Default)]
pub(super) struct Shelf {
    /// By priority, 9 first.
    ready: [VecDeque<Item>; 10],
    delayed: BTreeMap<(Timestamp, u64), Item>,
    leased: HashMap<Token, (Item, Instant)>,
    counter: u64,
}

impl Shelf {
    pub fn len(&self) -> usize {
        self.ready.iter().map(VecDeque::len).sum::<usize>() + self.delayed.len() + self.leased.len()
    }

    pub fn messages(&self) -> Vec<Message> {
        self.ready.iter().flatten().chain(self.delayed.values()).map(|item| item.message.clone()).collect()
    }

    pub fn put(&mut self, item: Item, due: Option<Timestamp>) {
        match due {
            Some(due) => {
                self.counter += 1;
                self.delayed.insert((due, self.counter), item);
            }
            None => self.lane(&item).push_back(item),
        }
    }

    /// Takes what fits into `room`, after what is due and what was abandoned has become ready.
    pub fn lease(&mut self, room: Room, now: Timestamp, instant: Instant) -> Vec<(Token, Item)> {
        self.ripen(now, instant);
        let mut taken = Vec::new();
        let mut bytes = 0;
        for lane in 0..self.ready.len() {
            while let Some(next) = self.ready[lane].front() {
                bytes += next.message.size();
                if taken.len() >= room.jobs || (bytes > room.bytes && !taken.is_empty()) {
                    return taken;
                }
                let Some(item) = self.ready[lane].pop_front() else { break };
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
            self.lane(&item).push_back(item);
        }
        let expired: Vec<Token> =
            self.leased.iter().filter(|(_, (_, until))| *until <= instant).map(|(token, _)| *token).collect();
        for token in expired {
            if let Some((mut item, _)) = self.leased.remove(&token) {
                item.unsettled += 1;
                self.lane(&item).push_front(item);
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

    /// Makes a leased message the next of its priority again; false when it was settled or its lease is over.
    pub fn give_back(&mut self, token: Token) -> bool {
        let Some((item, _)) = self.leased.remove(&token) else { return false };
        self.lane(&item).push_front(item);
        true
    }

    fn lane(&mut self, item: &Item) -> &mut VecDeque<Item> {
        &mut self.ready[9 - usize::from(item.priority.unwrap_or(DEFAULT_PRIORITY).min(9))]
    }
}
