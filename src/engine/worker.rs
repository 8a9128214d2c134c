//! The path of one job: decode, route, execute, decide, settle. The page to read first.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::Instant;

use super::admitted::{Admitted, Lease, SUSPICION, Work};
use super::order::Head;
use super::pool::Pool;
use super::routes::Route;
use super::running::{Cancelled, Registered};
use super::settle::Held;
use crate::clock::between;
use crate::job::{Job, Malformed};
use crate::outcome::{Class, Failure, Interruption, Outcome, Reason, Verdict};
use crate::ports::{Context, QueueError};
use crate::retry::{self, Moment, Policy};
use crate::telemetry::Wait;

/// How long a suspect holds back new runs while it waits for the others to end, and how long it lets them go on between.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(60);

/// Whose turn it is: beside others, or alone in the process.
enum Turn<'a> {
    Shared { _beside: RwLockReadGuard<'a, ()> },
    Alone { _first: MutexGuard<'a, ()>, _alone: RwLockWriteGuard<'a, ()> },
}

impl Pool {
    /// Takes one delivery to its end, or answers until when it waits as the head of its key. Whatever happens in here, the
    /// message is acknowledged last, or given back.
    pub(super) async fn process(&self, admitted: Admitted) -> Option<(Admitted, Instant)> {
        let Admitted { feed, message, lease, received, unsettled, work, cancelled, failing, bytes, pass } = admitted;
        let Some(lease) = lease.get().await else { return work.lost(self, &feed) };
        let work = self.at_its_turn(work, &feed);
        let mut held = Held { feed, message, lease, received, marked: false, log_tail: String::new(), pass, bytes };
        let (mut job, route) = match work {
            Work::Run(job, route) => (job, route),
            Work::Park(job, route, why) if cancelled.is_none() => {
                return Box::pin(self.park_unrun(&job, &route, why, held)).await;
            }
            Work::Park(job, route, _) => (job, route),
            Work::Refuse(job, failure) => return Box::pin(self.refuse(&job, failure, cancelled, held)).await,
            Work::End(job, verdict) => return Box::pin(self.end(&verdict, &job, held)).await,
            Work::Bury(malformed) => return Box::pin(self.settle_malformed(malformed, held)).await,
        };
        let turn = self.turn_of(&job, unsettled, &held.feed.name, &mut held.lease).await;
        let started = Instant::now();
        let verdict = match self.before(&job, &route.policy, cancelled) {
            Some(verdict) => verdict,
            None => match self.execute(&mut job, &route, &mut held, matches!(turn, Turn::Alone { .. })).await {
                Ok(outcome) => retry::decide(outcome, &job, &route.policy, &self.moment(started.elapsed())),
                Err(by) => Verdict::Discard { by },
            },
        };
        if route.keeps_order(&job) {
            let head = Head { job, route, failing: failing + started.elapsed() };
            return Box::pin(self.settle_in_order(verdict, head, held)).await;
        }
        self.settle(&verdict, &job, Some(&route), held).await; // publish, wait for the confirm, then ack: last line
        None
    }

    async fn refuse(&self, job: &Job, failure: Failure, cancelled: Option<Cancelled>, held: Held) -> Option<(Admitted, Instant)> {
        let outcome = cancelled.map_or_else(|| Ok(failure.into()), stopped);
        let moment = self.moment(Duration::ZERO);
        let verdict = outcome
            .map_or_else(|by| Verdict::Discard { by }, |outcome| retry::decide(outcome, job, &self.unrouted.policy, &moment));
        self.settle(&verdict, job, None, held).await;
        None
    }

    /// Of a job that ends without a run.
    async fn end(&self, verdict: &Verdict, job: &Job, held: Held) -> Option<(Admitted, Instant)> {
        self.settle(verdict, job, None, held).await;
        self.window.wake_taker(); // see `Pool::looks`
        None
    }

    /// What is decided before a run: an operator's wish, the crash of a marked job, a deadline that has passed, a time that
    /// has not come.
    pub(super) fn before(&self, job: &Job, policy: &Policy, cancelled: Option<Cancelled>) -> Option<Verdict> {
        let moment = self.moment(Duration::ZERO);
        if let Some(why) = cancelled {
            return Some(match stopped(why) {
                Ok(outcome) => retry::decide(outcome, job, policy, &moment),
                Err(by) => Verdict::Discard { by },
            });
        }
        if job.life.suspect {
            let failure = Failure::new(Class::Crashed, "the worker process died while this job ran alone in it");
            return Some(retry::decide(failure.into(), job, policy, &moment));
        }
        if let Some(deadline) = job.deadline.filter(|deadline| *deadline <= moment.now) {
            return Some(retry::expired(job, deadline, &moment));
        }
        let at = job.due().filter(|due| *due > moment.now)?;
        Some(Verdict::Retry { at, life: job.life.clone() })
    }

    /// Waits for the job's turn. Suspects go one after another; the first waits until nothing else runs, and holds new runs
    /// back for a while at a time.
    async fn turn_of(&self, job: &Job, unsettled: u32, queue: &Arc<str>, lease: &mut Lease) -> Turn<'_> {
        let innocent = unsettled <= SUSPICION || job.life.suspect;
        if innocent && let Ok(beside) = self.shared.alone.try_read() {
            return Turn::Shared { _beside: beside };
        }
        let _seen = self.shared.aside.wait(queue, &job.id);
        self.metrics.waits(Wait::Suspect, 1);
        if innocent {
            return self.keep(lease, async { Turn::Shared { _beside: self.shared.alone.read().await } }, || {}).await;
        }
        let alone = Box::pin(async {
            let first = self.shared.suspects.lock().await;
            tracing::warn!(job = %job.id, "was running each of the {unsettled} times that the worker died; it runs alone now");
            loop {
                match tokio::time::timeout(PATIENCE, self.shared.alone.write()).await {
                    Ok(alone) => return Turn::Alone { _first: first, _alone: alone },
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        });
        self.keep(lease, alone, || {}).await
    }

    /// Runs the job; answers its outcome, or who discarded it meanwhile.
    async fn execute(&self, job: &mut Job, route: &Route, held: &mut Held, alone: bool) -> Result<Outcome, Arc<str>> {
        if self.asks(job, route, held)
            && let Some(end) = Box::pin(self.enter(job, route, held)).await
        {
            return end;
        }
        let context = Arc::new(self.context(job, route, alone));
        let registered = self.shared.running.enter(&held.feed.name, &context, held.received.now);
        if alone {
            let ready = route.executor.prepare(&context);
            self.keep(&mut held.lease, ready, || registered.cancel(Cancelled::LeaseLost)).await;
            if !Box::pin(self.mark(job, held)).await {
                return Ok(Outcome::Interrupted(Interruption::Stopping));
            }
        }
        route.metrics.started(held.received.published.map(|published| between(published, held.received.now)));
        let start = Instant::now();
        let run = AssertUnwindSafe(route.executor.execute(job, &context)).catch_unwind();
        let outcome = self.keep(&mut held.lease, run, || registered.cancel(Cancelled::LeaseLost)).await;
        route.metrics.finished(start.elapsed(), context.usage());
        held.log_tail = context.log_tail();
        let outcome = outcome.unwrap_or_else(|panic| {
            let what = panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
            Failure::new(Class::Failed, format!("the executor panicked: {}", what.unwrap_or_default())).into()
        });
        if held.marked {
            Box::pin(self.unmark(job, &outcome, held)).await;
        }
        let outcome = cancelled(outcome, &context, &registered)?;
        if let Some(pass) = held.pass.take() {
            pass.ended(&job.id, &outcome);
        }
        if let Outcome::Failed(failure) = &outcome {
            route.metrics.failed(failure.class);
        }
        Ok(outcome)
    }

    /// Writes the start mark of a suspect: without it the run must not begin. What the run needs is ready by then, so that
    /// little but the run itself lies between the mark and its end.
    async fn mark(&self, job: &Job, held: &mut Held) -> bool {
        let mut life = job.life.clone();
        life.suspect = true;
        while let Err(error) = held.lease.receipt.mark(&life).await {
            tracing::warn!(job = %job.id, "cannot write its start mark: {error}; trying again");
            held.feed.state().trouble = Some((self.shared.clock.now(), format!("a suspect waits for its start mark: {error}")));
            if !matches!(self.while_leased(&mut held.lease, self.pause(1)).await, Ok(Ok(()))) {
                return false;
            }
        }
        held.marked = true;
        true
    }

    /// The run of a suspect is over and the worker lives: a death from now on is not its doing, and one before may not have
    /// been.
    async fn unmark(&self, job: &mut Job, outcome: &Outcome, held: &mut Held) {
        job.life = retry::survived(&job.life, outcome);
        match held.lease.receipt.mark(&job.life).await {
            Ok(()) => held.marked = false,
            Err(error) => {
                tracing::warn!(job = %job.id, "cannot take its start mark off: {error}; a death now would count as its crash")
            }
        }
    }

    fn context(&self, job: &Job, route: &Route, alone: bool) -> Context {
        let mut context = Context::new(job.id.clone(), route.name.clone(), route.policy.timeout);
        context.attempt = job.run_number();
        context.deadline = job.deadline;
        context.time_left = job.deadline.map(|deadline| Instant::now() + between(self.shared.clock.now(), deadline));
        context.alone = alone || job.life.alone;
        context
    }

    /// Waits for `work` while renewing the lease at a third of its length; `lost` is called when it is gone.
    pub(super) async fn keep<F: Future>(&self, lease: &mut Lease, work: F, mut lost: impl FnMut()) -> F::Output {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep_until(lease.renew_at) => {
                    lease.renew_at = Instant::now() + self.shared.lease / 3;
                    match lease.receipt.extend(self.shared.lease).await {
                        Ok(()) => {}
                        Err(QueueError::LeaseLost) => lost(),
                        Err(error) => tracing::warn!("cannot renew a lease: {error}"),
                    }
                }
            }
        }
    }

    pub(super) fn moment(&self, took: Duration) -> Moment {
        Moment { now: self.shared.clock.now(), jitter: fastrand::f64(), took, worker: self.shared.worker.clone() }
    }

    async fn settle_malformed(&self, Malformed(message): Malformed, held: Held) -> Option<(Admitted, Instant)> {
        let id = held.received.origin.id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string().into());
        let life = crate::job::Life { v: 1, origin: Some(held.received.origin.clone()), ..Default::default() };
        let verdict = Verdict::DeadLetter { reason: Reason::MALFORMED, class: Class::Rejected, message, life };
        self.settle(&verdict, &Job::unreadable(id), None, held).await;
        None
    }
}

/// What a run's outcome is once it is known who asked it to end, or who discarded it. A run that was done all the same
/// is done.
fn cancelled(outcome: Outcome, context: &Context, registered: &Registered<'_>) -> Result<Outcome, Arc<str>> {
    if matches!(outcome, Outcome::Done(_)) || !context.cancel.is_cancelled() {
        return Ok(outcome);
    }
    registered.cancelled().map_or(Ok(outcome), stopped)
}

/// The outcome of a run that somebody stopped, or who discarded its job.
fn stopped(why: Cancelled) -> Result<Outcome, Arc<str>> {
    Ok(match why {
        Cancelled::Operator { by, discard: true } => return Err(by),
        Cancelled::Operator { by, discard: false } => Failure::new(Class::Aborted, format!("cancelled by {by}")).into(),
        Cancelled::LeaseLost => Outcome::Interrupted(Interruption::LeaseLost),
        Cancelled::Stopping => Outcome::Interrupted(Interruption::Stopping),
    })
}
