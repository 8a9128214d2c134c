//! A limit on the runs of one executor at once that follows what its target bears.
//!
//! Additive increase, multiplicative decrease (AIMD: Chiu and Jain, 1989), as TCP does: it needs no model of the target
//! and no latency, which jobs of different sizes would spoil, and several workers that throttle themselves this way come
//! to equal shares. `throttled` halves the limit, at most once per round trip; a limit's worth of passing runs raises it
//! by one; at the number at once that ran before it was needed, it is lifted.

use std::time::Duration;

use tokio::time::Instant;

/// How many may run at once, and from when.
#[derive(Debug, Default)]
pub struct Throttle {
    running: usize,
    /// The most at once since nothing ran.
    most: usize,
    limit: Option<Limit>,
    /// The target asked for no calls before this.
    not_before: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Limit {
    at_once: usize,
    /// Passing runs since it was last changed.
    passed: usize,
    /// Runs that had started before this are answers to the limit before.
    cut: Instant,
    /// As many ran at once when it was first needed.
    peak: usize,
}

impl Throttle {
    #[must_use]
    pub fn has_room(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now) && self.limit.is_none_or(|limit| self.running < limit.at_once)
    }

    pub fn start(&mut self) {
        self.running += 1;
        self.most = if self.running == 1 { 1 } else { self.most.max(self.running) };
    }

    /// A run has ended, `throttled` or not, with the target's wish for a pause.
    pub fn throttled(&mut self, started: Instant, now: Instant, retry_after: Option<Duration>) {
        let pause = retry_after.map(|wait| now + wait);
        self.not_before = self.not_before.filter(|at| *at > now).max(pause);
        self.ended();
        match &mut self.limit {
            Some(limit) if started < limit.cut => {}
            Some(limit) => {
                *limit = Limit { at_once: (limit.at_once / 2).max(1), passed: 0, cut: now, ..*limit };
            }
            None => self.limit = Some(Limit { at_once: (self.most / 2).max(1), passed: 0, cut: now, peak: self.most }),
        }
    }

    pub fn passed(&mut self) {
        self.ended();
        let Some(limit) = &mut self.limit else { return };
        limit.passed += 1;
        if limit.passed >= limit.at_once {
            (limit.at_once, limit.passed) = (limit.at_once + 1, 0);
            if limit.at_once > limit.peak {
                self.limit = None;
            }
        }
    }

    /// A run has ended that says nothing about the target.
    pub fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// How many may run at once; none is any number.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        self.limit.map(|limit| limit.at_once)
    }

    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }

    /// Until when nothing may start.
    #[must_use]
    pub fn not_before(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|at| *at > now)
    }

    /// An operator lifts limit and pause.
    pub fn lift(&mut self) {
        (self.limit, self.not_before) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn started(throttle: &mut Throttle, count: usize) {
        (0..count).for_each(|_| throttle.start());
    }

    #[test]
    fn throttled_halves_what_runs_at_once_and_answers_to_earlier_runs_do_not_halve_it_again() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        started(&mut throttle, 64);
        for answer in 1..=64 {
            throttle.throttled(start, start + answer * SECOND / 100, None);
        }
        assert_eq!(throttle.limit(), Some(32));
        let later = start + SECOND;
        started(&mut throttle, 32);
        assert!(!throttle.has_room(later));
        throttle.throttled(later, later + SECOND, None);
        assert_eq!(throttle.limit(), Some(16));
    }

    #[test]
    fn it_is_never_below_one_and_recovers_to_no_limit() {
        let (mut throttle, mut now) = (Throttle::default(), Instant::now());
        started(&mut throttle, 8);
        for _ in 0..8 {
            throttle.throttled(now, now, None);
            now += SECOND;
        }
        for _ in 0..20 {
            throttle.start();
            throttle.throttled(now, now, None);
            now += SECOND;
        }
        assert_eq!(throttle.limit(), Some(1));
        let mut passes = 0;
        while throttle.limit().is_some() {
            throttle.start();
            throttle.passed();
            passes += 1;
        }
        assert_eq!(passes, (1..=8).sum::<usize>(), "one more per limit's worth of passes");
    }

    #[test]
    fn nothing_starts_before_the_time_the_target_asked_for() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        started(&mut throttle, 2);
        throttle.throttled(now, now, Some(30 * SECOND));
        throttle.throttled(now, now, Some(10 * SECOND));
        assert!(!throttle.has_room(now + 29 * SECOND));
        assert!(throttle.has_room(now + 30 * SECOND));
        throttle.lift();
        assert!(throttle.has_room(now));
    }

    proptest! {
        #[test]
        fn with_any_target_it_stays_within_what_ran_before_and_above_nothing(
            capacity in 1usize..40, wanted in 1usize..64, rounds in 1usize..200,
        ) {
            let (mut throttle, mut now) = (Throttle::default(), Instant::now());
            for _ in 0..rounds {
                let mut running = 0;
                while running < wanted && throttle.has_room(now) {
                    throttle.start();
                    running += 1;
                }
                prop_assert!(running >= 1);
                let start = now;
                now += SECOND;
                for number in 0..running {
                    if number < capacity { throttle.passed() } else { throttle.throttled(start, now, None) }
                }
                prop_assert_eq!(throttle.running(), 0);
                prop_assert!(throttle.limit().is_none_or(|limit| (1..=wanted).contains(&limit)));
                if wanted <= capacity {
                    prop_assert_eq!(throttle.limit(), None);
                }
            }
            // a target of enough capacity is used: never less than half of what it bears once it has settled
            if rounds > 150 && wanted > capacity {
                prop_assert!(throttle.limit().is_none_or(|limit| 2 * limit + 1 >= capacity.min(wanted)));
            }
        }
    }
}
