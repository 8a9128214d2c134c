//! The duty to settle a leased job: every way out ends the lease exactly once.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::lease::{self, Token};
use super::operation::{Operation, Settle, Settlement};
use super::place::Place;
use super::ready_queue::ReadyQueue;
use super::store::Shared;
use super::waiting::Waiting;
use crate::job::Life;
use crate::ports::{Ending, QueueError, Receipt, Settled, Transfer, Unsettled};

/// What all receipts of one source share.
pub(super) struct Issuer {
    pub shared: Arc<Shared>,
    pub queue: Arc<ReadyQueue>,
    /// Where the queue's dead letters go.
    pub dead: Arc<ReadyQueue>,
}

pub(super) struct EmbeddedReceipt {
    issuer: Arc<Issuer>,
    job: Waiting,
    token: Token,
    settled: bool,
}

impl EmbeddedReceipt {
    pub fn new(issuer: &Arc<Issuer>, job: Waiting, token: Token) -> Self {
        EmbeddedReceipt { issuer: issuer.clone(), job, token, settled: false }
    }

    fn shared(&self) -> &Shared {
        &self.issuer.shared
    }

    async fn settle(mut self: Box<Self>, how: Settlement) -> Result<Settled, Unsettled> {
        if !self.shared().leases().settle(self.token) {
            self.settled = true;
            return Ok(Settled::Fenced);
        }
        let (token, job) = (self.token, self.job.clone());
        let beside = self.issuer.queue.parked_from().is_some();
        let settle =
            |reply| Operation::Settle(Settle { token, job, beside, how, moved: Place::NONE, outcome: Settled::Done, reply });
        match self.shared().ask(settle).await {
            Ok(settled) => {
                self.settled = true;
                Ok(settled)
            }
            Err(error) => {
                // also where the writer never took it: it is held again, and given back when dropped
                self.shared().leases().unsettle(self.token);
                Err(Unsettled { receipt: self, error })
            }
        }
    }
}

#[async_trait]
impl Receipt for EmbeddedReceipt {
    async fn ack(self: Box<Self>, ending: Ending) -> Result<Settled, Unsettled> {
        self.settle(Settlement::End(ending)).await
    }

    async fn transfer(self: Box<Self>, copy: Transfer) -> Result<Settled, Unsettled> {
        let how = match copy {
            Transfer::Later { at, life } => {
                Settlement::Later { at: at.as_millisecond(), parked: life.park.is_some(), life: life.to_json().into() }
            }
            Transfer::Park { place, until, life } => {
                let place = self.shared().registry.parked_of(&self.issuer.queue, &place);
                Settlement::Park { place, until: until.as_millisecond(), life: life.to_json().into() }
            }
            Transfer::Dead { life, document, event } => {
                Settlement::Dead { dead: self.issuer.dead.clone(), life: life.to_json().into(), document, event }
            }
        };
        self.settle(how).await
    }

    async fn extend(&self, lease: Duration) -> Result<(), QueueError> {
        let renewed = self.shared().leases().extend(self.token, lease::until(lease));
        if renewed { Ok(()) } else { Err(QueueError::LeaseLost) }
    }

    async fn mark(&self, life: &Life) -> Result<(), QueueError> {
        let unsettled = if life.suspect { self.job.unsettled } else { 0 };
        let (token, job) = (self.token, Waiting { unsettled, ..self.job.clone() });
        let life = Bytes::from(life.to_json());
        self.shared().ask(|reply| Operation::Mark { token, job, life, reply }).await
    }
}

impl Drop for EmbeddedReceipt {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.shared().give_back(self.token);
    }
}
