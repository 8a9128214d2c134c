//! What the runs of the last while say about a target: distinct jobs that found it dead, runs that did not.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// The window moves in steps of this part of it.
const STEPS: u64 = 10;
/// Failing jobs told apart at once. More than that are counted run by run: by then a few repetitions say nothing new.
const TOLD_APART: usize = 4096;

/// Runs within a sliding window, in bounded memory.
#[derive(Debug)]
pub(super) struct Evidence {
    step: Duration,
    start: Option<Instant>,
    /// The number of the present step; the ring holds this one and those before.
    now: u64,
    ring: [Step; STEPS as usize],
    /// The last step in which each failing job failed.
    failing: HashMap<u64, u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Step {
    passed: u64,
    /// Failing runs of jobs that could not be told apart any more.
    failed: u64,
}

/// The sums of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Distinct jobs that found the target dead.
    pub failing: u64,
    /// Those, and the runs that did not.
    pub all: u64,
}

impl Seen {
    #[must_use]
    pub fn ratio(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a window holds fewer than 2^53 runs")]
        if self.all == 0 { 0.0 } else { self.failing as f64 / self.all as f64 }
    }
}

impl Evidence {
    pub fn new(window: Duration) -> Self {
        let step = (window / STEPS as u32).max(Duration::from_millis(1));
        Evidence { step, start: None, now: 0, ring: Default::default(), failing: HashMap::new() }
    }

    pub fn passed(&mut self, now: Instant) {
        self.advance(now);
        self.present().passed += 1;
    }

    /// `job` is a hash of its name.
    pub fn failed(&mut self, job: u64, now: Instant) {
        self.advance(now);
        if self.failing.len() < TOLD_APART || self.failing.contains_key(&job) {
            self.failing.insert(job, self.now);
        } else {
            self.present().failed += 1;
        }
    }

    pub fn seen(&mut self, now: Instant) -> Seen {
        self.advance(now);
        let failing = self.failing.len() as u64 + self.ring.iter().map(|step| step.failed).sum::<u64>();
        Seen { failing, all: failing + self.ring.iter().map(|step| step.passed).sum::<u64>() }
    }

    pub fn clear(&mut self) {
        self.ring = Default::default();
        self.failing = HashMap::new();
    }

    fn present(&mut self) -> &mut Step {
        &mut self.ring[(self.now % STEPS) as usize]
    }

    /// Moves the window on; what falls out of it is forgotten.
    fn advance(&mut self, now: Instant) {
        let start = *self.start.get_or_insert(now);
        let elapsed = now.saturating_duration_since(start).as_nanos() / self.step.as_nanos();
        let number = u64::try_from(elapsed).unwrap_or(u64::MAX);
        if number <= self.now {
            return;
        }
        for passed in self.now + 1..=number.min(self.now + STEPS) {
            self.ring[(passed % STEPS) as usize] = Step::default();
        }
        self.now = number;
        self.failing.retain(|_, last| *last + STEPS > number);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn jobs_beyond_those_told_apart_are_counted_and_take_no_memory() {
        let (mut evidence, now) = (Evidence::new(Duration::from_secs(30)), Instant::now());
        for job in 0..1_000_000 {
            evidence.failed(job, now);
        }
        assert_eq!(evidence.seen(now), Seen { failing: 1_000_000, all: 1_000_000 });
        assert_eq!(evidence.failing.len(), TOLD_APART);
        assert_eq!(evidence.seen(now + Duration::from_secs(31)), Seen::default());
        assert!(evidence.failing.is_empty());
    }

    proptest! {
        #[test]
        fn the_sums_are_those_of_a_list_of_all_runs(
            runs in proptest::collection::vec((0u64..700, 0u64..6, any::<bool>()), 1..200),
        ) {
            let (mut evidence, start) = (Evidence::new(Duration::from_secs(10)), Instant::now());
            let (mut list, mut at) = (Vec::new(), 0);
            for (wait, job, fails) in runs {
                at += if list.is_empty() { 0 } else { wait };
                let now = start + Duration::from_millis(at);
                if fails { evidence.failed(job, now) } else { evidence.passed(now) }
                list.push((at / 1000, job, fails));
                let live = |step: u64| step + 10 > at / 1000;
                let mut failing: Vec<u64> = list.iter().filter(|(step, _, fails)| *fails && live(*step)).map(|run| run.1).collect();
                failing.sort_unstable();
                failing.dedup();
                let passed = list.iter().filter(|(step, _, fails)| !*fails && live(*step)).count() as u64;
                let failing = failing.len() as u64;
                prop_assert_eq!(evidence.seen(now), Seen { failing, all: failing + passed });
            }
        }
    }
}
