//! Where what comes out is published, with what is known of how well that goes.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use jiff::Timestamp;

use crate::ports::Sink;
use crate::telemetry::ExitMetrics;

/// A sink that verdicts are published to.
pub struct Exit {
    pub sink: Arc<dyn Sink>,
    pub metrics: ExitMetrics,
    trouble: Mutex<Option<(Timestamp, String)>>,
}

impl Exit {
    #[must_use]
    pub fn new(sink: Arc<dyn Sink>, metrics: ExitMetrics) -> Self {
        Exit { sink, metrics, trouble: Mutex::default() }
    }

    pub(super) fn confirmed(&self) {
        self.metrics.published.increment(1);
        if let Ok(mut trouble) = self.trouble.try_lock() {
            *trouble = None;
        }
    }

    pub(super) fn failed(&self, now: Timestamp, why: &str) {
        self.metrics.retries.increment(1);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let since = trouble.take().map_or(now, |(since, _)| since);
        *trouble = Some((since, why.to_owned()));
    }

    /// Since when nothing can be published here, and why.
    #[must_use]
    pub fn trouble(&self) -> Option<(Timestamp, String)> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
