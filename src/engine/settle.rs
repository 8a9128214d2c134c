//! The end of a delivery: publish, wait for the confirm, then acknowledge.

use std::sync::Arc;
use std::time::Duration;

use super::admitted::Lease;
use super::budget::Reserved;
use super::exit::Exit;
use super::guard::Pass;
use super::pool::{Feed, Pool};
use super::routes::Route;
use crate::job::decode::Received;
use crate::job::failure::Death;
use crate::job::{FAILURE_HEADER, FailureDocument, JOB_HEADER, Job, Life, Message, event};
use crate::outcome::{Class, Interruption, Output, Reason, Verdict};
use crate::ports::{End, Ending, Outgoing, QueueError, Settled, Transfer, Unsettled};
use crate::retry::{Backoff, Jitter};
use crate::stop_point;
use crate::telemetry::Wait;
use bytes::Bytes;

/// The wait between two tries to settle: 100 ms, doubling to five seconds.
const EXIT_DOWN: Backoff =
    Backoff { base: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(5), jitter: Jitter::Equal };

/// A delivery on its way to its end.
pub(super) struct Held {
    pub feed: Arc<Feed>,
    pub message: Message,
    pub lease: Lease,
    pub received: Received,
    /// It carries the start mark of this run.
    pub marked: bool,
    pub log_tail: String,
    pub pass: Option<Pass>,
    pub bytes: Reserved,
}

/// Why a settlement was given up: the message goes back to its queue.
pub(super) enum GivenUp {
    LeaseLost,
    Stopping,
}

/// How a held message leaves: consumed, or moved by its own queue in one step.
pub(super) enum Leave {
    Ack(Ending),
    Transfer(Box<Transfer>),
}

impl Pool {
    /// Carries out a verdict. Nothing is acknowledged before what it publishes is confirmed.
    pub(super) async fn settle(&self, verdict: &Verdict, job: &Job, route: Option<&Arc<Route>>, mut held: Held) {
        held.pass = None; // a run that did not take place says nothing
        let beside = held.feed.beside.is_some().then(|| held.feed.clone());
        let route = route.map(|route| &**route);
        // what is rarer than completion is boxed, or every job's future would have room for all of it
        let settled = match verdict {
            Verdict::Complete(output) => self.complete(output, job, route, held).await,
            Verdict::Retry { at, life } => Box::pin(self.later(*at, life.clone(), held)).await,
            Verdict::Park { .. } => Box::pin(self.park(verdict, job, route, held)).await,
            Verdict::DeadLetter { reason, class, message, life } => {
                Box::pin(self.bury(Grave { reason: *reason, class: *class, message, life, job, route }, held)).await
            }
            Verdict::GiveBack(why) => {
                if *why == Interruption::LeaseLost {
                    self.yield_key(job, route); // before it goes itself: a queue that takes back at its head has them in order
                }
                Box::pin(self.give_back(*why, job, held)).await
            }
            Verdict::Discard { by } => {
                let leave = Leave::Ack(self.ending(End::Discarded { by: by.clone() }, None));
                Box::pin(self.depart(leave, job, route, held)).await
            }
        };
        match settled {
            Ok(Settled::Done) => {
                route.map_or(&self.unrouted.metrics, |route| &route.metrics).ended(verdict);
                match verdict {
                    Verdict::Park { .. } => self.metrics.waits(Wait::Parked, 1),
                    Verdict::Discard { by } => self.metrics.discarded(by),
                    _ => {}
                }
            }
            Err(GivenUp::Stopping) => self.metrics.given_back.increment(1),
            Ok(Settled::Fenced) => {
                self.comes_again(job, route, beside.as_deref());
                self.metrics.fenced_acks.increment(1);
                tracing::warn!(job = %job.id, "settled too late: its lease was lost, so nothing was changed");
            }
            Err(GivenUp::LeaseLost) => {
                self.comes_again(job, route, beside.as_deref());
                self.metrics.leases_lost.increment(1);
                tracing::warn!(job = %job.id, "its lease was lost; the run counts for nothing");
            }
        }
    }

    async fn complete(&self, output: &Output, job: &Job, route: Option<&Route>, mut held: Held) -> Result<Settled, GivenUp> {
        let exit = route.and_then(|route| route.results.as_ref()).or(self.results.as_ref());
        let message = event::completed(job, &self.name, output, self.shared.clock.now());
        let event = message.body.clone();
        let answer = held.feed.queue.reply_to(&held.message).map(|sender| (sender, message.clone()));
        if let Some(exit) = exit {
            let outgoing = Outgoing { message, id: Some(event::end_id(job, "completed").into()), ..Outgoing::default() };
            if let Some(why) = Box::pin(self.publish(exit, outgoing, &mut held.lease)).await? {
                let why = format!("its result is refused by {}: {why}", exit.sink.address());
                return Box::pin(self.done_in_vain(&why, job, route, held)).await;
            }
        }
        if let Some(then) = route.and_then(|route| route.then.as_ref())
            && let Some(why) = Box::pin(self.follow(then, output, job, &mut held)).await?
        {
            return Box::pin(self.done_in_vain(&why, job, route, held)).await;
        }
        if let Some((sender, event)) = answer {
            Box::pin(self.reply(sender, (event, event::end_id(job, "completed")), &mut held)).await?;
        }
        let leave = Leave::Ack(self.ending(End::Completed, Some(event)));
        if self.remembers(job, route) {
            Box::pin(self.depart(leave, job, route, held)).await
        } else {
            self.leave(leave, held.lease).await
        }
    }

    /// Of a job whose result cannot go where it must.
    async fn done_in_vain(&self, why: &str, job: &Job, route: Option<&Route>, held: Held) -> Result<Settled, GivenUp> {
        let (class, life, message) = (Class::Rejected, &job.life, format!("the job was done, but {why}"));
        let grave = Grave { reason: Reason::Class(class), class, message: &message, life, job, route };
        self.bury(grave, held).await
    }

    /// Into the queue again, due at `at`.
    pub(super) async fn later(&self, at: jiff::Timestamp, mut life: Life, mut held: Held) -> Result<Settled, GivenUp> {
        let capabilities = held.feed.queue.capabilities();
        life.generation += 1;
        if capabilities.transfers {
            return self.leave(Leave::Transfer(Box::new(Transfer::Later { at, life })), held.lease).await;
        }
        let longest = capabilities.longest_delay.map(|longest| crate::clock::after(self.shared.clock.now(), longest));
        let due = Some(longest.map_or(at, |longest| at.min(longest)));
        let mut message = held.message.clone();
        message.set_header(JOB_HEADER, life.to_json());
        let outgoing = Outgoing { message, id: None, due, priority: None };
        self.publish_surely(&held.feed.again, outgoing, &mut held.lease).await?;
        self.leave(Leave::Ack(self.ending(End::Moved, None)), held.lease).await
    }

    async fn bury(&self, grave: Grave<'_>, mut held: Held) -> Result<Settled, GivenUp> {
        let mut life = grave.life.clone();
        life.generation += 1;
        let document = Bytes::from(self.document(&grave, &life, &held).to_json());
        let event = event::failed(grave.job, &self.name, &document, self.shared.clock.now());
        let kept = event.body.clone();
        if let Some(sender) = held.feed.queue.reply_to(&held.message) {
            self.reply(sender, (event.clone(), event::end_id(grave.job, "failed")), &mut held).await?;
        }
        if let Some(exit) = grave.route.and_then(|route| route.results.as_ref()).or(self.results.as_ref()) {
            let outgoing =
                Outgoing { message: event, id: Some(event::end_id(grave.job, "failed").into()), ..Outgoing::default() };
            if let Some(why) = self.publish(exit, outgoing, &mut held.lease).await? {
                tracing::error!(job = %grave.job.id, "{} refuses the event of its failure: {why}", exit.sink.address());
            }
        }
        let elsewhere = grave.route.and_then(|route| route.dead_letters.as_ref()).or(self.dead_letters.as_ref());
        match elsewhere {
            None if held.feed.queue.capabilities().transfers => {
                let leave = Leave::Transfer(Box::new(Transfer::Dead { life, document, event: Some(kept) }));
                self.depart(leave, grave.job, grave.route, held).await
            }
            elsewhere => {
                let exit = elsewhere.unwrap_or(&held.feed.dead_letters);
                let mut message = held.message.clone();
                message.remove_header(JOB_HEADER); // folded into the document
                message.set_header(FAILURE_HEADER, document);
                let outgoing = Outgoing { message, id: Some(grave.job.id.clone()), ..Outgoing::default() };
                self.publish_surely(exit, outgoing, &mut held.lease).await?;
                let leave = Leave::Ack(self.ending(End::DeadLettered(grave.reason), Some(kept)));
                self.depart(leave, grave.job, grave.route, held).await
            }
        }
    }

    /// Back as it was: the receipt is dropped. A start mark is taken off first, or the next worker would charge a crash.
    async fn give_back(&self, why: Interruption, job: &Job, held: Held) -> Result<Settled, GivenUp> {
        if why == Interruption::LeaseLost {
            return Err(GivenUp::LeaseLost);
        }
        if held.marked
            && let Err(error) = held.lease.receipt.mark(&job.life).await
        {
            tracing::warn!(job = %job.id, "given back with its start mark, which will count as a crash: {error}");
        }
        Err(GivenUp::Stopping)
    }

    fn document(&self, grave: &Grave<'_>, life: &Life, held: &Held) -> FailureDocument {
        let death = Death {
            reason: grave.reason,
            class: grave.class,
            message: grave.message,
            log_tail: held.log_tail.clone(),
            now: self.shared.clock.now(),
        };
        let mut document = FailureDocument::new(&grave.job.id, life, death);
        if grave.reason != Reason::MALFORMED {
            document.kind = Some(grave.job.kind.clone());
            document.tenant = Some(grave.job.tenant.clone());
            document.trace_id = grave.job.traceparent().split('-').nth(1).map(Into::into);
        }
        document.route = grave.route.map(|route| route.name.clone());
        document.executor = grave.route.map(|route| route.executor_name.clone());
        document
    }

    pub(super) fn ending(&self, end: End, event: Option<Bytes>) -> Ending {
        Ending { end, event, at: self.shared.clock.now() }
    }

    /// Sends until it is confirmed, as long as the lease lasts: the report is retried, never the job. Answers why the exit
    /// will never take it, if it says so.
    pub(super) async fn publish(&self, exit: &Exit, outgoing: Outgoing, lease: &mut Lease) -> Result<Option<String>, GivenUp> {
        let (mut failures, mut _waiting) = (0, None);
        loop {
            match self.while_leased(lease, exit.sink.send(outgoing.clone())).await? {
                Ok(()) => {
                    stop_point::pass("published");
                    exit.confirmed();
                    return Ok(None);
                }
                Err(QueueError::Refused(why)) => return Ok(Some(why)),
                Err(error) => {
                    failures += 1;
                    exit.failed(self.shared.clock.now(), &error.to_string());
                    _waiting.get_or_insert_with(|| self.metrics.wait(Wait::ExitDown));
                    tracing::warn!(exit = exit.sink.address(), "cannot publish: {error}; trying again");
                    self.while_leased(lease, self.pause(failures)).await??;
                }
            }
        }
    }

    /// Sends where the message must be kept: a refusal is waited out too, until somebody mends the exit.
    pub(super) async fn publish_surely(&self, exit: &Exit, outgoing: Outgoing, lease: &mut Lease) -> Result<(), GivenUp> {
        while let Some(why) = self.publish(exit, outgoing.clone(), lease).await? {
            exit.failed(self.shared.clock.now(), &why);
            tracing::error!(exit = exit.sink.address(), "refuses a message that must not be lost, so its job waits: {why}");
            self.while_leased(lease, self.pause(u32::MAX)).await??;
        }
        Ok(())
    }

    /// The last step: consumes or moves the held message, again and again until its queue has done it.
    pub(super) async fn leave(&self, leave: Leave, mut lease: Lease) -> Result<Settled, GivenUp> {
        stop_point::pass("settling");
        let mut failures = 0;
        loop {
            let answer = match &leave {
                Leave::Ack(ending) => lease.receipt.ack(ending.clone()).await,
                Leave::Transfer(copy) => lease.receipt.transfer((**copy).clone()).await,
            };
            match answer {
                Ok(settled) => return Ok(settled),
                Err(Unsettled { error: QueueError::LeaseLost, .. }) => return Err(GivenUp::LeaseLost),
                Err(Unsettled { receipt, error }) => {
                    lease.receipt = receipt;
                    failures += 1;
                    tracing::warn!("cannot settle a job: {error}; trying again");
                    Box::pin(self.while_leased(&mut lease, self.pause(failures))).await??;
                }
            }
        }
    }

    pub(super) async fn pause(&self, failures: u32) -> Result<(), GivenUp> {
        let wait = tokio::time::sleep(EXIT_DOWN.delay(failures, fastrand::f64()));
        self.shared.abandon.run_until_cancelled(wait).await.ok_or(GivenUp::Stopping)
    }

    pub(super) async fn while_leased<F: Future>(&self, lease: &mut Lease, work: F) -> Result<F::Output, GivenUp> {
        let lost = tokio::sync::Notify::new();
        tokio::select! {
            biased;
            done = self.keep(lease, work, || lost.notify_one()) => Ok(done),
            () = lost.notified() => Err(GivenUp::LeaseLost),
        }
    }
}

/// A job that ends in the dead letters.
struct Grave<'a> {
    reason: Reason,
    class: Class,
    message: &'a str,
    life: &'a Life,
    job: &'a Job,
    route: Option<&'a Route>,
}
