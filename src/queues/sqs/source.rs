//! Takes messages of one queue: requests that wait at the server, as many as come back full, and one task that renews every
//! lease.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::types::Message as Received;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::time::Instant;

use super::calls::{Ask, Calls};
use super::receipt::Issuer;
use super::shelf::{Item, LONGEST_LEASE, Renewal};
use super::topology::{self, Role, Wanted};
use super::wire::{self, Came};
use super::{marks, places};
use crate::clock::between;
use crate::job::JOB_HEADER;
use crate::job::decode::life_of;
use crate::ports::{Delivery, Outgoing, QueueError, Room, Source};

/// The shortest lease: the service counts whole seconds, and renewals take their time.
const SHORTEST_LEASE: Duration = Duration::from_secs(2);
/// What comes earlier than this before its time is sent on its way again.
const SOON: Duration = Duration::from_secs(2);
/// How often a place is looked for that does not exist yet.
const MISSING: Duration = Duration::from_secs(10);
/// The most messages that are remembered to have come when nobody took any more.
const BOUNCED: usize = 10_000;

pub(super) struct SqsSource {
    issuer: Arc<Issuer>,
    checked: bool,
    open: bool,
}

impl SqsSource {
    pub fn new(issuer: Arc<Issuer>) -> Self {
        SqsSource { issuer, checked: false, open: false }
    }

    async fn open(&mut self) -> Result<(), QueueError> {
        let Issuer { system, wanted, .. } = &*self.issuer;
        if wanted.role == Role::Parked {
            while system.find(&wanted.name).await?.is_none() {
                tokio::time::sleep(MISSING).await;
            }
        } else if !self.checked {
            topology::check(system, wanted).await?;
            self.checked = true;
        }
        let url = system.url(wanted).await?;
        if self.issuer.calls.get().is_none() {
            let calls = Calls::new(system.client().await, &url, &wanted.name, &system.place);
            if self.issuer.calls.set(calls).is_ok() {
                tokio::spawn(renew(Arc::downgrade(&self.issuer)));
                if wanted.role == Role::Jobs {
                    tokio::spawn(places::keep(Arc::downgrade(&self.issuer)));
                }
            }
        }
        self.open = true;
        Ok(())
    }
}

#[async_trait]
impl Source for SqsSource {
    async fn next(&mut self, room: Room) -> Result<Vec<Delivery>, QueueError> {
        if room.jobs == 0 {
            return Ok(Vec::new());
        }
        let seconds = room.lease.max(SHORTEST_LEASE).min(LONGEST_LEASE).as_millis().div_ceil(1000);
        self.issuer.lease.store(u64::try_from(seconds).unwrap_or(u64::MAX), Ordering::Relaxed);
        loop {
            if !self.open {
                self.open().await?;
            }
            let issuer = &self.issuer;
            let changed = issuer.shelf.changed.notified();
            let taken = issuer.shelf.take(room);
            if !taken.is_empty() {
                return Ok(issuer.deliver(taken));
            }
            if let Some(error) = issuer.shelf.error() {
                self.open = false;
                return Err(error);
            }
            while let Some(asked) = issuer.shelf.ask(room) {
                tokio::spawn(issuer.clone().poll(asked)); // it outlives a call that is dropped
            }
            let early = issuer.shelf.next_due();
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(early.unwrap_or_else(Instant::now)), if early.is_some() => {}
            }
        }
    }
}

impl Drop for SqsSource {
    /// What was taken can still be settled; what waits goes back, and what is on its way follows it.
    fn drop(&mut self) {
        self.issuer.give_back(self.issuer.shelf.close());
    }
}

impl Issuer {
    async fn poll(self: Arc<Self>, asked: usize) {
        let (Some(calls), lease) = (self.calls.get(), self.lease()) else { return };
        let brought = match calls.receive(Ask { most: asked, lease, wait: self.system.config.wait.0 }).await {
            Ok(messages) => {
                let count = messages.len();
                self.came(messages, lease).await.map(|()| count)
            }
            Err(error) => {
                self.system.forget(&self.wanted.name);
                Err(error)
            }
        };
        self.shelf.asked(asked, brought);
    }

    async fn came(self: &Arc<Self>, messages: Vec<Received>, lease: Duration) -> Result<(), QueueError> {
        let came: Vec<Came> = messages.into_iter().filter_map(|received| wire::read(received, self.system.fifo)).collect();
        let until = Instant::now() + lease; // what is asked now takes its time
        let marks = match came.iter().any(|came| came.deliveries > 0) {
            // a suspect must not pass unseen; given back at once, all would come again at once and count as delivered
            true => marks::read(&self.system).await?,
            false => Arc::default(),
        };
        let mut early = Vec::new();
        for came in came {
            let now = Timestamp::now();
            let wait = came.due.filter(|due| *due > now && self.wanted.role == Role::Jobs).map(|due| between(now, due));
            if wait.is_some_and(|wait| wait > SOON) {
                early.push(self.send_on(came));
                continue;
            }
            let mut item = self.item(&came);
            if let Some(mark) = marks.get(&*came.message_id) {
                let mut life = life_of(&item.message).unwrap_or_default();
                mark.onto(&mut life);
                item.message.set_header(JOB_HEADER, life.to_json());
                item.unsettled = item.deliveries.saturating_sub(mark.forgiven);
                item.marked = true;
            }
            if let Some(item) = self.shelf.put(item, &came.handle, until, wait.map(|wait| Instant::now() + wait)) {
                self.bounce(&item);
                self.give_back(vec![came.handle]);
            }
        }
        join_all(early).await; // this request stays one of those that are on their way
        Ok(())
    }

    fn item(&self, came: &Came) -> Item {
        // a FIFO queue delays nothing: what is due later was delivered once before, to be told to wait
        let waited = u32::from(self.system.fifo && came.due.is_some() && self.wanted.role == Role::Jobs);
        let mut bounced = self.system.bounced();
        let ours = bounced.get(&came.message_id).copied().unwrap_or_default();
        bounced.remove(&came.message_id);
        Item {
            message: came.message.clone(),
            message_id: came.message_id.clone(),
            id: came.id.clone(),
            published: came.published,
            due: came.due,
            deliveries: came.deliveries,
            unsettled: came.deliveries.saturating_sub(waited + ours),
            marked: false,
        }
    }

    /// It came when nobody took any more: this delivery is held against nobody.
    fn bounce(&self, item: &Item) {
        let mut bounced = self.system.bounced();
        if bounced.len() < BOUNCED {
            bounced.insert(item.message_id.clone(), item.deliveries + 1 - item.unsettled);
        }
    }

    /// A message that came before its time: sent again for the rest of it, or, where the queue delays nothing, left alone
    /// for as long. What fails here comes again with the end of its lease.
    async fn send_on(&self, came: Came) {
        let (Some(calls), Some(due)) = (self.calls.get(), came.due) else { return };
        let done = if self.system.fifo {
            // the twelve hours have begun when it was received
            let left = between(Timestamp::now(), due).min(LONGEST_LEASE - Duration::from_secs(60));
            calls.visibility.send((came.handle, i32::try_from(left.as_secs()).unwrap_or(0)), 0).await
        } else {
            let outgoing = Outgoing { message: came.message, id: Some(came.id), due: Some(due), priority: None };
            match self.system.send(&self.wanted, &outgoing).await {
                Ok(()) => calls.deletes.send(came.handle, 0).await,
                failed => failed,
            }
        };
        if let Err(error) = done {
            tracing::warn!("a message that is due later comes again: {error}");
        }
    }

    /// Renews the leases that are due, without waiting for the answers.
    fn renew(self: &Arc<Self>) {
        let (renewals, back) = self.shelf.renewals(self.lease());
        self.give_back(back);
        for Renewal { turn, handle, lease } in renewals {
            let issuer = self.clone();
            tokio::spawn(async move {
                let Some(calls) = issuer.calls.get() else { return };
                let asked = Instant::now();
                let seconds = i32::try_from(lease.as_secs()).unwrap_or(i32::MAX);
                let until = match calls.visibility.send((handle, seconds), 0).await {
                    Ok(()) => Ok(Some(asked + lease)),
                    Err(QueueError::LeaseLost) => Err(()),
                    Err(error) => {
                        tracing::warn!("cannot renew a lease: {error}");
                        Ok(None)
                    }
                };
                issuer.give_back(issuer.shelf.renewed(turn, until));
            });
        }
    }
}

/// One task for all leases of a source, as long as anything of it is held.
async fn renew(issuer: Weak<Issuer>) {
    loop {
        let pause = match issuer.upgrade() {
            Some(issuer) => {
                issuer.renew();
                issuer.lease() / 6
            }
            None => return,
        };
        tokio::time::sleep(pause.min(Duration::from_secs(5))).await;
    }
}

/// For places: what a message that goes home becomes.
pub(super) fn home(home: &Arc<str>) -> Wanted {
    Wanted { name: home.clone(), role: Role::Jobs }
}
