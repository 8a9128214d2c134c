//! Limits on starts: how many at once, and how many in a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::guard::Guard;
use crate::units::Rate;

/// What may be started at once and in a time; absent is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limit {
    pub rate: Option<Rate>,
    pub concurrency: Option<u32>,
}

/// Starts are evenly spread: at most this time's worth come at once.
const BURST: Duration = Duration::from_millis(100);

impl Limit {
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Limit::default()
    }
}

/// The state of a limit.
#[derive(Debug)]
pub(super) struct Gate<W> {
    pub limit: Limit,
    running: u32,
    /// When the next start is due if starts come evenly (the generic cell rate algorithm).
    due: Option<Instant>,
    /// Of an executor: its guard decides instead.
    pub guard: Option<Arc<Guard>>,
    /// Who found it shut, the first one first.
    pub waiters: VecDeque<W>,
}

/// Whether one more may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Open,
    /// When something that runs has ended.
    Full,
    At(Instant),
}

impl<W> Gate<W> {
    pub fn new(limit: Limit) -> Self {
        Gate { limit, running: 0, due: None, guard: None, waiters: VecDeque::new() }
    }

    pub fn guarded(guard: &Arc<Guard>) -> Self {
        Gate { guard: Some(guard.clone()), ..Gate::new(Limit::default()) }
    }

    pub fn ask(&self, now: Instant) -> Admission {
        if let Some(guard) = &self.guard {
            return guard.ask(now);
        }
        if self.limit.concurrency.is_some_and(|most| self.running >= most) {
            return Admission::Full;
        }
        let (Some(rate), Some(due)) = (self.limit.rate, self.due) else { return Admission::Open };
        let interval = rate.per / rate.count.max(1);
        let early = BURST.min(rate.per).saturating_sub(interval);
        match due.checked_sub(early) {
            Some(at) if at > now => Admission::At(at),
            _ => Admission::Open,
        }
    }

    pub fn start(&mut self, now: Instant) {
        self.running += 1;
        if let Some(rate) = self.limit.rate {
            self.due = Some(self.due.map_or(now, |due| due.max(now)) + rate.per / rate.count.max(1));
        }
    }

    pub fn end(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// When nothing is left to remember of past starts; none is now.
    pub fn idle_at(&self, now: Instant) -> Option<Instant> {
        self.due.filter(|due| *due > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(limit: Limit) -> Gate<()> {
        Gate::new(limit)
    }

    #[test]
    fn no_more_start_in_a_time_than_the_rate_and_its_burst_allow() {
        for (count, burst) in [(1, 1), (10, 1), (50, 5), (1000, 100)] {
            let mut gate = gate(Limit { rate: Some(Rate { count, per: Duration::from_secs(1) }), concurrency: None });
            let start = Instant::now();
            let mut started = 0;
            for millisecond in 0..=10_000 {
                let now = start + Duration::from_millis(millisecond);
                while gate.ask(now) == Admission::Open {
                    gate.start(now);
                    started += 1;
                }
                assert!(matches!(gate.ask(now), Admission::At(at) if at > now));
                if millisecond == 0 {
                    assert_eq!(started, burst, "{count}/s");
                }
            }
            assert!((10 * count..=10 * count + burst + 1).contains(&started), "{count}/s: {started}");
        }
    }

    #[test]
    fn no_more_run_at_once_than_allowed_and_an_end_makes_room() {
        let (mut gate, now) = (gate(Limit { rate: None, concurrency: Some(2) }), Instant::now());
        gate.start(now);
        gate.start(now);
        assert_eq!(gate.ask(now), Admission::Full);
        gate.end();
        assert_eq!(gate.ask(now), Admission::Open);
    }

    #[test]
    fn a_gate_is_idle_once_its_last_start_is_paid_for() {
        let rate = Rate { count: 1, per: Duration::from_secs(60) };
        let (mut gate, now) = (gate(Limit { rate: Some(rate), concurrency: None }), Instant::now());
        gate.start(now);
        gate.end();
        assert_eq!(gate.idle_at(now), Some(now + Duration::from_secs(60)));
        assert_eq!(gate.idle_at(now + Duration::from_secs(60)), None);
    }
}
