//! The consumer's own thread: it always polls, so that a job may take any time; and it commits, whenever something is new.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::watch;

use super::assignment::{Assignment, PlaceOf};
use super::client::{Complaints, Options, unavailable};
use super::config::Start;
use super::state::{Mark, Shared, Spot, State, Waiting};
use super::wire;
use crate::ports::QueueError;

/// Between two commits, unless somebody waits for one.
const COMMIT_EVERY: Duration = Duration::from_millis(20);
/// After a commit that failed.
const COMMIT_AGAIN: Duration = Duration::from_millis(200);
/// A poll that finds nothing ends after so long, while jobs run and while none does.
const POLL_BUSY: Duration = Duration::from_millis(5);
const POLL_IDLE: Duration = Duration::from_millis(50);
/// Records and bytes of the queue itself, or of a place, that wait to be handed out; beyond, no more are fetched.
const MOST_RECORDS: usize = 8192;
const MOST_BYTES: usize = 8 << 20;
/// So many records are noted at a time.
const BATCH: usize = 256;
/// Without a poll for so long something is wrong with the thread or the machine.
const STALL: Duration = Duration::from_secs(30);

/// What a consumer is started with.
pub struct Wish {
    pub group: String,
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
            commits: Commits::default(),
            complaints: Complaints::default(),
            place_of: wish.place_of,
            brokers: options.brokers().into(),
            start: wish.start,
            drain: wish.drain,
        };
        let failed = |error: KafkaError| unavailable(options.brokers(), &error, None);
        let consumer: BaseConsumer<Assignment> =
            options.consumer(&wish.group).create_with_context(context).map_err(failed)?;
        let topics: Vec<&str> = wish.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(failed)?;
        let (left, gone) = watch::channel(false);
        let (polled, committed) = (Instant::now(), Instant::now());
        let thread = Thread { consumer, shared: shared.clone(), topics: Vec::new(), polled, committed };
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
    }
}

struct Thread {
    consumer: BaseConsumer<Assignment>,
    shared: Arc<Shared>,
    topics: Vec<Arc<str>>,
    polled: Instant,
    committed: Instant,
}

impl Thread {
    fn run(mut self) {
        while !self.shared.state().stopping {
            self.poll();
            self.commit();
            self.make_room();
        }
        let spots: Vec<Spot> = self.shared.state().parts.keys().cloned().collect();
        let list = self.consumer.context().commits.last(&self.shared, &spots);
        // first nothing of it is ours any more: what is acknowledged from now on is not in this commit
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Sync)
        {
            tracing::warn!("kafka: the last commit failed, some jobs run again: {error}");
        }
        drop(list); // a list that outlives its consumer makes its end hang
        self.consumer.context().commits.forget(&self.shared);
    }

    fn poll(&mut self) {
        let busy = self.shared.state().parts.values().any(|part| part.taken > 0 || part.dirty || part.waits_for_the_group());
        if self.polled.elapsed() > STALL {
            tracing::warn!("kafka: nothing was polled for {} s: this machine stood still", self.polled.elapsed().as_secs());
        }
        self.polled = Instant::now();
        let mut batch = Vec::new();
        let mut patience = if busy { POLL_BUSY } else { POLL_IDLE };
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
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
                self.shared.fail(QueueError::Unavailable(format!("a topic of the queue is gone: {error}")));
            }
            _ => self.shared.fail(unavailable(&context.brokers, error, context.complaints.take())),
        }
    }

    fn commit(&mut self) {
        let context = self.consumer.context();
        let urgent = self.shared.urgent.swap(false, Ordering::Relaxed);
        let waited = self.committed.elapsed();
        if context.commits.under_way() || (!urgent && waited < COMMIT_EVERY) || context.commits.failed_within(COMMIT_AGAIN) {
            self.shared.urgent.fetch_or(urgent, Ordering::Relaxed);
            return;
        }
        self.committed = Instant::now();
        let list = context.commits.next(&self.shared);
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            context.commits.heard(&self.shared, Some(error));
        }
    }

    /// Stops fetching what there is enough of, and fetches again what there is too little of.
    fn make_room(&self) {
        let mut state = self.shared.state();
        let full = |state: &State, place: &Option<Arc<str>>, share: usize| {
            let held = state.buffered.get(place).copied().unwrap_or_default();
            held.0 > MOST_RECORDS / share || held.1 > MOST_BYTES / share
        };
        let (mut pause, mut resume) = (TopicPartitionList::new(), TopicPartitionList::new());
        let mut changed = Vec::new();
        for (spot, part) in &state.parts {
            let list = match part.paused {
                false if full(&state, &part.place, 1) => &mut pause,
                true if !full(&state, &part.place, 2) => &mut resume,
                _ => continue,
            };
            list.add_partition(&spot.0, spot.1);
            changed.push(spot.clone());
        }
        changed.iter().filter_map(|spot| state.parts.get_mut(spot).map(|part| part.paused = !part.paused)).count();
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

/// What a commit says of a partition.
struct Said {
    spot: Spot,
    epoch: u64,
    ceiling: i64,
}

/// The commits of one consumer, one at a time.
#[derive(Default)]
pub struct Commits {
    flight: Mutex<Option<Flight>>,
    failed: Mutex<Option<Instant>>,
}

struct Flight {
    said: Vec<Said>,
    marks: Vec<Mark>,
}

impl Commits {
    fn flight(&self) -> std::sync::MutexGuard<'_, Option<Flight>> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn under_way(&self) -> bool {
        self.flight().is_some()
    }

    fn failed_within(&self, time: Duration) -> bool {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < time)
    }

    /// What the group is to hear now; nothing when there is nothing new.
    fn next(&self, shared: &Shared) -> TopicPartitionList {
        let mut state = shared.state();
        let mut list = TopicPartitionList::new();
        let mut said = Vec::new();
        for (spot, part) in &mut state.parts {
            let rests = part.rests() && part.tracker.ceiling > 0;
            if !(part.dirty || rests || part.waits_for_the_group()) || part.leaving {
                continue;
            }
            part.dirty = false;
            let (progress, ceiling) = part.tracker.progress(part.rests());
            add(&mut list, spot, part.tracker.low(), &progress.encode());
            said.push(Said { spot: spot.clone(), epoch: part.epoch, ceiling });
        }
        if !said.is_empty() {
            *self.flight() = Some(Flight { said, marks: std::mem::take(&mut state.marks) });
        }
        list
    }

    /// As [`Commits::next`], of partitions that leave: nothing of them is handed out any more, and what comes later
    /// changes nothing.
    pub fn last(&self, shared: &Shared, spots: &[Spot]) -> TopicPartitionList {
        let mut state = shared.state();
        let mut list = TopicPartitionList::new();
        let known: HashSet<Spot> = state.parts.keys().cloned().collect();
        for spot in spots.iter().filter(|spot| known.contains(*spot)) {
            if let Some(part) = state.parts.get_mut(spot) {
                let (progress, _) = part.tracker.progress(true);
                add(&mut list, spot, part.tracker.low(), &progress.encode());
            }
            state.remove(spot);
        }
        list
    }

    /// Nobody will answer any more.
    fn forget(&self, shared: &Shared) {
        shared.state().marks.clear();
        self.flight().take();
    }

    /// The group has answered.
    pub fn heard(&self, shared: &Shared, error: Option<KafkaError>) {
        let Some(Flight { said, marks }) = self.flight().take() else { return };
        let mut state = shared.state();
        let ok = error.is_none();
        for said in said {
            let Some(part) = state.parts.get_mut(&said.spot).filter(|part| part.epoch == said.epoch) else { continue };
            match ok {
                true => part.tracker.ceiling = part.tracker.ceiling.max(said.ceiling),
                false => part.dirty = true,
            }
        }
        match error {
            None => {
                for mark in marks {
                    let _ = mark.told.send(()); // whoever waited may have gone
                }
            }
            Some(error) => {
                state.marks.extend(marks);
                tracing::warn!("kafka: a commit failed, it is tried again: {error}");
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            }
        }
        drop(state);
        shared.arrived.notify_waiters();
    }
}

fn add(list: &mut TopicPartitionList, spot: &Spot, low: i64, text: &str) {
    let mut element = list.add_partition(&spot.0, spot.1);
    // neither fails for an offset that was fetched and a text without a zero byte
    let _ = element.set_offset(Offset::Offset(low));
    element.set_metadata(text);
}
