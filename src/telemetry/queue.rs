//! What a scrape shows of one queue: not counted along the way but asked of it, and what it does not tell is not shown.

use super::names::{QUEUE_CONSUMERS, QUEUE_ENDED, QUEUE_JOBS, QUEUE_LAG, QUEUE_OLDEST_SECONDS, QUEUE_PAUSED};
use super::recorder::{Labels, Registry};
use crate::clock::{Clock, between};
use crate::ports::QueueStats;

/// The metrics of one queue.
pub struct QueueMetrics {
    clock: Clock,
    registry: Registry,
    labels: Labels,
}

impl QueueMetrics {
    pub(super) fn new(registry: &Registry, labels: &Labels, clock: Clock) -> Self {
        QueueMetrics { clock, registry: registry.clone(), labels: labels.clone() }
    }

    /// Shows these counts from now on.
    pub fn observe(&self, stats: &QueueStats) {
        let gauge = |metric, labels: &Labels, value: u64| {
            #[expect(clippy::cast_precision_loss, reason = "a queue holds fewer than 2^53 jobs")]
            self.registry.gauge(metric, labels).set(value as f64);
        };
        let states = [
            ("waiting", Some(stats.waiting)),
            ("delayed", stats.delayed),
            ("parked", Some(stats.parked)),
            ("running", stats.running),
            ("dead", Some(stats.dead)),
        ];
        for (state, count) in states.into_iter().filter_map(|(state, count)| Some((state, count?))) {
            gauge(&QUEUE_JOBS, &self.labels.with("state", state), count);
        }
        for (end, count) in [("completed", stats.completed), ("discarded", stats.discarded)] {
            let Some(count) = count else { continue };
            self.registry.counter(&QUEUE_ENDED, &self.labels.with("end", end)).absolute(count);
        }
        for part in &stats.lag {
            let labels = self.labels.with("topic", &part.topic).with("partition", &part.partition.to_string());
            gauge(&QUEUE_LAG, &labels, part.lag);
        }
        if let Some(consumers) = stats.consumers {
            gauge(&QUEUE_CONSUMERS, &self.labels, consumers);
        }
        let age = match stats.oldest {
            Some(oldest) => between(oldest, self.clock.now()).as_secs_f64(),
            None if stats.waiting == 0 => 0.0,
            None => f64::NAN, // an age would be made up, and one of before would go on for ever
        };
        self.registry.gauge(&QUEUE_OLDEST_SECONDS, &self.labels).set(age);
        gauge(&QUEUE_PAUSED, &self.labels, u64::from(stats.paused));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_that_is_not_told_leaves_neither_the_last_one_nor_a_zero() {
        let registry = Registry::new().unwrap();
        let metrics = QueueMetrics::new(&registry, &Labels::default().with("queue", "q"), Clock::System);
        let shown = |stats: &QueueStats| {
            metrics.observe(stats);
            let rendered = registry.render();
            let line = rendered.lines().find(|line| line.starts_with("windlass_queue_oldest_seconds{"));
            line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
        };
        let none = QueueStats::default();
        let untold = QueueStats { waiting: 3, ..QueueStats::default() };
        assert_eq!(shown(&none).as_deref(), Some("0"));
        assert_eq!(shown(&untold).as_deref(), Some("NaN"));
        assert_eq!(shown(&none).as_deref(), Some("0"));
    }
}
