//! How many jobs a window wants: enough that no slot waits for a source, and not many more.

use std::time::Duration;

use tokio::time::Instant;

use super::{State, WindowOptions};

/// Jobs are taken ahead for this long, by the pace of the last starts.
const AHEAD: Duration = Duration::from_millis(250);

/// How many jobs were started lately.
pub(super) struct Pace {
    since: Instant,
    started: usize,
    /// Started in [`AHEAD`].
    lately: usize,
}

impl State {
    /// There are more free slots than jobs for them.
    pub(super) fn idles(&self, options: &WindowOptions) -> bool {
        options.slots.saturating_sub(self.running) > self.turns.ready() + self.urgent.len()
    }

    /// How many more jobs the pool can use soon. One that has enough for a while wants none, so that it asks for many at a
    /// time.
    pub(super) fn wanted(&self, options: &WindowOptions) -> usize {
        let idle = options.slots.saturating_sub(self.running);
        let usual = options.ahead.unwrap_or(options.slots.div_ceil(4));
        let ahead = usual.max(self.pace.lately.min(options.jobs / 8)).min(options.jobs);
        let ready = self.turns.ready() + self.urgent.len();
        let wanted = (idle + ahead).saturating_sub(ready);
        if self.idles(options) || wanted > ahead / 2 { wanted } else { 0 }
    }

    /// The taker may find room now.
    pub(super) fn is_hungry(&self, options: &WindowOptions, step: usize) -> bool {
        let Some(looked) = self.hungry else { return false };
        looked.saturating_sub(self.turns.len()) >= step || self.idles(options) || self.wanted(options) > 0
    }
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Pace { since: now, started: 0, lately: 0 }
    }

    pub(super) fn count(&mut self, now: Instant) {
        self.started += 1;
        let passed = now.duration_since(self.since);
        if passed >= AHEAD {
            let share = AHEAD.as_micros() as usize * self.started;
            *self = Pace { since: now, started: 0, lately: share / (passed.as_micros() as usize) };
        }
    }
}
