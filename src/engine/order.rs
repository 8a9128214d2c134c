//! Order through retries: the head of a key's lane waits in the window, and its key with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::admitted::{Admitted, Leased, Work};
use super::pool::{Feed, Pool};
use super::routes::Route;
use super::settle::Held;
use crate::clock::between;
use crate::job::{JOB_HEADER, Job, Life};
use crate::outcome::{Interruption, Verdict};
use crate::retry;

/// A job that its key waits for.
pub(super) struct Head {
    pub job: Box<Job>,
    pub route: Arc<Route>,
    /// How long its key has waited for it to pass: counted failures only.
    pub failing: Duration,
}

impl Pool {
    /// As [`Pool::settle`], but a job that runs again stays where it is, at the head of its key: its next life is written
    /// over it durably, and it is answered with the time until which it waits.
    pub(super) async fn settle_in_order(&self, verdict: Verdict, mut head: Head, held: Held) -> Option<(Admitted, Instant)> {
        let now = self.shared.clock.now();
        if let Verdict::Retry { at, life } = &verdict
            && life.attempt + life.crashes > head.job.life.attempt + head.job.life.crashes
        {
            head.failing += between(now, *at);
        }
        let verdict = retry::in_order(verdict, head.failing, head.route.order_hold);
        if self.must_leave(&verdict, &head, &held.feed) {
            self.leave_lane(&verdict, &head, held).await;
            return None;
        }
        match verdict {
            Verdict::Retry { at, ref life } | Verdict::Park { at, ref life, .. } => {
                let until = Instant::now() + between(now, at);
                let held = self.rewrite(life, &head, held).await?;
                head.route.metrics.ended(&verdict);
                head.job.life = life.clone();
                Some((head.keep(held), until))
            }
            // back in its queue it would be behind those that wait for it
            Verdict::GiveBack(Interruption::Neighbour) => {
                let held = self.rewrite(&head.job.life, &head, held).await?;
                Some((head.keep(held), Instant::now()))
            }
            verdict => {
                self.settle(&verdict, &head.job, Some(&head.route), held).await;
                None
            }
        }
    }

    /// Writes the next life over the held message; none when the job has to be given up.
    pub(super) async fn rewrite(&self, life: &Life, head: &Head, mut held: Held) -> Option<Held> {
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
                Err(_) => return self.lost(&head.job, Some(&head.route), &held.feed),
            }
        }
        Some(held)
    }

    /// A lease was lost: whatever was done counts for nothing.
    pub(super) fn lost<T>(&self, job: &Job, route: Option<&Route>, feed: &Feed) -> Option<T> {
        self.goes_back(job, route, feed);
        self.yield_key(job, route);
        self.metrics.leases_lost.increment(1);
        tracing::warn!(job = %job.id, "its lease was lost while it waited; it is somebody else's now");
        None
    }

    /// A job is handed out again: those that wait here for their key must not run before it.
    pub(super) fn yield_key(&self, job: &Job, route: Option<&Route>) {
        if let Some(route) = route.filter(|route| route.keeps_order(job)) {
            for admitted in self.window.take_lane(&route.rules.route, job).into_iter().rev() {
                if let Work::Run(job, route) | Work::Park(job, route, _) = &admitted.work {
                    self.goes_back(job, Some(route), &admitted.feed);
                }
            }
        }
    }
}

impl Head {
    fn keep(self, held: Held) -> Admitted {
        let Held { feed, mut message, lease, received, bytes, .. } = held;
        message.set_header(JOB_HEADER, self.job.life.to_json());
        Admitted {
            feed,
            message,
            lease: Leased::Here(lease),
            received,
            unsettled: 0,
            work: Work::Run(self.job, self.route),
            cancelled: None,
            failing: self.failing,
            bytes,
            pass: None,
        }
    }
}
