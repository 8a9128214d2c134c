//! How many jobs a window wants: enough that no slot waits for a source, and not many more.

use std::time::Duration;

use tokio::time::Instant;

use super::{State, WindowOptions};

/// Jobs are taken ahead for this long, by the pace of the last starts.
const AHEAD: Duration = Duration::from_millis(250);

/// A pool with fewer slots keeps none free: each is too much of what it has.
const FEW_SLOTS: usize = 16;

/// How many jobs were started lately.
pub(super) struct Pace {
    since: Instant,
    started: usize,
    /// Started in [`AHEAD`].
    lately: usize,
}

impl WindowOptions {
    fn slots_kept_free(&self) -> usize {
        let usual = if self.slots < FEW_SLOTS { 0 } else { self.slots.div_ceil(32) };
        self.kept_free.unwrap_or(usual)
    }
}

impl State {
    /// There are more free slots than jobs for them.
    pub(super) fn idles(&self, options: &WindowOptions) -> bool {
        options.slots.saturating_sub(self.running) > self.turns.ready() + self.urgent.len()
    }

    /// When the last slots are to be taken: how many jobs a tenant must run fewer than to get one.
    ///
    /// Slots fall free in a rhythm that the running jobs have set, and jobs of one length that were once started together
    /// end together ever after, since their ends share a commit. So a tenant that comes rarely would wait for a whole job of
    /// another's; it finds a slot instead, while more than one tenant is around.
    pub(super) fn few(&self, options: &WindowOptions) -> Option<usize> {
        let kept = options.slots_kept_free();
        let last = kept > 0 && self.running + kept >= options.slots;
        (last && self.turns.is_shared(Instant::now())).then_some(kept)
    }

    /// Something may be started now.
    pub(super) fn may_start(&self, options: &WindowOptions) -> bool {
        let in_turn = || self.turns.ready() > 0 && self.few(options).is_none_or(|few| self.turns.is_ready(few));
        self.running < options.slots && (!self.urgent.is_empty() || in_turn())
    }

    /// How many more jobs the pool can use soon. One that has enough for a while wants none, so that it asks for many at a
    /// time.
    pub(super) fn wanted(&self, options: &WindowOptions) -> usize {
        let idle = options.slots.saturating_sub(self.running);
        let usual = options.ahead.unwrap_or(options.slots.div_ceil(4));
        let ahead = usual.max(self.pace.lately.min(options.jobs / 8)).min(options.jobs);
        let useless = self.few(options).is_some_and(|few| !self.turns.is_ready(few));
        let ready = if useless { 0 } else { self.turns.ready() } + self.urgent.len();
        let wanted = (idle + ahead).saturating_sub(ready);
        if idle > ready || wanted > ahead / 2 { wanted } else { 0 }
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
