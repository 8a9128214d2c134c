//! Places for jobs in an executor: waiting for a free one, and being stopped while waiting or running.

use std::future::Future;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::outcome::{Class, Failure, Interruption, Outcome};
use crate::ports::{Context, Stopped};
use crate::units::spell_duration;

/// The places of one executor.
#[derive(Debug)]
pub struct Places {
    free: Semaphore,
    all: u32,
    closing: CancellationToken,
}

impl Places {
    #[must_use]
    pub fn new(count: usize) -> Self {
        let all = u32::try_from(count.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX >> 3);
        Places { free: Semaphore::new(all as usize), all, closing: CancellationToken::new() }
    }

    /// Waits for a free place.
    ///
    /// # Errors
    /// The outcome of a job that was stopped before it could start.
    pub async fn take(&self, context: &Context) -> Result<SemaphorePermit<'_>, Outcome> {
        if let Ok(place) = self.free.try_acquire() {
            return Ok(place);
        }
        self.unless_stopped(context, self.free.acquire()).await?.map_err(|_closed| stopping())
    }

    /// Waits for what must happen before the run starts; the clock of the run does not tick, only that of the job.
    ///
    /// # Errors
    /// The outcome of a job that was stopped before it could start.
    pub async fn unless_stopped<F: Future>(&self, context: &Context, wait: F) -> Result<F::Output, Outcome> {
        let deadline = async {
            match context.time_left {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = wait => Ok(done),
            () = self.closing.cancelled() => Err(stopping()),
            () = context.cancel.cancelled() => Err(stopped(Stopped::Cancelled)),
            () = deadline => Err(stopped(Stopped::Expired)),
        }
    }

    /// Resolves when the executor stops without waiting any longer.
    pub async fn closed(&self) {
        self.closing.cancelled().await;
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Lets nobody in any more, waits up to `grace` until all have left, then has them sent away.
    pub async fn close(&self, grace: Duration, send_away: impl FnOnce()) {
        let all_free = self.free.acquire_many(self.all);
        tokio::pin!(all_free);
        if tokio::time::timeout(grace, &mut all_free).await.is_err() {
            self.closing.cancel();
            send_away();
            let _all = all_free.await;
        }
        self.closing.cancel();
        self.free.close();
    }
}

/// What becomes of a run that was stopped from outside.
#[must_use]
pub fn stopped(why: Stopped) -> Outcome {
    match why {
        Stopped::TimedOut(limit) => {
            Failure::new(Class::Timeout, format!("it did not end within its time limit of {}", spell_duration(limit))).into()
        }
        Stopped::Expired => Failure::new(Class::Expired, "the job's deadline passed before it ended").into(),
        Stopped::Cancelled => stopping(),
    }
}

fn stopping() -> Outcome {
    Outcome::Interrupted(Interruption::Stopping)
}
