//! One queue of the store behind the ports: its source and its sinks.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::lease::Token;
use super::operation::Operation;
use super::place::Place;
use super::ready_queue::ReadyQueue;
use super::receipt::{EmbeddedReceipt, Issuer};
use super::rows;
use super::store::{MAX_MESSAGE, Store};
use super::waiting::Waiting;
use crate::job::Origin;
use crate::ports::{Capabilities, Delivery, Order, Outgoing, Queue, QueueError, Room, Sink, Sort, Source, Strand};

pub(super) struct EmbeddedQueue {
    /// Held so that the store stays open.
    store: Arc<Store>,
    /// The name of its block in the config.
    block: Arc<str>,
    queue: Arc<ReadyQueue>,
}

impl EmbeddedQueue {
    pub fn new(store: Arc<Store>, block: &str, queue: &str) -> Self {
        let queue = store.shared.registry.named(queue);
        EmbeddedQueue { store, block: block.into(), queue }
    }
}

#[async_trait]
impl Queue for EmbeddedQueue {
    fn name(&self) -> &str {
        &self.block
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transfers: true,
            durable: true,
            keeps_endings: true,
            operated: true,
            leases: true,
            carries_ids: true,
            recognises: true,
            counts_stops: false,
            exact_attempts: true,
            honours_priority: true,
            order: Order::Key,
            parks_in_order: true,
            chooses: true,
            longest_delay: None,
            longest_lease: None,
            max_message: MAX_MESSAGE,
        }
    }

    async fn source(&self, sort: Sort) -> Result<Box<dyn Source>, QueueError> {
        if !self.queue.claim_source() {
            return Err(QueueError::Refused(format!("{} has a source already: let one pool take from it", self.queue.name)));
        }
        self.queue.set_sort(sort);
        let shared = self.store.shared.clone();
        let (dead, home) = (shared.registry.dead_of(&self.queue), shared.registry.home_of(&self.queue));
        let issuer = Arc::new(Issuer { shared, queue: self.queue.clone(), dead });
        let source = EmbeddedSource { store: self.store.clone(), issuer, queue: self.queue.clone(), home };
        let open = |reply| Operation::Open { queue: source.queue.clone(), tails: None, reply };
        self.store.shared.ask(open).await?;
        Ok(Box::new(source))
    }

    fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(EmbeddedSink { store: self.store.clone(), queue: self.queue.clone() })
    }

    fn dead_letters(&self) -> Arc<dyn Sink> {
        let queue = self.store.shared.registry.dead_of(&self.queue);
        Arc::new(EmbeddedSink { store: self.store.clone(), queue })
    }

    fn parked(&self, name: &str) -> Arc<dyn Queue> {
        let queue = self.store.shared.registry.parked_of(&self.queue, name);
        Arc::new(EmbeddedQueue { store: self.store.clone(), block: queue.name.clone(), queue })
    }

    async fn places(&self) -> Result<Vec<Arc<str>>, QueueError> {
        Ok(self.store.shared.registry.places_of(&self.queue))
    }

    async fn drained(&self) -> Result<bool, QueueError> {
        let Some(number) = self.queue.number() else { return Ok(true) };
        if let Some(known) = self.queue.ready().is_drained() {
            return Ok(known);
        }
        let tails = self.store.shared.read(move |_, connection| rows::tails(connection, number)).await?;
        Ok(tails.iter().all(|tail| *tail == Place::NONE))
    }
}

struct EmbeddedSink {
    store: Arc<Store>,
    queue: Arc<ReadyQueue>,
}

#[async_trait]
impl Sink for EmbeddedSink {
    fn address(&self) -> &str {
        &self.queue.name
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), QueueError> {
        self.store.shared.put(&self.queue, outgoing).await
    }
}

struct EmbeddedSource {
    store: Arc<Store>,
    queue: Arc<ReadyQueue>,
    /// The queue itself where this is the source of a place beside it; they are paused together.
    home: Arc<ReadyQueue>,
    issuer: Arc<Issuer>,
}

#[async_trait]
impl Source for EmbeddedSource {
    async fn next(&mut self, room: Room) -> Result<Vec<Delivery>, QueueError> {
        if room.jobs == 0 {
            return Ok(Vec::new());
        }
        loop {
            let arrived = self.queue.arrived.notified();
            let deliveries = self.take(room)?;
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
            arrived.await;
        }
    }

    fn shut(&mut self, strand: &Strand) {
        self.queue.ready().shut(self.queue.strand(strand));
    }

    fn open(&mut self, strand: &Strand) {
        self.queue.ready().open_strand(self.queue.strand(strand));
    }
}

impl EmbeddedSource {
    /// Takes what is in memory and leases it, and has more read.
    fn take(&self, room: Room) -> Result<Vec<Delivery>, QueueError> {
        let shared = &self.store.shared;
        if shared.inbox.is_closed() {
            return Err(shared.closed());
        }
        if let Some(trouble) = self.queue.take_trouble() {
            return Err(trouble);
        }
        if !Arc::ptr_eq(&self.home, &self.queue) && self.home.ready().paused {
            return Ok(Vec::new());
        }
        let mut jobs = Vec::new();
        let (tokens, read) = {
            let mut ready = self.queue.ready();
            ready.take(&room, &mut jobs);
            // leased before the queue is unlocked: an operator finds a job here or leased, and never in between
            (shared.lease(&jobs, room.lease), ready.read())
        };
        if let Some(read) = read {
            shared.read_ahead(&self.queue, read);
        }
        Ok(jobs.into_iter().zip(tokens).map(|(job, token)| self.deliver(job, token)).collect())
    }

    fn deliver(&self, job: Waiting, token: Token) -> Delivery {
        Delivery {
            message: job.message.clone(),
            origin: Origin { queue: self.queue.name.clone(), id: Some(job.id.clone()), ..Origin::default() },
            published: Timestamp::from_millisecond(job.submitted).ok(),
            unsettled: job.unsettled,
            receipt: Box::new(EmbeddedReceipt::new(&self.issuer, job, token)),
        }
    }
}

impl Drop for EmbeddedSource {
    fn drop(&mut self) {
        self.queue.drop_source();
    }
}
