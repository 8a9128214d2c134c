//! A delivery that a pool has taken: decoded, routed, and waiting for its turn.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::Instant;

use super::budget::Reserved;
use super::guard::Pass;
use super::pool::{Feed, Pool};
use super::routes::Route;
use super::running::Cancelled;
use super::turns::Facts;
use crate::job::decode::{Received, decode};
use crate::job::{Job, Malformed, Message};
use crate::outcome::{Class, Failure, Verdict};
use crate::ports::{Delivery, Receipt};
use crate::units::spell_size;

/// Deliveries that were neither settled nor given back, after which a job is run alone to find out.
pub(super) const SUSPICION: u32 = 2;

/// A delivery in the window of a pool.
pub(super) struct Admitted {
    pub feed: Arc<Feed>,
    pub message: Message,
    pub lease: Leased,
    pub received: Received,
    /// How often it was delivered and neither settled nor given back.
    pub unsettled: u32,
    pub work: Work,
    /// An operator wants it to end before it runs.
    pub cancelled: Option<Cancelled>,
    /// How long its key has waited for it to pass: counted failures only.
    pub failing: Duration,
    pub bytes: Reserved,
    /// Once it runs: what its executor's guard has let through.
    pub pass: Option<Pass>,
}

/// What there is to do about a delivery.
pub(super) enum Work {
    Run(Box<Job>, Arc<Route>),
    /// Its executor is shut.
    Park(Box<Job>, Arc<Route>, Failure),
    /// No route takes it, or it is too large for any.
    Refuse(Box<Job>, Failure),
    /// Its source does not take it.
    End(Box<Job>, Box<Verdict>),
    Bury(Malformed),
}

/// A receipt and when its lease is to be renewed.
pub(super) struct Lease {
    pub receipt: Box<dyn Receipt>,
    pub renew_at: Instant,
}

/// The lease of a job that waits: here, or being renewed.
pub(super) enum Leased {
    Here(Lease),
    /// Comes back, unless the lease was lost.
    Away(oneshot::Receiver<Lease>),
    Lost,
}

impl Leased {
    /// The lease, as soon as it is here; none when it was lost.
    pub async fn get(self) -> Option<Lease> {
        match self {
            Leased::Here(lease) => Some(lease),
            Leased::Away(lease) => lease.await.ok(),
            Leased::Lost => None,
        }
    }

    /// Hands the lease out for renewal if it is due; it is to be sent back.
    pub fn take_due(&mut self, now: Instant) -> Option<(Lease, oneshot::Sender<Lease>)> {
        if let Leased::Away(coming) = self {
            match coming.try_recv() {
                Ok(lease) => *self = Leased::Here(lease),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Closed) => *self = Leased::Lost, // it must not be asked a second time
            }
        }
        if !matches!(self, Leased::Here(lease) if lease.renew_at <= now) {
            return None;
        }
        let (back, away) = oneshot::channel();
        match std::mem::replace(self, Leased::Away(away)) {
            Leased::Here(lease) => Some((lease, back)),
            Leased::Away(_) | Leased::Lost => None,
        }
    }
}

impl Work {
    /// Its lease was lost before anything was done.
    pub fn lost<T>(&self, pool: &Pool, feed: &Feed) -> Option<T> {
        match self {
            Work::Run(job, route) | Work::Park(job, route, _) => pool.lost(job, Some(route), feed),
            Work::Refuse(job, _) | Work::End(job, _) => pool.lost(job, None, feed),
            Work::Bury(_) => None,
        }
    }
}

impl Admitted {
    /// What decides when it runs; none when there is nothing to wait for.
    pub fn facts(&self) -> Option<Facts> {
        let (job, route, leaves) = match &self.work {
            Work::Run(job, route) => (job, route, false),
            Work::Park(job, route, _) if route.keeps_order(job) => (job, route, true),
            _ => return None,
        };
        Some(Facts {
            queue: self.feed.name.clone(),
            tenant: job.tenant.clone(),
            // types whose keys are kept in order by one route take turns as one
            kind: if route.keeps_order(job) { route.name.clone() } else { job.kind.clone() },
            priority: job.priority,
            key: job.key.clone(),
            suspect: self.unsettled > SUSPICION && !job.life.suspect,
            older: self.feed.beside.is_some(),
            leaves,
            rules: route.rules.clone(),
        })
    }

    pub fn is(&self, queue: &str, id: &str) -> bool {
        let job = match &self.work {
            Work::Run(job, _) | Work::Park(job, ..) | Work::Refuse(job, _) | Work::End(job, _) => job,
            Work::Bury(_) => return false,
        };
        *self.feed.name == *queue && *job.id == *id
    }
}

impl Pool {
    /// Reads a delivery as a job and finds its route.
    pub(super) fn admit(&self, feed: &Arc<Feed>, delivery: Delivery, bytes: Reserved) -> Admitted {
        let Delivery { message, receipt, origin, published, unsettled } = delivery;
        let received = Received { origin, published, now: self.shared.clock.now() };
        let work = match decode(&message, &feed.decoding, &received) {
            Ok(job) => match feed.screen.verdict(&job, received.now) {
                Some(verdict) => Work::End(Box::new(job), Box::new(verdict)),
                None => self.work_of(Box::new(job), message.body.len(), feed),
            },
            Err(malformed) => Work::Bury(malformed),
        };
        self.came_out(feed, &work);
        let lease = Leased::Here(Lease { receipt, renew_at: Instant::now() + self.shared.lease / 3 });
        let feed = feed.clone();
        Admitted { feed, message, lease, received, unsettled, work, cancelled: None, failing: Duration::ZERO, bytes, pass: None }
    }

    /// `size` is the body's, in bytes. A body over the limit came past the API: from another system, or from before the
    /// limit was lowered.
    fn work_of(&self, job: Box<Job>, size: usize, feed: &Feed) -> Work {
        if size > self.shared.body_limit {
            let limit = spell_size(self.shared.body_limit as u64);
            let message = format!("the message is {size} bytes long; at most {limit} are run (worker.body_limit)");
            return Work::Refuse(job, Failure::new(Class::Rejected, message));
        }
        if let Some(route) = self.routes.load().find(&job.kind, job.version.as_deref()) {
            return self.work_on(job, route.clone(), feed);
        }
        let version = job.version.as_ref().map(|version| format!(" version {version}")).unwrap_or_default();
        let message = format!("no route matches the type {:?}{version}", job.kind);
        Work::Refuse(job, Failure::new(Class::NoRoute, message))
    }

    /// The same delivery, by the routes as they are now.
    pub(super) fn route_again(&self, mut admitted: Admitted) -> Admitted {
        admitted.work = match admitted.work {
            Work::Run(job, _) | Work::Park(job, ..) | Work::Refuse(job, _) => {
                self.work_of(job, admitted.message.body.len(), &admitted.feed)
            }
            ended => ended,
        };
        admitted
    }
}
