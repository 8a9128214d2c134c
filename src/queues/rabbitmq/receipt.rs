//! The duty to settle one delivery on the channel that brought it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use lapin::Channel;

use super::config::Key;
use super::marks;
use super::shelf::{Item, Mark, Shelf, Tag, Turn};
use super::system::System;
use super::topology::{Role, Wanted};
use super::wire;
use crate::job::{JOB_HEADER, Life, Origin};
use crate::ports::{Delivery, Ending, QueueError, Receipt, Settled, Transfer, Unsettled};

/// Marks that are looked for at once.
const MARKS_AT_ONCE: usize = 32;

/// What all receipts of one source share.
pub(super) struct Issuer {
    pub system: Arc<System>,
    /// The queue's name for people and for the engine.
    pub origin: Arc<str>,
    /// Its name on the server.
    pub queue: Arc<str>,
    pub shelf: Shelf,
    /// It is closed with its last holder: what was taken can be settled after the source is gone.
    pub channel: Mutex<Option<Arc<Channel>>>,
    /// Operators look at what comes; nobody runs it.
    dead: bool,
}

impl Issuer {
    /// `home` is what deliveries say they come from.
    pub fn new(system: &Arc<System>, home: Arc<str>, wanted: &Wanted) -> Self {
        Issuer {
            system: system.clone(),
            origin: home,
            queue: wanted.name.clone(),
            shelf: Shelf::default(),
            channel: Mutex::default(),
            dead: wanted.role == Role::Dead,
        }
    }

    /// What comes from now on comes on this channel.
    pub fn open(&self, channel: &Arc<Channel>) {
        self.shelf.clear();
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel.clone());
    }

    /// The channel is of no use any more. Closing it gives back what it has brought.
    pub async fn lost(&self) {
        self.shelf.clear();
        self.system.topology.forget(&self.queue);
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(channel) = channel.filter(|channel| channel.status().connected()) {
            let _gone_already = channel.close(200, "the consumer ended".into()).await;
        }
    }

    /// Puts on the shelf what was delivered now.
    pub fn put(&self, channel: &Arc<Channel>, delivered: lapin::message::Delivery) {
        let tag = Tag { channel: channel.clone(), number: delivered.delivery_tag };
        let config = &self.system.config;
        let death = self.dead.then(|| delivered.properties.clone());
        let mut came = wire::read(delivered, config.key.as_ref());
        if let Some(properties) = death
            && let Some(key) = wire::death::note(&mut came.message, &properties)
            && config.key == Some(Key::RoutingKey)
        {
            came.message.key = Some(key.into());
        }
        let mut item = Item {
            message: came.message,
            id: came.id,
            published: came.published,
            deliveries: came.deliveries,
            unsettled: came.deliveries,
            mark: Mark::None,
            tag,
            consumer: 0,
        };
        if item.deliveries > 0 && !self.dead {
            item.mark = Mark::Unknown(marks::name(&self.queue, &item));
        }
        self.shelf.put(item, came.due, Timestamp::now());
    }

    /// Looks for the marks of those of the next `jobs` messages that were delivered before, many at once: after a crash that
    /// is every one.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn look_for_marks(&self, jobs: usize) -> Result<(), QueueError> {
        let looks = self.shelf.unknown(jobs.min(MARKS_AT_ONCE)).into_iter().map(|(turn, name)| async move {
            let found = marks::read(&self.system, &name).await?;
            self.shelf.looked(turn, &name, found);
            Ok(())
        });
        futures_util::future::try_join_all(looks).await.map(|_| ())
    }

    pub fn deliver(self: &Arc<Self>, taken: Vec<(Turn, Item)>) -> Vec<Delivery> {
        let deliver = |(turn, item): (Turn, Item)| Delivery {
            message: item.message.clone(),
            origin: Origin { queue: self.origin.clone(), id: item.id.clone(), ..Origin::default() },
            published: item.published,
            unsettled: item.unsettled,
            receipt: Box::new(RabbitmqReceipt { issuer: self.clone(), turn, item: Mutex::new(Some(item)) }),
        };
        taken.into_iter().map(deliver).collect()
    }
}

pub(super) struct RabbitmqReceipt {
    issuer: Arc<Issuer>,
    turn: Turn,
    /// None once it is settled.
    item: Mutex<Option<Item>>,
}

impl RabbitmqReceipt {
    fn item(&self) -> MutexGuard<'_, Option<Item>> {
        self.item.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Receipt for RabbitmqReceipt {
    async fn ack(self: Box<Self>, _: Ending) -> Result<Settled, Unsettled> {
        let Some(item) = self.item().take() else { return Ok(Settled::Fenced) };
        self.issuer.shelf.settled(self.turn, item.consumer);
        let acked = item.tag.ack().await;
        if let (Mark::Written(name), true) = (item.mark, acked) {
            marks::remove(&self.issuer.system, &name).await;
        }
        Ok(if acked { Settled::Done } else { Settled::Fenced })
    }

    async fn transfer(self: Box<Self>, _: Transfer) -> Result<Settled, Unsettled> {
        let error = QueueError::Refused("RabbitMQ moves nothing in one step: publish, then acknowledge".into());
        Err(Unsettled { receipt: self, error })
    }

    async fn extend(&self, _: Duration) -> Result<(), QueueError> {
        // held for as long as the channel lives: there is nothing to renew
        let usable = self.item().as_ref().is_some_and(|item| item.tag.usable());
        if usable { Ok(()) } else { Err(QueueError::LeaseLost) }
    }

    async fn mark(&self, life: &Life) -> Result<(), QueueError> {
        let Some(item) = self.item().clone() else { return Err(QueueError::LeaseLost) };
        if !item.tag.usable() {
            return Err(QueueError::LeaseLost);
        }
        let name = match &item.mark {
            Mark::Written(name) => name.clone(),
            _ => marks::name(&self.issuer.queue, &item),
        };
        let forgiven = if life.suspect { item.deliveries - item.unsettled.min(item.deliveries) } else { item.deliveries };
        marks::write(&self.issuer.system, &name, life, forgiven).await?;
        if let Some(item) = self.item().as_mut() {
            item.mark = Mark::Written(name);
            item.unsettled = item.deliveries - forgiven;
            item.message.set_header(JOB_HEADER, life.to_json());
        }
        Ok(())
    }
}

impl Drop for RabbitmqReceipt {
    fn drop(&mut self) {
        if let Some(item) = self.item().take() {
            self.issuer.shelf.put_back(self.turn, item);
        }
    }
}
