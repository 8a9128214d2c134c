//! The duty to settle one delivery, and what all receipts of one source share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::calls::Calls;
use super::marks::{self, Mark};
use super::shelf::{Item, Shelf};
use super::system::System;
use super::topology::Wanted;
use crate::job::{JOB_HEADER, Life, Origin};
use crate::ports::{Delivery, Ending, QueueError, Receipt, Settled, Transfer, Unsettled};

/// What all receipts of one source share.
pub(super) struct Issuer {
    pub system: Arc<System>,
    pub wanted: Wanted,
    pub shelf: Shelf,
    /// Made once the queue was found.
    pub calls: tokio::sync::OnceCell<Calls>,
    /// In seconds: the service knows no parts of them.
    pub lease: AtomicU64,
}

impl Issuer {
    pub fn lease(&self) -> Duration {
        Duration::from_secs(self.lease.load(Ordering::Relaxed))
    }

    pub fn deliver(self: &Arc<Self>, taken: Vec<(u64, Item)>) -> Vec<Delivery> {
        let deliver = |(turn, item): (u64, Item)| Delivery {
            message: item.message.clone(),
            origin: Origin { queue: self.system.home.clone(), id: Some(item.id.clone()), ..Origin::default() },
            published: item.published,
            unsettled: item.unsettled,
            receipt: Box::new(SqsReceipt { issuer: self.clone(), turn, item: Mutex::new(Some(item)) }),
        };
        taken.into_iter().map(deliver).collect()
    }

    /// Has the server deliver them again, to whomever; nobody waits for the answer.
    pub fn give_back(&self, handles: Vec<Arc<str>>) {
        let (Some(calls), Ok(_runtime)) = (self.calls.get(), tokio::runtime::Handle::try_current()) else { return };
        for handle in handles {
            drop(calls.visibility.start((handle, 0), 0));
        }
    }

    pub async fn idle(&self) {
        if let Some(calls) = self.calls.get() {
            calls.deletes.idle().await;
            calls.visibility.idle().await;
        }
    }
}

pub(super) struct SqsReceipt {
    issuer: Arc<Issuer>,
    turn: u64,
    /// None once it is settled.
    item: Mutex<Option<Item>>,
}

impl SqsReceipt {
    fn item(&self) -> MutexGuard<'_, Option<Item>> {
        self.item.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn delete(&self) -> Result<Settled, QueueError> {
        let (shelf, calls) = (&self.issuer.shelf, self.issuer.calls.get());
        // a handle that is not ours any more may delete what another worker holds
        let (Some(handle), Some(calls)) = (shelf.handle(self.turn), calls) else { return Ok(Settled::Fenced) };
        match calls.deletes.send(handle, 0).await {
            Ok(()) => Ok(Settled::Done),
            Err(QueueError::LeaseLost) => Ok(Settled::Fenced),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Receipt for SqsReceipt {
    async fn ack(self: Box<Self>, _: Ending) -> Result<Settled, Unsettled> {
        match self.delete().await {
            Err(error) => Err(Unsettled { receipt: self, error }),
            Ok(settled) => {
                let item = self.item().take();
                self.issuer.shelf.forget(self.turn);
                if let Some(item) = item.filter(|item| item.marked && settled == Settled::Done) {
                    marks::remove(&self.issuer.system, &[&item.message_id]).await;
                }
                Ok(settled)
            }
        }
    }

    async fn transfer(self: Box<Self>, _: Transfer) -> Result<Settled, Unsettled> {
        let error = QueueError::Refused("SQS moves nothing in one step: send, then delete".into());
        Err(Unsettled { receipt: self, error })
    }

    async fn extend(&self, _: Duration) -> Result<(), QueueError> {
        // renewed for everybody by one task of the source
        self.issuer.shelf.handle(self.turn).map(drop).ok_or(QueueError::LeaseLost)
    }

    async fn mark(&self, life: &Life) -> Result<(), QueueError> {
        let Some(item) = self.item().clone() else { return Err(QueueError::LeaseLost) };
        if self.issuer.shelf.handle(self.turn).is_none() {
            return Err(QueueError::LeaseLost);
        }
        let forgiven = if life.suspect { item.deliveries - item.unsettled } else { item.deliveries };
        let written = marks::write(&self.issuer.system, &item.message_id, &Mark::new(life, forgiven)).await;
        let marked = match written {
            Ok(()) => true,
            // without it the run must not begin, or a death would be charged
            Err(error) if life.suspect || item.marked => return Err(error),
            Err(error) => {
                tracing::warn!(job = %item.id, "a failed run is noted in this worker alone: {error}");
                false
            }
        };
        if let Some(item) = self.item().as_mut() {
            item.marked = marked;
            item.unsettled = item.deliveries - forgiven;
            item.message.set_header(JOB_HEADER, life.to_json());
        }
        Ok(())
    }
}

impl Drop for SqsReceipt {
    fn drop(&mut self) {
        if let Some(item) = self.item().take() {
            self.issuer.give_back(self.issuer.shelf.put_back(self.turn, item).into_iter().collect());
        }
    }
}
