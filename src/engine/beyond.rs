//! What is remembered of a job beyond itself, asked right before its run and written before it leaves.

use std::sync::Arc;

use super::admitted::Lease;
use super::pool::Pool;
use super::routes::Route;
use super::settle::{GivenUp, Held, Leave};
use super::unique::{BY, Wish};
use crate::batches::JobEnd;
use crate::job::Job;
use crate::outcome::{Class, Failure, Interruption, Outcome};
use crate::ports::{End, Settled, Transfer};
use crate::state::StateError;

/// How a job came to its last end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    Done,
    Dead,
    Discarded,
}

impl Leave {
    /// The end that this is; none when the job goes on elsewhere.
    fn last(&self) -> Option<Last> {
        match self {
            Leave::Ack(ending) => match ending.end {
                End::Completed => Some(Last::Done),
                End::DeadLettered(_) => Some(Last::Dead),
                End::Discarded { .. } => Some(Last::Discarded),
                End::Moved => None,
            },
            Leave::Transfer(copy) => matches!(**copy, Transfer::Dead { .. }).then_some(Last::Dead),
        }
    }
}

impl Pool {
    /// Whether anything is asked about a job right before its run.
    pub(super) fn asks(&self, job: &Job, route: &Route, held: &Held) -> bool {
        self.remembers(job, Some(route)) || held.feed.screen.max_age.is_some()
    }

    /// Right before a run: what becomes of a job that must not run after all.
    pub(super) async fn enter(&self, job: &Job, route: &Route, held: &mut Held) -> Option<Result<Outcome, Arc<str>>> {
        if let Some(why) = held.feed.screen.too_old(job, self.shared.clock.now()) {
            return Some(Ok(Failure::new(Class::Expired, why).into()));
        }
        if let Some(end) = self.enter_batch(job, held).await {
            return Some(end);
        }
        match route.unique {
            Some(_) => self.claim(job, route, held).await,
            None => None,
        }
    }

    async fn enter_batch(&self, job: &Job, held: &mut Held) -> Option<Result<Outcome, Arc<str>>> {
        let (batch, batches) = (job.batch.as_ref()?, self.shared.batches.as_ref()?);
        match self.surely(&mut held.lease, || batches.enter(batch, &self.name)).await {
            Ok(cancelled) => cancelled.map(|by| Err(format!("batch cancelled by {by}").into())),
            Err(given_up) => Some(Ok(interrupted(&given_up))),
        }
    }

    async fn claim(&self, job: &Job, route: &Route, held: &mut Held) -> Option<Result<Outcome, Arc<str>>> {
        let unique = route.unique.as_ref()?;
        let wish = match unique.wish(&route.name, &held.feed.name, job) {
            Ok(wish) => wish?,
            Err(why) => {
                let message = format!("unique: {} has no answer for this job: {why}", unique.key);
                return Some(Ok(Failure::new(Class::Rejected, message).into()));
            }
        };
        match self.surely(&mut held.lease, || unique.holders.claim(&wish, self.shared.clock.now())).await {
            Ok(None) => None,
            Ok(Some(holder)) => {
                tracing::debug!(job = %job.id, %holder, "discarded: another job holds its key");
                Some(Err(BY.into()))
            }
            Err(given_up) => Some(Ok(interrupted(&given_up))),
        }
    }

    /// Whether more is to be written about a job's end than the end itself.
    pub(super) fn remembers(&self, job: &Job, route: Option<&Route>) -> bool {
        route.is_some_and(|route| route.unique.is_some()) || job.batch.is_some() && self.shared.batches.is_some()
    }

    /// The last step of a job: as [`Pool::leave`], after what others remember of its end is written.
    pub(super) async fn depart(
        &self,
        leave: Leave,
        job: &Job,
        route: Option<&Route>,
        mut held: Held,
    ) -> Result<Settled, GivenUp> {
        let Some(last) = leave.last() else { return self.leave(leave, held.lease).await };
        self.count(last, job, route, &mut held).await?;
        let Some(unique) = route.and_then(|route| route.unique.as_ref()) else { return self.leave(leave, held.lease).await };
        // a job whose key has no answer never held one
        let name = route.map_or("", |route| &route.name);
        let wish: Option<Wish> = unique.wish(name, &held.feed.name, job).ok().flatten();
        if let Some(wish) = &wish {
            let span = (last == Last::Done).then_some(unique.span);
            self.surely(&mut held.lease, || unique.holders.release(wish, span, self.shared.clock.now())).await?;
        }
        let settled = Box::pin(self.leave(leave, held.lease)).await?;
        if let Some(wish) = &wish {
            unique.holders.free(wish).await;
        }
        Ok(settled)
    }

    /// Counts the end of a job in its batch. One that another job follows goes on in that one.
    async fn count(&self, last: Last, job: &Job, route: Option<&Route>, held: &mut Held) -> Result<(), GivenUp> {
        let (Some(batch), Some(batches)) = (&job.batch, &self.shared.batches) else { return Ok(()) };
        let end = match last {
            Last::Done if route.is_some_and(|route| route.then.is_some()) => return Ok(()),
            Last::Done => JobEnd::Done,
            Last::Dead => JobEnd::Dead,
            Last::Discarded => JobEnd::Discarded,
        };
        self.surely(&mut held.lease, || batches.count(batch, &self.name, &job.id, end)).await
    }

    /// Asks the state store until it answers, as long as the lease lasts.
    async fn surely<T, F>(&self, lease: &mut Lease, ask: impl Fn() -> F) -> Result<T, GivenUp>
    where
        F: Future<Output = Result<T, StateError>>,
    {
        let mut failures = 0;
        loop {
            match self.while_leased(lease, ask()).await? {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    failures += 1;
                    tracing::warn!("the state store does not answer: {error}; trying again");
                    self.while_leased(lease, self.pause(failures)).await??;
                }
            }
        }
    }
}

fn interrupted(given_up: &GivenUp) -> Outcome {
    Outcome::Interrupted(match given_up {
        GivenUp::LeaseLost => Interruption::LeaseLost,
        GivenUp::Stopping => Interruption::Stopping,
    })
}
