//! The dead letters of a queue, for operators: received and put back, those too that the server or other programs put there.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::RabbitmqQueue;
use super::receipt::Issuer;
use super::source::RabbitmqSource;
use super::topology::depth;
use super::wire::death;
use crate::job::{FAILURE_HEADER, Message};
use crate::outcome::{OtherReason, Reason};
use crate::ports::{Delivery, End, Ending, Outgoing, Queue, QueueError, QueueStats, Receipt, Sink, Source};
use crate::queues::letters::window::Peeked;
use crate::queues::letters::{self, Letter};

/// Each look raises the delivery count of what is put back, and above a limit the server throws it away. Ours is far; that of
/// a queue made otherwise may be the default of RabbitMQ 4, which is 20.
const WORN: u32 = 10;
const WORN_OF_OURS: u32 = 100_000;

/// The dead letters of one queue.
pub(super) struct DeadLetters {
    queue: RabbitmqQueue,
    /// Deliveries after which a letter is put behind the others anew.
    worn: OnceCell<u32>,
}

impl DeadLetters {
    pub fn new(queue: RabbitmqQueue) -> Self {
        DeadLetters { queue, worn: OnceCell::new() }
    }

    async fn worn(&self) -> u32 {
        let (system, dead) = (&self.queue.system, self.queue.dead());
        let look = async || if system.topology.is_ours(&system.sending, &dead).await { WORN_OF_OURS } else { WORN };
        *self.worn.get_or_init(look).await
    }

    async fn depth(&self, name: &str) -> Result<(u64, u64), QueueError> {
        let (waiting, consumers) = depth(&self.queue.system.sending, name).await?.unwrap_or_default();
        Ok((waiting.into(), consumers.into()))
    }
}

#[async_trait]
impl Peeked for DeadLetters {
    async fn open(&self) -> Result<Box<dyn Source>, QueueError> {
        let (dead, home) = (self.queue.dead(), self.queue.home.clone());
        let issuer = Arc::new(Issuer::new(&self.queue.system, home, &dead));
        Ok(Box::new(RabbitmqSource::new(issuer, dead)))
    }

    async fn waiting(&self) -> Result<(u64, u64), QueueError> {
        self.depth(&self.queue.dead().name).await
    }

    async fn read(&self, delivery: Delivery) -> Result<Option<(Letter, Box<dyn Receipt>)>, QueueError> {
        let Delivery { mut message, receipt, origin, published, unsettled } = delivery;
        let told = death::take(&mut message, &self.queue.dead().name);
        let failure = letters::ours(&message).unwrap_or_else(|| letters::foreign(&message, origin.id.clone(), published, told));
        if unsettled < self.worn().await {
            return Ok(Some((Letter { message, failure, published }, receipt)));
        }
        // what the server noted would be lost with this copy
        message.set_header(FAILURE_HEADER, failure.to_json());
        let copy = Outgoing { message, id: origin.id, ..Outgoing::default() };
        self.queue.dead_letters().send(copy).await?;
        // a copy too many is better than none
        let _comes_again = receipt.ack(Ending { end: End::Moved, event: None, at: Timestamp::now() }).await;
        Ok(None)
    }

    /// Where it was when it died, on this server.
    async fn again(&self, letter: &Letter) -> Result<(), QueueError> {
        let failure = &letter.failure;
        let from = failure.origin.as_ref().map(|origin| &*origin.queue).filter(|queue| !queue.is_empty());
        let elsewhere = from.filter(|queue| *queue != &*self.queue.home);
        let id = failure.origin.as_ref().and_then(|origin| origin.id.clone()).or_else(|| Some(failure.id.clone()));
        match elsewhere {
            None => self.jobs().send(Outgoing { message: letters::again(letter), id, ..Outgoing::default() }).await,
            // whoever takes from there may not be a worker of ours
            Some(queue) if failure.reason == Reason::Other(OtherReason::Foreign) => {
                let mut message: Message = letter.message.clone();
                message.remove_header(FAILURE_HEADER);
                self.queue.system.send_to(queue, Outgoing { message, id, ..Outgoing::default() }).await
            }
            Some(queue) => {
                let message = letters::again(letter);
                self.queue.system.send_to(queue, Outgoing { message, id, ..Outgoing::default() }).await
            }
        }
    }

    fn jobs(&self) -> Arc<dyn Sink> {
        self.queue.sink()
    }

    async fn stats(&self) -> Result<QueueStats, QueueError> {
        let (waiting, consumers) = self.depth(&self.queue.home).await?;
        let (dead, _) = self.depth(&self.queue.dead().name).await?;
        let mut parked = 0;
        for place in self.queue.known_places() {
            parked += self.depth(&self.queue.place(&place).name).await?.0;
        }
        Ok(QueueStats { waiting, parked, dead, consumers: Some(consumers), ..QueueStats::default() })
    }
}
