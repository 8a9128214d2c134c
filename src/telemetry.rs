//! What operators see of a worker: metrics, logs and probes, each name of them written once.

mod batch;
mod guard;
pub mod logs;
mod names;
mod pool;
pub mod probes;
mod process;
mod queue;
mod recorder;
mod route;
mod schedule;

use crate::clock::Clock;
use names::{BUILD_INFO, DELIVERY_BYTES, DELIVERY_BYTES_LIMIT, RELOADS};
use recorder::{Gauge, Labels, Registry};

pub use batch::BatchMetrics;
pub use guard::{GuardMetrics, Phase};
pub use pool::{ExitMetrics, PoolMetrics, SourceMetrics, Wait, Waiting};
pub use queue::QueueMetrics;
pub use route::RouteMetrics;
pub use schedule::ScheduleMetrics;

/// The metrics of one worker. Clones share them; nothing is global, so that tests may have several side by side.
#[derive(Clone)]
pub struct Telemetry {
    registry: Registry,
    /// Bytes of deliveries in memory.
    pub delivery_bytes: Gauge,
    pub delivery_bytes_limit: Gauge,
}

impl Telemetry {
    /// Metrics that start at nothing.
    ///
    /// # Errors
    /// When the buckets of a histogram are refused: a mistake of the program.
    pub fn install() -> Result<Self, String> {
        let registry = Registry::new()?;
        let none = Labels::default();
        registry.gauge(&BUILD_INFO, &none.with("version", env!("CARGO_PKG_VERSION"))).set(1.0);
        Ok(Telemetry {
            delivery_bytes: registry.gauge(&DELIVERY_BYTES, &none),
            delivery_bytes_limit: registry.gauge(&DELIVERY_BYTES_LIMIT, &none),
            registry,
        })
    }

    /// The metrics of the jobs that one route of one pool runs. Take them once, at start: what they count with is found
    /// here and not again.
    #[must_use]
    pub fn route(&self, pool: &str, route: &str, executor: &str) -> RouteMetrics {
        let labels = Labels::default().with("pool", pool).with("route", route).with("executor", executor);
        RouteMetrics::new(&self.registry, &labels)
    }

    /// The metrics of one pool. Take them once, at start.
    #[must_use]
    pub fn pool(&self, pool: &str) -> PoolMetrics {
        PoolMetrics::new(&self.registry, Labels::default().with("pool", pool))
    }

    /// The metrics of one executor's breaker and limit. Take them once, at start.
    #[must_use]
    pub fn guard(&self, executor: &str) -> GuardMetrics {
        GuardMetrics::new(&self.registry, &Labels::default().with("executor", executor))
    }

    /// The config was reloaded, or refused.
    pub fn reloaded(&self, done: bool) {
        let result = Labels::default().with("result", if done { "done" } else { "refused" });
        self.registry.counter(&RELOADS, &result).increment(1);
    }

    /// The metrics of one queue, brought up to date from its counts before a scrape.
    #[must_use]
    pub fn queue(&self, queue: &str, clock: Clock) -> QueueMetrics {
        QueueMetrics::new(&self.registry, &Labels::default().with("queue", queue), clock)
    }

    /// The metrics of all job batches. Take them once, at start.
    #[must_use]
    pub fn batches(&self) -> BatchMetrics {
        BatchMetrics::new(&self.registry)
    }

    /// The metrics of one schedule. Take them once, at start.
    #[must_use]
    pub fn schedule(&self, schedule: &str) -> ScheduleMetrics {
        ScheduleMetrics::new(&self.registry, &Labels::default().with("schedule", schedule))
    }

    /// Everything in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.registry.render();
        process::render(&mut text);
        text
    }

    /// Folds what histograms have gathered into their buckets: without it they grow with every job. To be called about
    /// once a second.
    pub fn upkeep(&self) {
        self.registry.upkeep();
    }
}

#[cfg(test)]
mod tests;
