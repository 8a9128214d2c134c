//! What is counted of one schedule.

use super::names::{SCHEDULE_ERRORS, SCHEDULE_FIRED, SCHEDULE_PASSED_OVER};
use super::recorder::{Counter, Labels, Registry};

/// The metrics of one schedule.
pub struct ScheduleMetrics {
    pub fired: Counter,
    pub passed_over: Counter,
    pub errors: Counter,
}

impl ScheduleMetrics {
    pub(super) fn new(registry: &Registry, labels: &Labels) -> Self {
        ScheduleMetrics {
            fired: registry.counter(&SCHEDULE_FIRED, labels),
            passed_over: registry.counter(&SCHEDULE_PASSED_OVER, labels),
            errors: registry.counter(&SCHEDULE_ERRORS, labels),
        }
    }
}
