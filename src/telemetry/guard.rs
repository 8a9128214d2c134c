//! What is shown of one executor's breaker and limit.

use serde::{Deserialize, Serialize};

use super::names::{BREAKER, BREAKER_OPENINGS, EXECUTOR_LIMIT};
use super::recorder::{Counter, Gauge, Labels, Registry};

/// How a breaker stands: open lets nothing through; half-open, one job at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Closed,
    Open,
    HalfOpen,
}

/// The metrics of one executor's guard.
pub struct GuardMetrics {
    state: Gauge,
    pub openings: Counter,
    limit: Gauge,
}

impl GuardMetrics {
    pub(super) fn new(registry: &Registry, labels: &Labels) -> Self {
        let openings = registry.counter(&BREAKER_OPENINGS, labels);
        openings.increment(0);
        GuardMetrics { state: registry.gauge(&BREAKER, labels), openings, limit: registry.gauge(&EXECUTOR_LIMIT, labels) }
    }

    /// Shows the state, and how many may run at once; none is any number.
    pub fn show(&self, phase: Phase, limit: Option<usize>) {
        self.state.set(match phase {
            Phase::Closed => 0.0,
            Phase::HalfOpen => 1.0,
            Phase::Open => 2.0,
        });
        #[expect(clippy::cast_precision_loss, reason = "nobody runs 2^53 jobs at once")]
        self.limit.set(limit.map_or(0.0, |limit| limit as f64));
    }
}
