//! Queues of RabbitMQ: quorum queues, publisher confirms, manual acknowledgements, delays by queues with fixed times.

pub mod config;
mod dead;
mod delays;
mod link;
mod marks;
mod place;
mod publisher;
mod receipt;
mod reply;
mod shelf;
mod source;
mod system;
mod topology;
mod trouble;
mod wire;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError};

use async_trait::async_trait;

use crate::job::Message;
use crate::ports::{Admin, Capabilities, Order, Outgoing, Part, Queue, QueueError, Sink, Sort, Source};
use crate::queues::letters::desk::Desk;
use config::RabbitmqConfig;
use dead::DeadLetters;
use place::PlaceSource;
use receipt::Issuer;
use reply::Reply;
use source::RabbitmqSource;
use system::System;
use topology::{Role, Wanted};

/// What stands between a queue's name and that of a place where its messages are parked.
const PARKED: &str = ".parked.";

/// A queue of RabbitMQ, or a place beside one. Nothing is connected before it is used.
#[derive(Clone)]
pub struct RabbitmqQueue {
    system: Arc<System>,
    /// The name of its block in the config.
    block: Arc<str>,
    /// The queue itself, also where this is a place beside it.
    home: Arc<str>,
    wanted: Wanted,
    /// Places that may hold jobs from before: the server does not list them.
    likely: Arc<[Arc<str>]>,
    desk: Arc<OnceLock<Arc<Desk>>>,
}

impl RabbitmqQueue {
    /// `base` is the folder of the config, from which the files of secrets are found.
    ///
    /// # Errors
    /// What is wrong with its block.
    pub fn new(block: &str, config: &RabbitmqConfig, base: &Path) -> Result<Self, String> {
        config.fault().map_err(|(key, why)| format!("{key}: {why}"))?;
        let password = config.password.as_ref().map(|password| password.read(base)).transpose()?;
        let name: Arc<str> = config.queue.as_deref().unwrap_or(block).into();
        let mut config = config.clone();
        config.ca = config.ca.map(|ca| base.join(ca));
        Ok(RabbitmqQueue {
            system: Arc::new(System::new(&config, password.as_deref())?),
            block: block.into(),
            wanted: Wanted { name: name.clone(), role: Role::Jobs { single: config.single_active_consumer } },
            home: name,
            likely: [].into(),
            desk: Arc::default(),
        })
    }

    /// Names places that may hold jobs from before.
    #[must_use]
    pub fn beside(self, likely: &[Arc<str>]) -> Self {
        RabbitmqQueue { likely: likely.into(), ..self }
    }

    fn dead(&self) -> Wanted {
        self.system.dead(&self.home)
    }

    fn known_places(&self) -> BTreeSet<Arc<str>> {
        let sent_to = self.system.places.lock().unwrap_or_else(PoisonError::into_inner);
        sent_to.iter().chain(&*self.likely).cloned().collect()
    }

    fn place(&self, name: &str) -> Wanted {
        Wanted { name: format!("{}{PARKED}{name}", self.home).into(), role: Role::Parked { home: self.home.clone() } }
    }

    fn all(&self, places: Option<&[Arc<str>]>) -> Vec<Wanted> {
        let Some(places) = places else { return vec![self.wanted.clone()] };
        [self.wanted.clone(), self.dead()].into_iter().chain(places.iter().map(|place| self.place(place))).collect()
    }
}

#[async_trait]
impl Queue for RabbitmqQueue {
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
            recognises: false,
            counts_stops: true,
            exact_attempts: true,
            honours_priority: false,
            chooses: false,
            order: if self.system.config.single_active_consumer { Order::Key } else { Order::Worker },
            longest_delay: Some(delays::LONGEST),
            longest_lease: Some(self.system.config.consumer_timeout.0),
            parks_in_order: false, // a place may be another worker's
            max_message: usize::try_from(self.system.config.max_message.0).unwrap_or(usize::MAX),
        }
    }

    async fn source(&self, _sort: Sort) -> Result<Box<dyn Source>, QueueError> {
        let issuer = Arc::new(Issuer::new(&self.system, self.home.clone(), &self.wanted));
        self.system.takes(&issuer);
        Ok(match self.wanted.role {
            Role::Parked { .. } => Box::new(PlaceSource::new(issuer, self.wanted.clone())),
            Role::Jobs { .. } | Role::Dead => Box::new(RabbitmqSource::new(issuer, self.wanted.clone())),
        })
    }

    fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(RabbitmqSink { system: self.system.clone(), wanted: self.wanted.clone() })
    }

    fn dead_letters(&self) -> Arc<dyn Sink> {
        Arc::new(RabbitmqSink { system: self.system.clone(), wanted: self.dead() })
    }

    fn parked(&self, name: &str) -> Arc<dyn Queue> {
        let wanted = self.place(name);
        let block = wanted.name.clone();
        Arc::new(RabbitmqQueue { block, wanted, desk: Arc::default(), ..self.clone() })
    }

    async fn places(&self) -> Result<Vec<Arc<str>>, QueueError> {
        Ok(self.known_places().into_iter().collect())
    }

    fn reply_to(&self, message: &Message) -> Option<Arc<dyn Sink>> {
        Some(Arc::new(Reply::to(&self.system, message)?))
    }

    async fn drained(&self) -> Result<bool, QueueError> {
        self.system.is_drained(&self.wanted.name).await
    }

    fn admin(&self) -> Option<Arc<dyn Admin>> {
        let make = || {
            // its own cell is another one: a desk that held itself would never go
            let queue = RabbitmqQueue { desk: Arc::default(), ..self.clone() };
            Arc::new(Desk::new(self.block.clone(), "RabbitMQ", Arc::new(DeadLetters::new(queue))))
        };
        Some(self.desk.get_or_init(make).clone())
    }

    async fn parts(&self, places: Option<&[Arc<str>]>) -> Result<Vec<Part>, QueueError> {
        self.system.topology.look(&self.system.sending, &self.all(places)).await
    }

    async fn create(&self, places: Option<&[Arc<str>]>) -> Result<(), QueueError> {
        self.system.topology.create(&self.system.sending, &self.all(places)).await
    }

    async fn close(&self) {
        if let Some(desk) = self.desk.get() {
            desk.release().await;
        }
        self.system.taking.close().await;
        self.system.sending.close().await;
    }
}

struct RabbitmqSink {
    system: Arc<System>,
    wanted: Wanted,
}

#[async_trait]
impl Sink for RabbitmqSink {
    fn address(&self) -> &str {
        &self.wanted.name
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), QueueError> {
        self.system.send(&self.wanted, outgoing).await
    }
}
