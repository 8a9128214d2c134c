//! Reads the topic of a state store from its beginning, for ever, and tells those who wait for what they wrote or asked.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::oneshot;

use super::record::What;
use super::replay::Replay;
use crate::queues::kafka::client::{Options, PATIENCE, unavailable};
use crate::queues::kafka::topics::Asking;
use crate::queues::kafka::wire;

const POLL: Duration = Duration::from_millis(50);
/// So many records are read at a time.
const BATCH: usize = 256;
/// After something failed.
const AGAIN: Duration = Duration::from_millis(500);
/// The only partition: what is decided there has one order.
const PARTITION: i32 = 0;

/// Bytes of proposals after which they are replaced by a snapshot, at the earliest.
const SNAPSHOT_AFTER: usize = 4 << 20;

type Told<T> = oneshot::Sender<Result<T, String>>;

/// What is known of the topic, and who waits to know more.
#[derive(Default)]
pub struct Known {
    pub replay: Replay,
    /// By number: those who wait to hear whether their proposal was accepted.
    pub proposed: HashMap<u64, oneshot::Sender<bool>>,
    /// Who wants to know the end of the topic.
    asked: Vec<Told<()>>,
    /// Those who wait until so much has been read.
    waiting: Vec<(i64, Told<()>)>,
    /// What the brokers' clock is ahead of ours, in milliseconds, as was seen when we last wrote.
    ahead: i64,
    stopping: bool,
}

impl Known {
    /// The time of the topic as far as we know it, in milliseconds.
    pub fn now(&self) -> i64 {
        self.replay.time().max(Timestamp::now().as_millisecond() + self.ahead)
    }
}

/// Shared by the store and its threads.
pub struct Log {
    pub topic: String,
    /// Names this process among those who propose.
    pub writer: Arc<str>,
    options: Options,
    /// Bytes of proposals; another number for each worker, so that one of them is the first.
    snapshot_after: usize,
    known: Mutex<Known>,
    asked: Condvar,
}

impl Log {
    pub fn new(options: Options, topic: &str) -> Self {
        let writer = uuid::Uuid::now_v7().simple().to_string().into();
        let snapshot_after = fastrand::usize(SNAPSHOT_AFTER..2 * SNAPSHOT_AFTER);
        Log { topic: topic.into(), writer, options, snapshot_after, known: Mutex::default(), asked: Condvar::new() }
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when everything has been read that lies in the topic by now.
    pub async fn caught_up(&self) -> Result<(), String> {
        let (told, heard) = oneshot::channel();
        self.known().asked.push(told);
        self.asked.notify_one();
        heard.await.unwrap_or_else(|_| Err("the store is closed".into()))
    }

    pub fn stop(&self) {
        self.known().stopping = true;
        self.asked.notify_all();
    }

    /// Starts to read. `full` is called when a snapshot would spare others much.
    ///
    /// # Errors
    /// Why there can be no client or no thread.
    pub fn start(self: &Arc<Self>, full: impl Fn() + Send + 'static) -> Result<(), String> {
        let mut config = self.options.consumer("windlass-state"); // a group that nobody joins
        config.set("auto.offset.reset", "error").set("fetch.wait.max.ms", "500").set("fetch.min.bytes", "1");
        let client: BaseConsumer<Asking> =
            config.create_with_context(Asking::default()).map_err(|error| self.sentence(&error))?;
        let client = Arc::new(client);
        let (reader, reading) = (self.clone(), client.clone());
        let (asker, asking) = (self.clone(), client);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let spawned = std::thread::Builder::new().name(name.into()).spawn(work);
            spawned.map(drop).map_err(|error| format!("no thread for the state store: {error}"))
        };
        spawn("kafka state", Box::new(move || reader.read_on(&reading, full)))?;
        spawn("kafka asker", Box::new(move || asker.answer(&asking)))
    }

    fn sentence(&self, error: &KafkaError) -> String {
        match error.rdkafka_error_code() {
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => self.missing(),
            _ => unavailable(self.options.brokers(), error, None).to_string(),
        }
    }

    fn missing(&self) -> String {
        format!("there is no topic {} (state.kafka.topic): make it with \"windlass queues create\"", self.topic)
    }

    /// Looks for the end of the topic for those who ask, all at once.
    fn answer(&self, client: &BaseConsumer<Asking>) {
        loop {
            let mut known = self.known();
            while known.asked.is_empty() && !known.stopping {
                known = self.asked.wait(known).unwrap_or_else(PoisonError::into_inner);
            }
            if known.stopping {
                known.asked.clear();
                known.waiting.clear();
                return;
            }
            let asked = std::mem::take(&mut known.asked);
            drop(known);
            let end = client.fetch_watermarks(&self.topic, PARTITION, PATIENCE).map_err(|error| self.sentence(&error));
            let mut known = self.known();
            for told in asked {
                match &end {
                    Ok((_, end)) => known.waiting.push((*end, told)),
                    Err(why) => drop(told.send(Err(why.clone()))),
                }
            }
            tell(&mut known);
        }
    }

    fn read_on(&self, client: &BaseConsumer<Asking>, full: impl Fn()) {
        while !self.known().stopping {
            let done = self.begin(client).and_then(|()| self.read_until_something_is_wrong(client, &full));
            if let Err(why) = done {
                tracing::warn!("the state store: {why}");
                let mut known = self.known();
                known.waiting.drain(..).for_each(|(_, told)| drop(told.send(Err(why.clone()))));
                drop(self.asked.wait_timeout(known, AGAIN).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// From the first record that there is.
    fn begin(&self, client: &BaseConsumer<Asking>) -> Result<(), String> {
        let metadata = client.fetch_metadata(Some(&self.topic), PATIENCE).map_err(|error| self.sentence(&error))?;
        match metadata.topics().first().map_or(0, |topic| topic.partitions().len()) {
            0 => return Err(self.missing()),
            1 => {}
            more => {
                return Err(format!("the topic {} has {more} partitions, and a state store needs one order: one", self.topic));
            }
        }
        let (low, _) = client.fetch_watermarks(&self.topic, PARTITION, PATIENCE).map_err(|error| self.sentence(&error))?;
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&self.topic, PARTITION, Offset::Offset(low));
        added.and_then(|()| client.assign(&list)).map_err(|error| self.sentence(&error))?;
        self.known().replay = Replay::from(low);
        Ok(())
    }

    fn read_until_something_is_wrong(&self, client: &BaseConsumer<Asking>, full: &impl Fn()) -> Result<(), String> {
        loop {
            let (mut batch, mut patience) = (Vec::new(), POLL);
            while batch.len() < BATCH {
                match client.poll(patience) {
                    None => break,
                    Some(Ok(record)) => {
                        let what = What::decode(record.payload().unwrap_or_default())?;
                        let time = wire::published(&record).map_or(0, Timestamp::as_millisecond);
                        batch.push((record.offset(), time, record.payload_len(), what));
                    }
                    Some(Err(error)) if passes(&error) => break,
                    Some(Err(error)) => return Err(self.sentence(&error)),
                }
                patience = Duration::ZERO;
            }
            let mut known = self.known();
            if known.stopping {
                return Ok(());
            }
            for (offset, time, size, what) in batch {
                if offset != known.replay.next() {
                    return Err("what was not read yet is gone: reading again from the snapshot".into());
                }
                self.read(&mut known, (offset, time, size), what);
            }
            tell(&mut known);
            let wanted = known.replay.wants_snapshot(self.snapshot_after);
            drop(known);
            if wanted {
                full();
            }
        }
    }

    fn read(&self, known: &mut Known, (offset, time, size): (i64, i64, usize), what: Option<What>) {
        for decided in known.replay.read(offset, time, size, what) {
            if decided.by == self.writer
                && let Some(told) = known.proposed.remove(&decided.number)
            {
                known.ahead = time - Timestamp::now().as_millisecond();
                let _ = told.send(decided.accepted); // whoever waited may have gone
            }
        }
    }
}

/// They pass by themselves.
fn passes(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(
        code,
        Some(
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::Resolve
                | Code::NotLeaderForPartition
        )
    )
}

/// Tells those who have waited for what has been read by now.
fn tell(known: &mut Known) {
    if !known.replay.knows() {
        return;
    }
    let next = known.replay.next();
    for (_, told) in known.waiting.extract_if(.., |(end, _)| *end <= next) {
        let _ = told.send(Ok(())); // whoever waited may have gone
    }
}
