//! The queue in memory: for tests and examples; what it holds ends with the process.

pub mod config;
mod shelf;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::{Clock, between};
use crate::job::Origin;
use crate::job::{Life, Message};
use crate::ports::{
    Capabilities, Delivery, Ending, Order, Outgoing, Queue, QueueError, Receipt, Room, Settled, Sink, Sort, Source, Transfer,
    Unsettled,
};
use shelf::{Item, Shelf, Token};

/// What stands between a queue's name and that of a place where its messages are parked.
const PARKED: &str = ".parked.";

/// The queues of one process, by name; a dead-letter queue is one of them.
pub struct Memory {
    clock: Clock,
    capacity: usize,
    queues: Mutex<Vec<Arc<Inner>>>,
}

struct Inner {
    name: Arc<str>,
    clock: Clock,
    capacity: usize,
    shelf: Mutex<Shelf>,
    changed: Notify,
    /// The queue whose messages are parked here.
    home: Option<Arc<Inner>>,
    /// The places beside this queue.
    beside: Mutex<Vec<Arc<Inner>>>,
}

/// One queue of [`Memory`].
#[derive(Clone)]
pub struct MemoryQueue {
    memory: Arc<Memory>,
    inner: Arc<Inner>,
}

impl Memory {
    /// `capacity` is the number of messages that each queue holds; a full one refuses for now.
    #[must_use]
    pub fn new(clock: Clock, capacity: usize) -> Arc<Self> {
        Arc::new(Memory { clock, capacity, queues: Mutex::default() })
    }

    /// The queue of this name, made at its first mention.
    pub fn queue(self: &Arc<Self>, name: &str) -> MemoryQueue {
        MemoryQueue { memory: self.clone(), inner: self.inner(name) }
    }

    fn inner(&self, name: &str) -> Arc<Inner> {
        let home = name.rsplit_once(PARKED).map(|(home, _)| self.inner(home));
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = queues.iter().find(|queue| &*queue.name == name) {
            return known.clone();
        }
        let inner = Arc::new(Inner {
            name: name.into(),
            clock: self.clock,
            capacity: self.capacity,
            shelf: Mutex::default(),
            changed: Notify::new(),
            home: home.clone(),
            beside: Mutex::default(),
        });
        if let Some(home) = home {
            home.beside().push(inner.clone());
        }
        queues.push(inner.clone());
        inner
    }
}

impl MemoryQueue {
    /// Messages that are neither settled nor lost: waiting, delayed or leased.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.shelf().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The waiting and delayed messages, in no order: for tests and for a look.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.inner.shelf().messages()
    }
}

impl Inner {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beside(&self) -> MutexGuard<'_, Vec<Arc<Inner>>> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back what was parked for too long; answers when the next one will have been.
    fn take_back(&self, now: Timestamp) -> Option<Timestamp> {
        let places = self.beside().clone();
        let next = places.iter().filter_map(|place| {
            let mut shelf = place.shelf();
            let over = shelf.overdue(now);
            let next = shelf.next_return();
            drop(shelf);
            let mut shelf = self.shelf();
            over.into_iter().for_each(|item| shelf.put(Item { parked: None, ..item }, None));
            next
        });
        next.min()
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    fn name(&self) -> &str {
        &self.inner.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transfers: false,
            durable: false,
            keeps_endings: false,
            operated: false,
            leases: true,
            carries_ids: true,
            recognises: false,
            counts_stops: false,
            exact_attempts: true,
            honours_priority: true,
            order: Order::Key,
            parks_in_order: true,
            chooses: false,
            longest_delay: None,
            longest_lease: None,
            max_message: usize::MAX,
        }
    }

    async fn source(&self, _sort: Sort) -> Result<Box<dyn Source>, QueueError> {
        Ok(Box::new(MemorySource { inner: self.inner.clone() }))
    }

    fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(self.clone())
    }

    fn dead_letters(&self) -> Arc<dyn Sink> {
        let home = self.inner.home.as_ref().unwrap_or(&self.inner);
        Arc::new(self.memory.queue(&format!("{}.dead", home.name)))
    }

    fn parked(&self, name: &str) -> Arc<dyn Queue> {
        let home = self.inner.home.as_ref().unwrap_or(&self.inner);
        Arc::new(self.memory.queue(&format!("{}{PARKED}{name}", home.name)))
    }

    async fn places(&self) -> Result<Vec<Arc<str>>, QueueError> {
        let places = self.inner.beside();
        Ok(places.iter().filter_map(|place| place.name.rsplit_once(PARKED)).map(|(_, name)| name.into()).collect())
    }

    async fn drained(&self) -> Result<bool, QueueError> {
        Ok(self.inner.shelf().is_drained())
    }
}

#[async_trait]
impl Sink for MemoryQueue {
    fn address(&self) -> &str {
        &self.inner.name
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), QueueError> {
        let now = self.inner.clock.now();
        let mut shelf = self.inner.shelf();
        if shelf.len() >= self.inner.capacity {
            return Err(QueueError::Unavailable(format!(
                "the queue {} in memory is full ({} messages)",
                self.inner.name, self.inner.capacity
            )));
        }
        let Outgoing { message, id, due, priority } = outgoing;
        let item = Item { published: now, unsettled: 0, turn: 0, id, message, priority, parked: None };
        match (&self.inner.home, due) {
            (Some(home), Some(until)) => {
                shelf.park(item, until);
                home.changed.notify_one();
            }
            _ => shelf.put(item, due),
        }
        drop(shelf);
        self.inner.changed.notify_one();
        Ok(())
    }
}

struct MemorySource {
    inner: Arc<Inner>,
}

#[async_trait]
impl Source for MemorySource {
    async fn next(&mut self, room: Room) -> Result<Vec<Delivery>, QueueError> {
        loop {
            let changed = self.inner.changed.notified();
            let wake = {
                let now = self.inner.clock.now();
                let next_return = self.inner.take_back(now);
                let mut shelf = self.inner.shelf();
                let leased = shelf.lease(room, now, Instant::now());
                if !leased.is_empty() {
                    return Ok(leased.into_iter().map(|(token, item)| self.delivery(token, item)).collect());
                }
                let due = shelf.next_due().into_iter().chain(next_return).min();
                let due = due.map(|due| between(now, due).max(Duration::from_millis(1)));
                let expiry = shelf.next_expiry().map(|at| at.saturating_duration_since(Instant::now()));
                due.into_iter().chain(expiry).min().unwrap_or(Duration::from_secs(3600))
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(wake) => {}
            }
        }
    }
}

impl MemorySource {
    fn delivery(&self, token: Token, item: Item) -> Delivery {
        Delivery {
            message: item.message,
            receipt: Box::new(MemoryReceipt { inner: self.inner.clone(), token }),
            origin: Origin { queue: self.inner.name.clone(), partition: None, offset: None, id: item.id },
            published: Some(item.published),
            unsettled: item.unsettled,
        }
    }
}

struct MemoryReceipt {
    inner: Arc<Inner>,
    token: Token,
}

#[async_trait]
impl Receipt for MemoryReceipt {
    async fn ack(self: Box<Self>, _: Ending) -> Result<Settled, Unsettled> {
        let settled = self.inner.shelf().take(self.token, Instant::now());
        Ok(if settled { Settled::Done } else { Settled::Fenced })
    }

    async fn transfer(self: Box<Self>, _: Transfer) -> Result<Settled, Unsettled> {
        let error = QueueError::Refused("a queue in memory moves nothing: publish, then acknowledge".into());
        Err(Unsettled { receipt: self, error })
    }

    async fn extend(&self, lease: Duration) -> Result<(), QueueError> {
        let now = Instant::now();
        let renewed = self.inner.shelf().extend(self.token, now, now + lease);
        if renewed { Ok(()) } else { Err(QueueError::LeaseLost) }
    }

    async fn mark(&self, life: &Life) -> Result<(), QueueError> {
        let marked = self.inner.shelf().rewrite(self.token, life);
        if marked { Ok(()) } else { Err(QueueError::LeaseLost) }
    }
}

impl Drop for MemoryReceipt {
    fn drop(&mut self) {
        if self.inner.shelf().give_back(self.token) {
            self.inner.changed.notify_one();
        }
    }
}
