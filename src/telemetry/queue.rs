//! What a scrape shows of one queue: not counted along the way but asked of it.

use super::names::{QUEUE_ENDED, QUEUE_JOBS, QUEUE_OLDEST_SECONDS, QUEUE_PAUSED};
use super::recorder::{Counter, Gauge, Labels, Registry};
use crate::clock::{Clock, between};
use crate::ports::QueueStats;

const STATES: [&str; 5] = ["waiting", "delayed", "parked", "running", "dead"];

/// The metrics of one queue.
pub struct QueueMetrics {
    clock: Clock,
    jobs: [Gauge; 5],
    completed: Counter,
    discarded: Counter,
    oldest: Gauge,
    paused: Gauge,
}

impl QueueMetrics {
    pub(super) fn new(registry: &Registry, labels: &Labels, clock: Clock) -> Self {
        QueueMetrics {
            clock,
            jobs: STATES.map(|state| registry.gauge(&QUEUE_JOBS, &labels.with("state", state))),
            completed: registry.counter(&QUEUE_ENDED, &labels.with("end", "completed")),
            discarded: registry.counter(&QUEUE_ENDED, &labels.with("end", "discarded")),
            oldest: registry.gauge(&QUEUE_OLDEST_SECONDS, labels),
            paused: registry.gauge(&QUEUE_PAUSED, labels),
        }
    }

    /// Shows these counts from now on.
    pub fn observe(&self, stats: &QueueStats) {
        #[expect(clippy::cast_precision_loss, reason = "a queue holds fewer than 2^53 jobs")]
        for (gauge, count) in
            self.jobs.iter().zip([stats.waiting, stats.delayed, stats.parked, stats.running, stats.dead].map(|n| n as f64))
        {
            gauge.set(count);
        }
        self.completed.absolute(stats.completed);
        self.discarded.absolute(stats.discarded);
        let now = self.clock.now();
        self.oldest.set(stats.oldest.map_or(0.0, |oldest| between(oldest, now).as_secs_f64()));
        self.paused.set(f64::from(u8::from(stats.paused)));
    }
}
