//! Order through retries: the head of a key's lane waits in the window, and its key with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::admitted::{Admitted, Leased, Work};
use super::pool::Pool;
use super::routes::Route;
use super::settle::Held;
use crate::clock::between;
use crate::job::{Job, Life};
use crate::outcome::Verdict;
use crate::retry;

/// What the window knows of a job beside the job itself.
pub(super) struct Beside {
    pub unsettled: u32,
    /// How long its key has waited for it to pass: counted failures only.
    pub failing: Duration,
}

impl Pool {
    /// As [`Pool::settle`], but a job that runs again stays where it is, at the head of its key: its next life is written
    /// over it durably, and it is answered with the time until which it waits.
    pub(super) async fn settle_in_order(
        &self,
        verdict: Verdict,
        job: Box<Job>,
        route: Arc<Route>,
        held: Held,
        mut beside: Beside,
    ) -> Option<(Admitted, Instant)> {
        let now = self.shared.clock.now();
        if let Verdict::Retry { at, life } = &verdict
            && life.attempt + life.crashes > job.life.attempt + job.life.crashes
        {
            beside.failing += between(now, *at);
        }
        let verdict = retry::in_order(verdict, beside.failing, route.order_hold);
        match verdict {
            Verdict::Retry { at, ref life } | Verdict::Park { at, ref life, .. } => {
                let until = Instant::now() + between(now, at);
                let life = life.clone();
                let held = self.rewrite(&life, held).await?;
                route.metrics.ended(&verdict);
                Some((keep(job, life, route, held, beside), until))
            }
            verdict => {
                self.settle(&verdict, &job, Some(&route), held).await;
                None
            }
        }
    }

    /// Writes the next life over the held message; none when the job has to be given up.
    async fn rewrite(&self, life: &Life, mut held: Held) -> Option<Held> {
        let mut failures = 0;
        while let Err(error) = held.lease.receipt.mark(life).await {
            failures += 1;
            tracing::warn!("cannot note a failed run: {error}; trying again");
            match self.while_leased(&mut held.lease, self.pause(failures)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => {
                    self.metrics.given_back.increment(1);
                    return None;
                }
                Err(_) => return self.lost(),
            }
        }
        Some(held)
    }

    /// A lease was lost: whatever was done counts for nothing.
    pub(super) fn lost<T>(&self) -> Option<T> {
        self.metrics.leases_lost.increment(1);
        tracing::warn!("a lease was lost; the job is somebody else's now");
        None
    }
}

fn keep(mut job: Box<Job>, life: Life, route: Arc<Route>, held: Held, beside: Beside) -> Admitted {
    let Held { feed, mut message, lease, received, bytes, .. } = held;
    message.set_header(crate::job::JOB_HEADER, life.to_json());
    job.life = life;
    Admitted {
        feed,
        message,
        lease: Leased::Here(lease),
        received,
        unsettled: beside.unsettled,
        work: Work::Run(job, route),
        cancelled: None,
        failing: beside.failing,
        bytes,
    }
}
