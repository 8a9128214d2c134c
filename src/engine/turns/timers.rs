//! What happens in the window at a time of its own.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The time of a held job has come.
    Entry(usize),
    /// A rate allows the next start, or has nothing more to remember.
    Gate(usize),
    Lane(usize),
}

pub(super) type TimerKey = (Instant, u64);

#[derive(Default)]
pub(super) struct Timers {
    due: BTreeMap<TimerKey, Timer>,
    count: u64,
}

impl Timers {
    pub fn set(&mut self, at: Instant, timer: Timer) -> TimerKey {
        self.count += 1;
        self.due.insert((at, self.count), timer);
        (at, self.count)
    }

    pub fn cancel(&mut self, key: TimerKey) {
        self.due.remove(&key);
    }

    pub fn first(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    pub fn fire(&mut self, now: Instant) -> Option<Timer> {
        let first = self.due.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }
}
