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

/// Who wants to know the end of the topic, once so much has been read.
type Told = oneshot::Sender<Result<i64, String>>;
/// The offset of a record, its time in milliseconds, its size in bytes, and what it says to us.
type Read = (i64, i64, usize, Option<What>);

/// What is known of the topic, and who waits to know more.
#[derive(Default)]
pub struct Known {
    pub replay: Replay,
    /// By number: those who wait to hear whether their proposal was accepted.
    pub proposed: HashMap<u64, oneshot::Sender<bool>>,
    /// Who wants to know the end of the topic.
    asked: Vec<Told>,
    /// Those who wait until so much has been read.
    waiting: Vec<(i64, Told)>,
    /// The end of the topic once it was known where to begin: the snapshot that replaced what lay before is whole by then.
    begun: i64,
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
    stopped: Condvar,
}

impl Log {
    pub fn new(options: Options, topic: &str) -> Self {
        let writer = uuid::Uuid::now_v7().simple().to_string().into();
        let snapshot_after = fastrand::usize(SNAPSHOT_AFTER..2 * SNAPSHOT_AFTER);
        let (known, asked, stopped) = (Mutex::default(), Condvar::new(), Condvar::new());
        Log { topic: topic.into(), writer, options, snapshot_after, known, asked, stopped }
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what is kept, as it is now.
    pub async fn look<T>(&self, look: impl Fn(&Known, i64) -> T) -> Result<T, String> {
        loop {
            let end = self.caught_up().await?;
            let known = self.known();
            // the reader may have begun anew since
            if known.replay.knows() && known.replay.next() >= end {
                return Ok(look(&known, known.now()));
            }
        }
    }

    /// Resolves when everything has been read that lies in the topic by now, with its end.
    async fn caught_up(&self) -> Result<i64, String> {
        let (told, heard) = oneshot::channel();
        self.known().asked.push(told);
        self.asked.notify_one();
        heard.await.unwrap_or_else(|_| Err("the store is closed".into()))
    }

    pub fn stop(&self) {
        self.known().stopping = true;
        self.asked.notify_all();
        self.stopped.notify_all();
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
            let end = self.watermarks(client);
            let mut known = self.known();
            for told in asked {
                match &end {
                    Ok((_, end)) => known.waiting.push((*end, told)),
                    Err(why) => drop(told.send(Err(why.clone()))),
                }
            }
            self.tell(&mut known);
        }
    }

    fn read_on(&self, client: &BaseConsumer<Asking>, full: impl Fn()) {
        while !self.known().stopping {
            let done = self.begin(client).and_then(|()| self.read_until_something_is_wrong(client, &full));
            if let Err(why) = done {
                tracing::warn!("the state store: {why}");
                let mut known = self.known();
                known.waiting.drain(..).for_each(|(_, told)| drop(told.send(Err(why.clone()))));
                let paused = self.stopped.wait_timeout_while(known, AGAIN, |known| !known.stopping);
                drop(paused.unwrap_or_else(PoisonError::into_inner));
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
        let (low, _) = self.watermarks(client)?;
        let (_, end) = self.watermarks(client)?; // one answer is of two questions, in no order
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&self.topic, PARTITION, Offset::Offset(low));
        added.and_then(|()| client.assign(&list)).map_err(|error| self.sentence(&error))?;
        let mut known = self.known();
        (known.replay, known.begun) = (Replay::from(low), end);
        Ok(())
    }

    /// The first offset that is left, and the end.
    fn watermarks(&self, client: &BaseConsumer<Asking>) -> Result<(i64, i64), String> {
        client.fetch_watermarks(&self.topic, PARTITION, PATIENCE).map_err(|error| self.sentence(&error))
    }

    /// That nothing was removed before it was read. Offsets are also left out where a transaction of somebody else ends.
    fn whole(&self, client: &BaseConsumer<Asking>, batch: &[Read]) -> Result<(), String> {
        let next = self.known().replay.next();
        let Some((due, offset)) = gap(next, batch.iter().map(|(offset, ..)| *offset)) else { return Ok(()) };
        let (low, _) = self.watermarks(client)?;
        let whole = (low..=offset).contains(&due);
        whole.then_some(()).ok_or_else(|| "what was not read yet is gone: reading again from the snapshot".into())
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
            self.whole(client, &batch)?;
            let mut known = self.known();
            if known.stopping {
                return Ok(());
            }
            for read in batch {
                self.read(&mut known, read);
            }
            self.tell(&mut known);
            let wanted = known.replay.wants_snapshot(self.snapshot_after);
            drop(known);
            if wanted {
                full();
            }
        }
    }

    fn read(&self, known: &mut Known, (offset, time, size, what): Read) {
        for decided in known.replay.read(offset, time, size, what) {
            if decided.by == self.writer
                && let Some(told) = known.proposed.remove(&decided.number)
            {
                known.ahead = time - Timestamp::now().as_millisecond();
                let _ = told.send(decided.accepted); // whoever waited may have gone
            }
        }
    }

    /// Tells those who have waited for what has been read by now.
    fn tell(&self, known: &mut Known) {
        known.waiting.retain(|(_, told)| !told.is_closed());
        let next = known.replay.next();
        let answer = match known.replay.unknown_before() {
            None => Ok(()),
            Some(_) if next < known.begun => return,
            Some(start) => Err(self.beheaded(start)),
        };
        for (end, told) in known.waiting.extract_if(.., |(end, _)| *end <= next) {
            let _ = told.send(answer.clone().map(|()| end)); // whoever waited may have gone
        }
    }

    fn beheaded(&self, start: i64) -> String {
        format!(
            "the topic {} (state.kafka.topic) begins at offset {start} and holds no whole snapshot of what was before, which \
             something else than windlass removed: delete the topic and make it anew with \"windlass queues create\"",
            self.topic
        )
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

/// The first offset that is left out, and the one that came in its place.
fn gap(next: i64, offsets: impl Iterator<Item = i64>) -> Option<(i64, i64)> {
    offsets.scan(next, |due, offset| Some((std::mem::replace(due, offset + 1), offset))).find(|(due, offset)| due != offset)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::queues::kafka::config::KafkaStateConfig;

    /// That nobody reads.
    fn log() -> Arc<Log> {
        let options = Options::new(&KafkaStateConfig::at("127.0.0.1:9").client(), Path::new("")).unwrap();
        Arc::new(Log::new(options, "state"))
    }

    async fn asked(log: &Log) -> Told {
        loop {
            if let Some(told) = log.known().asked.pop() {
                return told;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_looks_while_the_topic_is_read_anew_waits_until_that_is_done() {
        let log = log();
        let looking = tokio::spawn({
            let log = log.clone();
            async move { log.look(|known, _| known.replay.next()).await }
        });
        let told = asked(&log).await;
        log.known().replay = Replay::from(0);
        told.send(Ok(2)).unwrap();
        let told = asked(&log).await;
        log.known().replay = Replay::from(2);
        told.send(Ok(2)).unwrap();
        let told = asked(&log).await;
        let mut replay = Replay::from(0);
        (0..3).for_each(|offset| drop(replay.read(offset, 0, 1, None)));
        log.known().replay = replay;
        told.send(Ok(3)).unwrap();
        assert_eq!(looking.await.unwrap(), Ok(3));
    }

    #[test]
    fn who_waits_for_a_topic_without_a_snapshot_is_told_once_all_was_read_and_who_is_gone_is_forgotten() {
        let log = log();
        let mut known = log.known();
        (known.replay, known.begun) = (Replay::from(5), 6);
        let (told, mut heard) = oneshot::channel();
        let (later, _later) = oneshot::channel();
        known.waiting = vec![(5, told), (9, later), (9, oneshot::channel().0)];
        log.tell(&mut known);
        assert!(heard.try_recv().is_err(), "the end of the snapshot may come");
        assert_eq!(known.waiting.len(), 2, "one is gone");
        known.replay.read(5, 0, 1, None);
        log.tell(&mut known);
        let why = heard.try_recv().unwrap().unwrap_err();
        assert!(why.contains("begins at offset 5") && why.contains("windlass queues create"), "{why}");
        assert_eq!(known.waiting.len(), 1);
    }

    #[test]
    fn an_offset_that_is_left_out_is_found_within_a_batch_and_before_it() {
        assert_eq!(gap(4, [4, 5, 6].into_iter()), None);
        assert_eq!(gap(3, [4, 5].into_iter()), Some((3, 4)));
        assert_eq!(gap(4, [4, 6, 9].into_iter()), Some((5, 6)));
    }
}
