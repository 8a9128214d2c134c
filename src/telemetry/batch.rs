//! What is counted of job batches.

use super::names::{BATCH_JOBS, BATCHES_COMPLETED, BATCHES_OPENED};
use super::recorder::{Counter, Labels, Registry};

const ENDS: [&str; 3] = ["done", "dead", "discarded"];

/// The metrics of all batches.
pub struct BatchMetrics {
    pub opened: Counter,
    pub completed: Counter,
    ends: [Counter; 3],
}

impl BatchMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let none = Labels::default();
        BatchMetrics {
            opened: registry.counter(&BATCHES_OPENED, &none),
            completed: registry.counter(&BATCHES_COMPLETED, &none),
            ends: ENDS.map(|end| registry.counter(&BATCH_JOBS, &none.with("end", end))),
        }
    }

    /// Counts an end of a job: `done`, `dead` or `discarded`.
    pub fn ended(&self, end: &str) {
        if let Some(index) = ENDS.iter().position(|known| *known == end) {
            self.ends[index].increment(1);
        }
    }
}
