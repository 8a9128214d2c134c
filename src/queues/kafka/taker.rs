//! The consumer's own thread: it always polls, so that a job may take any time.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::watch;

use super::assignment::{Assignment, PlaceOf};
use super::client::{Complaints, Options, PATIENCE, unavailable};
use super::commits::{self, Turn};
use super::config::Start;
use super::state::{Part, Shared, Spot, State, Waiting};
use super::wire;
use crate::ports::QueueError;

/// A poll that finds nothing ends after so long.
const POLL: Duration = Duration::from_millis(50);
/// Records and bytes of the queue itself, or of a place, that wait to be handed out; beyond, no more are fetched.
const MOST_RECORDS: usize = 8192;
const MOST_BYTES: usize = 8 << 20;
/// How long there may be enough of before fetching stops: it throws away what the client has fetched ahead.
const PATIENT: Duration = Duration::from_secs(1);
/// So many records are noted at a time.
const BATCH: usize = 256;
/// Without a poll for so long something is wrong with the thread or the machine.
const STALL: Duration = Duration::from_secs(30);

/// What a consumer is started with.
pub struct Wish {
    pub group: String,
    /// The topic of the queue that it is for.
    pub queue: Arc<str>,
    /// Names of topics, or patterns that begin with `^`.
    pub topics: Vec<String>,
    pub place_of: PlaceOf,
    pub start: (Arc<str>, Start),
    pub drain: Duration,
}

/// A running consumer. It stops when this is dropped; what was not finished is given back.
pub struct Taker {
    pub shared: Arc<Shared>,
    gone: watch::Receiver<bool>,
}

impl Taker {
    /// # Errors
    /// What is wrong with the options.
    pub fn start(options: &Options, wish: Wish) -> Result<Self, QueueError> {
        let shared = Arc::new(Shared::default());
        let context = Assignment {
            shared: shared.clone(),
            turn: Turn::default(),
            complaints: Complaints::default(),
            place_of: wish.place_of,
            brokers: options.brokers().into(),
            start: wish.start,
            drain: wish.drain,
        };
        let failed = |error: KafkaError| unavailable(options.brokers(), &error, None);
        let consumer: BaseConsumer<Assignment> =
            options.member(&wish.group, &wish.queue).create_with_context(context).map_err(failed)?;
        let topics: Vec<&str> = wish.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(failed)?;
        let (left, gone) = watch::channel(false);
        let needed = wish.topics.iter().filter(|topic| !topic.starts_with('^')).cloned().collect();
        let (consumer, topics) = (Arc::new(consumer), Vec::new());
        let thread = Thread { consumer, shared: shared.clone(), topics, needed, polled: Instant::now(), crowded: None };
        let run = move || {
            thread.run();
            let _ = left.send(true);
        };
        std::thread::Builder::new()
            .name("kafka".into())
            .spawn(run)
            .map_err(|error| QueueError::Unavailable(format!("no thread for kafka: {error}")))?;
        Ok(Taker { shared, gone })
    }

    /// Becomes true once the group has been left.
    pub fn gone(&self) -> watch::Receiver<bool> {
        self.gone.clone()
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.shared.state().stopping = true;
        self.shared.settled.notify_all();
        self.shared.news.notify_all();
    }
}

struct Thread {
    consumer: Arc<BaseConsumer<Assignment>>,
    shared: Arc<Shared>,
    topics: Vec<Arc<str>>,
    /// Must be there.
    needed: Vec<String>,
    polled: Instant,
    /// Since when there has been enough of something that is still fetched.
    crowded: Option<Instant>,
}

impl Thread {
    fn run(mut self) {
        let (consumer, shared) = (self.consumer.clone(), self.shared.clone());
        let commits = std::thread::spawn(move || commits::run(&consumer, &shared));
        while !self.shared.state().stopping {
            if self.has_room() {
                self.poll();
            }
        }
        let _ = commits.join(); // its consumer goes first: the last one leaves the group
        let spots: Vec<Spot> = self.shared.state().parts.keys().cloned().collect();
        commits::last(&self.consumer, &self.shared, &spots);
    }

    fn poll(&mut self) {
        if self.polled.elapsed() > STALL {
            tracing::warn!("kafka: nothing was polled for {} s: this machine stood still", self.polled.elapsed().as_secs());
        }
        self.polled = Instant::now();
        let mut batch = Vec::new();
        let mut patience = POLL;
        while batch.len() < BATCH {
            match self.consumer.poll(patience) {
                None => break,
                Some(Ok(record)) => batch.push(fetched(&mut self.topics, &record)),
                Some(Err(error)) => {
                    self.failed(&error);
                    break;
                }
            }
            patience = Duration::ZERO;
        }
        if batch.is_empty() {
            return;
        }
        let mut state = self.shared.state();
        for (spot, offset, waiting) in batch {
            state.fetched(&spot, offset, waiting);
        }
        if state.parts.values().any(Part::waits_for_the_group) {
            self.shared.hurry(&mut state);
        }
        drop(state);
        self.shared.arrived.notify_waiters();
    }

    fn failed(&self, error: &KafkaError) {
        let context = self.consumer.context();
        match error.rdkafka_error_code() {
            // they pass by themselves, and giving up would run again whatever runs now
            Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut | Code::Resolve) => {
                tracing::debug!("kafka: {error}");
            }
            Some(Code::PollExceeded | Code::AutoOffsetReset) => tracing::warn!("kafka: {error}"),
            // a pattern that nothing matches is told in the same words
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => self.look_for_topics(),
            _ => self.shared.fail(unavailable(&context.brokers, error, context.complaints.take())),
        }
    }

    /// Fails when a topic is gone that must be there.
    fn look_for_topics(&self) {
        for topic in &self.needed {
            let Ok(metadata) = self.consumer.fetch_metadata(Some(topic), PATIENCE) else { return };
            if metadata.topics().iter().any(|found| found.error().is_some() || found.partitions().is_empty()) {
                let why = format!("there is no topic {topic} any more: make it with \"windlass queues create\"");
                return self.shared.fail(QueueError::Unavailable(why));
            }
        }
    }

    /// Whether to poll now. What there is enough of is left with the client for a moment; then it is no longer fetched, so
    /// that the rest is, until there is too little of it.
    fn has_room(&mut self) -> bool {
        let state = self.shared.state();
        let full = state.full(MOST_RECORDS, MOST_BYTES);
        let crowded = state.parts.values().any(|part| !part.paused && full.contains(&part.place));
        let since = *self.crowded.get_or_insert_with(Instant::now);
        if crowded && since.elapsed() < PATIENT {
            drop(self.shared.taken.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner));
            return false;
        }
        self.crowded = None;
        if crowded || state.parts.values().any(|part| part.paused) {
            self.pause_and_resume(state, &full);
        }
        true
    }

    fn pause_and_resume(&self, mut state: MutexGuard<'_, State>, full: &HashSet<Option<Arc<str>>>) {
        let half = state.full(MOST_RECORDS / 2, MOST_BYTES / 2);
        let (mut pause, mut resume) = (TopicPartitionList::new(), TopicPartitionList::new());
        for (spot, part) in &mut state.parts {
            let list = match part.paused {
                false if full.contains(&part.place) => &mut pause,
                true if !half.contains(&part.place) => &mut resume,
                _ => continue,
            };
            list.add_partition(&spot.0, spot.1);
            part.paused = !part.paused;
        }
        drop(state);
        let paused = if pause.count() > 0 { self.consumer.pause(&pause) } else { Ok(()) };
        let resumed = if resume.count() > 0 { self.consumer.resume(&resume) } else { Ok(()) };
        if let Err(error) = paused.and(resumed) {
            tracing::warn!("kafka: cannot pause or resume partitions: {error}");
        }
    }
}

/// `topics` are the names met so far: few, and shared by all their records.
fn fetched(topics: &mut Vec<Arc<str>>, record: &BorrowedMessage<'_>) -> (Spot, i64, Waiting) {
    let (message, beside) = wire::read(record);
    let waiting = Waiting { message, life: None, published: wire::published(record), due: beside.due, to: beside.to };
    let topic = match topics.iter().find(|topic| ***topic == *record.topic()) {
        Some(topic) => topic.clone(),
        None => {
            topics.push(record.topic().into());
            record.topic().into()
        }
    };
    ((topic, record.partition()), record.offset(), waiting)
}
