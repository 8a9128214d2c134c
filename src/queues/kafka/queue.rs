//! One queue behind the ports: its consumer while somebody takes from it, and its producer.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::client::{LONGEST_PAUSE, Options};
use super::config::KafkaConfig;
use super::dead::Desk;
use super::delays::Forwarder;
use super::names::Names;
use super::sink::{KafkaSink, Producers, Target};
use super::source::KafkaSource;
use super::taker::{Taker, Wish};
use super::topics::Topics;
use crate::ports::{Admin, Capabilities, Order, Part, Queue, QueueError, Sink, Sort, Source};

/// How long a consumer of before may take to leave its group.
const LEAVING: Duration = Duration::from_secs(10);

/// What a queue and the places beside it share.
pub struct Home {
    pub block: Arc<str>,
    pub config: KafkaConfig,
    pub topics: Topics,
    pub producers: Arc<Producers>,
    /// The consumer, while somebody takes from it.
    taking: tokio::sync::Mutex<Taking>,
    claimed: Mutex<HashSet<Option<Arc<str>>>>,
}

#[derive(Default)]
struct Taking {
    taker: Weak<Taker>,
    forwarder: Option<Forwarder>,
    /// Tells when the one of before has left its group.
    before: Option<watch::Receiver<bool>>,
}

/// The queue, or a place beside it.
pub struct KafkaQueue {
    home: Arc<Home>,
    name: Arc<str>,
    place: Option<Arc<str>>,
}

impl KafkaQueue {
    pub fn new(block: &str, config: &KafkaConfig, options: Options) -> Self {
        let names = Names::new(block, config);
        let topics = Topics { options: options.clone(), names, create: config.create.clone() };
        let home = Home {
            block: block.into(),
            config: config.clone(),
            topics,
            producers: Arc::new(Producers::new(options)),
            taking: tokio::sync::Mutex::default(),
            claimed: Mutex::default(),
        };
        KafkaQueue { home: Arc::new(home), name: block.into(), place: None }
    }

    fn sink_to(&self, topic: String, target: Target) -> Arc<dyn Sink> {
        let (producers, names) = (self.home.producers.clone(), self.home.topics.names.clone());
        Arc::new(KafkaSink { producers, names, topic, target })
    }
}

/// That a place is taken from, by one source at a time.
pub struct Claim {
    home: Arc<Home>,
    place: Option<Arc<str>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.home.claimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.place);
    }
}

impl Home {
    fn claim(self: &Arc<Self>, place: &Option<Arc<str>>) -> Result<Claim, QueueError> {
        if !self.claimed.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone()) {
            return Err(QueueError::Refused(format!("{} has a source already: let one pool take from it", self.block)));
        }
        Ok(Claim { home: self.clone(), place: place.clone() })
    }

    /// The consumer of the queue and of all its places.
    async fn taker(self: &Arc<Self>) -> Result<Arc<Taker>, QueueError> {
        let mut taking = self.taking.lock().await;
        if let Some(taker) = taking.taker.upgrade() {
            return Ok(taker);
        }
        if let Some(mut before) = taking.before.take() {
            let _ = tokio::time::timeout(LEAVING, before.wait_for(|gone| *gone)).await;
        }
        let names = &self.topics.names;
        let there = self.topics.list().await?;
        let delays = names.delays();
        let needed = [names.topic.to_string(), names.retry()].into_iter().chain(delays.iter().cloned());
        if let Some(missing) = needed.into_iter().find(|topic| !there.contains_key(topic)) {
            let brokers = self.topics.options.brokers();
            let why = format!("there is no topic {missing} at {brokers}: make it with \"windlass queues create\"");
            return Err(QueueError::Unavailable(why));
        }
        let known = names.clone();
        let wish = Wish {
            group: names.group.to_string(),
            queue: names.topic.clone(),
            topics: names.subscription(),
            place_of: Box::new(move |topic| known.place_of(topic).map(Into::into)),
            start: (names.topic.clone(), self.config.start),
            drain: self.config.drain.0.min(LONGEST_PAUSE / 2),
        };
        let taker = Arc::new(Taker::start(&self.topics.options, wish)?);
        if taking.forwarder.is_none() {
            taking.forwarder = Some(Forwarder::start(&self.topics.options, names, &self.producers)?);
        }
        taking.taker = Arc::downgrade(&taker);
        taking.before = Some(taker.gone());
        Ok(taker)
    }
}

#[async_trait]
impl Queue for KafkaQueue {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transfers: false,
            durable: true,
            keeps_endings: false,
            operated: false,
            leases: false,
            carries_ids: false,
            recognises: false,
            counts_stops: false,
            exact_attempts: true,
            honours_priority: false,
            order: Order::Key,
            parks_in_order: false, // its parked topics may be another worker's
            chooses: false,
            longest_delay: None,
            longest_lease: None,
            max_message: usize::try_from(self.home.topics.options.max_message).unwrap_or(usize::MAX),
        }
    }

    async fn source(&self, _sort: Sort) -> Result<Box<dyn Source>, QueueError> {
        let claim = self.home.claim(&self.place)?;
        let taker = self.home.taker().await?;
        Ok(Box::new(KafkaSource { taker, place: self.place.clone(), _claim: claim }))
    }

    fn sink(&self) -> Arc<dyn Sink> {
        let names = &self.home.topics.names;
        match &self.place {
            None => self.sink_to(names.topic.to_string(), Target::Queue),
            Some(place) => self.sink_to(names.parked(place), Target::Beside),
        }
    }

    fn dead_letters(&self) -> Arc<dyn Sink> {
        self.sink_to(self.home.topics.names.dead(), Target::Beside)
    }

    fn parked(&self, name: &str) -> Arc<dyn Queue> {
        let beside = format!("{}.parked.{name}", self.home.block).into();
        Arc::new(KafkaQueue { home: self.home.clone(), name: beside, place: Some(name.into()) })
    }

    async fn places(&self) -> Result<Vec<Arc<str>>, QueueError> {
        let (names, there) = (&self.home.topics.names, self.home.topics.list().await?);
        let mut places = Vec::new();
        for (topic, partitions) in &there {
            if let Some(place) = names.place_of(topic)
                && self.home.topics.holds_any(topic, partitions).await?
            {
                places.push(place.into());
            }
        }
        Ok(places)
    }

    fn admin(&self) -> Option<Arc<dyn Admin>> {
        let queue = Arc::new(KafkaQueue { home: self.home.clone(), name: self.name.clone(), place: None });
        Some(Arc::new(Desk { home: self.home.clone(), queue, acting: tokio::sync::Mutex::default() }))
    }

    async fn drained(&self) -> Result<bool, QueueError> {
        let names = &self.home.topics.names;
        let topics = match &self.place {
            Some(place) => vec![names.parked(place)],
            None => names.own(self.home.topics.list().await?.keys()),
        };
        let taker = self.home.taking.lock().await.taker.upgrade();
        let ours = taker.map(|taker| taker.shared.state().reached()).unwrap_or_default();
        self.home.topics.finished(&topics, ours).await
    }

    async fn parts(&self, places: Option<&[Arc<str>]>) -> Result<Vec<Part>, QueueError> {
        self.home.topics.parts(places).await
    }

    async fn create(&self, places: Option<&[Arc<str>]>) -> Result<(), QueueError> {
        self.home.topics.make(places).await
    }

    async fn close(&self) {
        let before = {
            let mut taking = self.home.taking.lock().await;
            taking.forwarder = None;
            taking.before.take()
        };
        if let Some(mut before) = before {
            let _ = tokio::time::timeout(LEAVING, before.wait_for(|gone| *gone)).await;
        }
        self.home.producers.close();
    }
}
