//! Queues of Amazon SQS, standard and FIFO: batches with an answer for each entry, leases that one task renews, delays beyond
//! fifteen minutes in hops.

mod batch;
mod calls;
pub mod config;
mod group;
mod marks;
mod places;
mod receipt;
mod shelf;
mod source;
mod system;
mod topology;
mod trouble;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::ports::{Capabilities, Order, Outgoing, Part, Queue, QueueError, Sink, Sort, Source};
use config::SqsConfig;
use receipt::Issuer;
use shelf::Shelf;
use source::SqsSource;
use system::System;
use topology::{Role, Wanted};

/// How long the end of the process waits for what is on its way to the server.
const PATIENCE: Duration = Duration::from_secs(5);

/// A queue of SQS, or a place beside one. Nothing is connected before it is used.
pub struct SqsQueue {
    system: Arc<System>,
    /// The name of its block in the config.
    block: Arc<str>,
    wanted: Wanted,
}

impl SqsQueue {
    /// # Errors
    /// What is wrong with its block.
    pub fn new(block: &str, config: &SqsConfig) -> Result<Self, String> {
        config.fault(block).map_err(|(key, why)| format!("{key}: {why}"))?;
        let name = config.name(block);
        let system = Arc::new(System::new(name, config));
        Ok(SqsQueue { system, block: block.into(), wanted: Wanted { name: name.into(), role: Role::Jobs } })
    }

    fn all(&self, places: Option<&[Arc<str>]>) -> Vec<Wanted> {
        let home = &self.system.home;
        let Some(places) = places else { return vec![self.wanted.clone()] };
        let places = places.iter().map(|place| topology::place(home, place));
        [self.wanted.clone(), topology::dead(home)].into_iter().chain(places).collect()
    }

    fn sink_to(&self, wanted: Wanted) -> Arc<dyn Sink> {
        Arc::new(SqsSink { system: self.system.clone(), wanted })
    }
}

#[async_trait]
impl Queue for SqsQueue {
    fn name(&self) -> &str {
        &self.block
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transfers: false,
            durable: true,
            keeps_endings: false,
            operated: false,
            leases: false,
            carries_ids: true,
            recognises: false, // FIFO queues do, for five minutes
            counts_stops: true,
            exact_attempts: !self.system.fifo,
            honours_priority: false,
            chooses: false,
            order: match (self.system.fifo, self.system.redriven.load(Ordering::Relaxed)) {
                (true, false) => Order::Key,
                // what its owner's policy moves away is passed by those behind it
                (true, true) => Order::Worker,
                (false, _) => Order::None,
            },
            parks_in_order: false, // a place may be another worker's
            longest_delay: None,
            longest_lease: Some(shelf::LONGEST_LEASE),
            max_message: wire::LARGEST,
        }
    }

    async fn source(&self, _sort: Sort) -> Result<Box<dyn Source>, QueueError> {
        let issuer = Arc::new(Issuer {
            system: self.system.clone(),
            wanted: self.wanted.clone(),
            shelf: Shelf::new(self.system.fifo),
            calls: tokio::sync::OnceCell::new(),
            lease: AtomicU64::new(30),
        });
        self.system.takes(&issuer);
        Ok(Box::new(SqsSource::new(issuer)))
    }

    fn sink(&self) -> Arc<dyn Sink> {
        self.sink_to(self.wanted.clone())
    }

    fn dead_letters(&self) -> Arc<dyn Sink> {
        self.sink_to(topology::dead(&self.system.home))
    }

    fn parked(&self, name: &str) -> Arc<dyn Queue> {
        let wanted = topology::place(&self.system.home, name);
        Arc::new(SqsQueue { system: self.system.clone(), block: wanted.name.clone(), wanted })
    }

    async fn places(&self) -> Result<Vec<Arc<str>>, QueueError> {
        self.system.list_places().await
    }

    async fn drained(&self) -> Result<bool, QueueError> {
        if topology::waiting(&self.system, &self.wanted.name).await? > 0 {
            return Ok(false);
        }
        // asked last: what the server had a moment ago is here by now, or in somebody's hands
        Ok(self.system.taking(&self.wanted.name).iter().all(|issuer| issuer.shelf.waiting() == 0))
    }

    async fn parts(&self, places: Option<&[Arc<str>]>) -> Result<Vec<Part>, QueueError> {
        topology::look(&self.system, &self.all(places)).await
    }

    async fn create(&self, places: Option<&[Arc<str>]>) -> Result<(), QueueError> {
        for wanted in self.all(places) {
            topology::make(&self.system, &wanted).await?;
        }
        Ok(())
    }

    async fn close(&self) {
        if tokio::time::timeout(PATIENCE, self.system.idle()).await.is_err() {
            tracing::warn!("queue {:?}: what was given back may wait for the end of its lease", self.wanted.name);
        }
    }
}

struct SqsSink {
    system: Arc<System>,
    wanted: Wanted,
}

#[async_trait]
impl Sink for SqsSink {
    fn address(&self) -> &str {
        &self.wanted.name
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), QueueError> {
        self.system.send(&self.wanted, &outgoing).await
    }
}
