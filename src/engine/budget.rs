//! One budget of bytes for every message in memory, whatever pool it is in.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in steps of this size, so that a large budget fits a semaphore.
const STEP: usize = 256;

/// The bytes that messages may take in this process.
#[derive(Clone, Debug)]
pub struct Budget {
    steps: Arc<Semaphore>,
    total: usize,
}

/// Bytes taken from the budget; dropping gives them back.
#[derive(Debug)]
pub struct Reserved(OwnedSemaphorePermit);

impl Budget {
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let total = (bytes / STEP).clamp(1, u32::MAX as usize >> 3);
        Budget { steps: Arc::new(Semaphore::new(total)), total }
    }

    /// Waits until `bytes` are free and takes them; more than the whole budget takes the whole budget.
    pub async fn reserve(&self, bytes: usize) -> Reserved {
        let steps = u32::try_from(steps(bytes).min(self.total)).unwrap_or(u32::MAX);
        match self.steps.clone().acquire_many_owned(steps).await {
            Ok(permit) => Reserved(permit),
            Err(_) => std::future::pending().await, // never closed
        }
    }

    #[must_use]
    pub fn used(&self) -> usize {
        (self.total - self.steps.available_permits().min(self.total)) * STEP
    }

    #[must_use]
    pub fn free(&self) -> usize {
        self.steps.available_permits() * STEP
    }
}

impl Reserved {
    /// Splits off what a message of `bytes` costs, or all that is left.
    pub fn split(&mut self, bytes: usize) -> Reserved {
        let steps = steps(bytes).min(self.0.num_permits());
        match self.0.split(steps) {
            Some(permit) => Reserved(permit),
            None => unreachable!("no more is split off than there is"),
        }
    }
}

fn steps(bytes: usize) -> usize {
    bytes.div_ceil(STEP).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_dropped_can_be_taken_again() {
        let budget = Budget::new(1024 * 1024);
        let mut all = budget.reserve(1024 * 1024).await;
        assert_eq!(budget.free(), 0);
        let small = all.split(1000);
        drop(all);
        assert_eq!(budget.free(), 1024 * 1024 - 1024);
        drop(small);
        assert_eq!(budget.free(), 1024 * 1024);
    }
}
