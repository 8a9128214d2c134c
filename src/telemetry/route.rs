//! What is counted of the jobs of one route.

use std::sync::OnceLock;
use std::time::Duration;

use super::names::{
    BILLED_SECONDS, COLD_START_SECONDS, DEAD_LETTERS, FAILURES, FUNCTION_MEMORY_BYTES, QUEUE_SECONDS, RUN_SECONDS, RUNNING,
    VERDICTS,
};
use super::recorder::{Counter, Family, Gauge, Histogram, Labels, Registry};
use crate::outcome::{Class, OtherReason, Reason, Verdict};
use crate::ports::Usage;

/// Every verdict in the order of its counter.
const VERDICT_WORDS: [&str; 6] = ["complete", "retry", "park", "dead_letter", "give_back", "discard"];

/// The metrics of one route of one pool.
pub struct RouteMetrics {
    verdicts: Family<6>,
    failures: Family<11>,
    dead_letters: Family<15>,
    run: Histogram,
    queue: Histogram,
    running: Gauge,
    registry: Registry,
    labels: Labels,
    usage: OnceLock<UsageMetrics>,
}

/// What runs cost, on executors that tell.
struct UsageMetrics {
    billed: Histogram,
    cold_start: Histogram,
    memory: Gauge,
}

impl RouteMetrics {
    pub(super) fn new(registry: &Registry, labels: &Labels) -> Self {
        let metrics = RouteMetrics {
            verdicts: Family::new(registry, &VERDICTS, labels, "verdict"),
            failures: Family::new(registry, &FAILURES, labels, "class"),
            dead_letters: Family::new(registry, &DEAD_LETTERS, labels, "reason"),
            run: registry.histogram(&RUN_SECONDS, labels),
            queue: registry.histogram(&QUEUE_SECONDS, labels),
            running: registry.gauge(&RUNNING, labels),
            registry: registry.clone(),
            labels: labels.clone(),
            usage: OnceLock::new(),
        };
        // there from the start, so that the first one already is a rise
        for word in ["complete", "retry", "dead_letter"] {
            metrics.verdict(word).increment(0);
        }
        metrics
    }

    /// Counts what was decided about a delivery, once it is settled.
    pub fn ended(&self, verdict: &Verdict) {
        self.verdict(verdict.as_str()).increment(1);
        if let Verdict::DeadLetter { reason, .. } = verdict {
            self.dead_letters.at(place(*reason), reason.as_str()).increment(1);
        }
    }

    fn verdict(&self, word: &str) -> &Counter {
        let index = VERDICT_WORDS.iter().position(|known| *known == word).unwrap_or_default();
        self.verdicts.at(index, word)
    }

    /// Counts a failed run.
    pub fn failed(&self, class: Class) {
        self.failures.at(class as usize, class.as_str()).increment(1);
    }

    /// A run starts: how long ago the job was published, where that is known.
    pub fn started(&self, waited: Option<Duration>) {
        self.running.increment(1.0);
        if let Some(waited) = waited {
            self.queue.record(waited);
        }
    }

    /// A run that was [`started`](Self::started) is over, and has cost so much where that is known.
    pub fn finished(&self, took: Duration, usage: Option<Usage>) {
        self.running.decrement(1.0);
        self.run.record(took);
        if let Some(usage) = usage {
            self.used(usage);
        }
    }

    pub(super) fn used(&self, usage: Usage) {
        let metrics = self.usage.get_or_init(|| UsageMetrics {
            billed: self.registry.histogram(&BILLED_SECONDS, &self.labels),
            cold_start: self.registry.histogram(&COLD_START_SECONDS, &self.labels),
            memory: self.registry.gauge(&FUNCTION_MEMORY_BYTES, &self.labels),
        });
        metrics.billed.record(usage.billed);
        if let Some(start) = usage.cold_start {
            metrics.cold_start.record(start);
        }
        #[expect(clippy::cast_precision_loss, reason = "no function has 2^53 bytes")]
        if let Some(memory) = usage.memory {
            metrics.memory.set(memory as f64);
        }
    }
}

/// Classes first, then the reasons that no single run can have.
fn place(reason: Reason) -> usize {
    match reason {
        Reason::Class(class) => class as usize,
        Reason::Other(OtherReason::Malformed) => 11,
        Reason::Other(OtherReason::Poison) => 12,
        Reason::Other(OtherReason::OrderHold) => 13,
        Reason::Other(OtherReason::Foreign) => 14,
    }
}
