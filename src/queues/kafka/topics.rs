//! The topics that a queue needs: which are there, how they are, and those that are missing made.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rdkafka::Message as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::client::{OURS, Options, PATIENCE, Plain, unavailable};
use super::config::Create;
use super::dead::Lying;
use super::lag::Lag;
use super::names::Names;
use super::wire;
use crate::ports::{Found, Part, QueueError};
use crate::units::{Span, spell_duration};

/// The most complaints of a client that are looked at.
const COMPLAINTS: usize = 16;
/// How often topics that were made are looked for.
const LOOKS: usize = 100;
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

/// A topic as it should be.
struct Wanted {
    name: String,
    partitions: u16,
    settings: Vec<(&'static str, String)>,
    what: String,
}

/// The topics of one queue on their cluster.
pub struct Topics {
    pub options: Options,
    pub names: Names,
    pub create: Create,
}

impl Topics {
    fn wanted(&self, places: Option<&[Arc<str>]>) -> Vec<Wanted> {
        let size = ("max.message.bytes", (self.options.max_message + OURS).to_string());
        let ever =
            || vec![("retention.ms", "-1".to_owned()), ("retention.bytes", "-1".into()), ("cleanup.policy", "delete".into())];
        let partitions = self.create.partitions;
        let mut own = vec![size.clone(), ("cleanup.policy", "delete".into())];
        let mut kept = "as long as the cluster says".to_owned();
        match self.create.retention {
            Some(Span(std::time::Duration::MAX)) => {
                // in which time passes as the brokers' clock says, whoever sends
                let clock = ("message.timestamp.type", "LogAppendTime".into());
                own = ever().into_iter().chain([size.clone(), clock]).collect();
                kept = "for ever".into();
            }
            Some(Span(retention)) => {
                own.push(("retention.ms", retention.as_millis().to_string()));
                kept = format!("for {}", spell_duration(retention));
            }
            None => {}
        }
        let what = |partitions: u16, kept: &str| format!("topic, {partitions} partitions, kept {kept}");
        let topic = self.names.topic.to_string();
        let mut wanted = vec![Wanted { name: topic, partitions, settings: own, what: what(partitions, &kept) }];
        let Some(places) = places else { return wanted };
        let beside = [self.names.retry(), self.names.dead()].into_iter();
        let beside = beside.chain(places.iter().map(|place| self.names.parked(place))).map(|name| (name, partitions));
        let few = self.names.delays().into_iter().chain([self.names.handled()]);
        for (name, partitions) in beside.chain(few.map(|name| (name, 1))) {
            let settings = ever().into_iter().chain([size.clone()]).collect();
            wanted.push(Wanted { name, partitions, settings, what: what(partitions, "for ever") });
        }
        wanted
    }

    /// The partitions of every topic of the cluster, by name. A question of seconds at most.
    ///
    /// # Errors
    /// Why the cluster does not answer.
    pub async fn list(&self) -> Result<BTreeMap<String, Vec<i32>>, QueueError> {
        let options = self.options.clone();
        let ask = move || {
            let failed = |error: KafkaError| unavailable(options.brokers(), &error, None);
            let client: BaseConsumer<Asking> = options.plain().create_with_context(Asking::default()).map_err(failed)?;
            let metadata = client.fetch_metadata(None, PATIENCE);
            for _ in 0..COMPLAINTS {
                client.poll(std::time::Duration::ZERO); // tells its context what it complained of
            }
            let metadata =
                metadata.map_err(|error| unavailable(options.brokers(), &error, client.context().0.complaints.take()))?;
            let partitions = |topic: &rdkafka::metadata::MetadataTopic| topic.partitions().iter().map(|part| part.id()).collect();
            Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), partitions(topic))).collect())
        };
        tokio::task::spawn_blocking(ask).await.map_err(|error| QueueError::Unavailable(error.to_string()))?
    }

    fn admin(&self) -> Result<AdminClient<Plain>, QueueError> {
        let failed = |error: KafkaError| unavailable(self.options.brokers(), &error, None);
        self.options.plain().create_with_context(Plain::default()).map_err(failed)
    }

    /// What there is of what is wanted.
    pub async fn parts(&self, places: Option<&[Arc<str>]>) -> Result<Vec<Part>, QueueError> {
        let there = self.list().await?;
        let mut parts = Vec::new();
        for wanted in self.wanted(places) {
            let found = match there.get(&wanted.name) {
                None => Found::Missing,
                Some(_) => self.compare(&wanted).await?,
            };
            parts.push(Part { name: wanted.name.as_str().into(), what: wanted.what, found });
        }
        Ok(parts)
    }

    /// What must not be otherwise of a topic that is there: nothing of it may end by its age or be compacted away.
    async fn compare(&self, wanted: &Wanted) -> Result<Found, QueueError> {
        let admin = self.admin()?;
        let resource = ResourceSpecifier::Topic(&wanted.name);
        let answer = admin.describe_configs([&resource], &AdminOptions::new().request_timeout(Some(PATIENCE))).await;
        let answer = answer.map_err(|error| unavailable(self.options.brokers(), &error, None))?;
        let Some(Ok(config)) = answer.into_iter().next() else { return Ok(Found::AsWanted) };
        let entries = config.entry_map();
        let value = |key: &str| entries.get(key).and_then(|entry| entry.value.clone()).unwrap_or_default();
        for (key, should) in &wanted.settings {
            let is = value(key);
            let fine = match *key {
                "max.message.bytes" => is.parse::<u64>().unwrap_or(0) >= should.parse().unwrap_or(u64::MAX),
                "retention.ms" if should != "-1" => continue,
                _ => is == *should,
            };
            if !fine {
                let fix = format!("{key} is {is}, not {should}: set it with kafka-configs, jobs can be lost or refused as it is");
                return Ok(Found::Differs(fix));
            }
        }
        Ok(Found::AsWanted)
    }

    /// Makes what is missing.
    pub async fn make(&self, places: Option<&[Arc<str>]>) -> Result<(), QueueError> {
        let there = self.list().await?;
        let wanted = self.wanted(places);
        let copies = self.create.copies.map_or(-1, i32::from);
        let missing = wanted.iter().filter(|wanted| !there.contains_key(&wanted.name));
        let new: Vec<NewTopic<'_>> = missing
            .map(|wanted| {
                let new = NewTopic::new(&wanted.name, i32::from(wanted.partitions), TopicReplication::Fixed(copies));
                wanted.settings.iter().fold(new, |new, (key, value)| new.set(key, value))
            })
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE * 4)).request_timeout(Some(PATIENCE * 4));
        let answer = self.admin()?.create_topics(&new, &options).await;
        let made = answer.map_err(|error| unavailable(self.options.brokers(), &error, None))?;
        for made in made {
            if let Err((name, code)) = made
                && code != Code::TopicAlreadyExists
            {
                return Err(QueueError::Unavailable(format!("the topic {name} cannot be made: {code}")));
            }
        }
        self.seen(&wanted).await
    }

    /// Waits until whoever asks sees what was made: brokers hear of it one after the other.
    async fn seen(&self, wanted: &[Wanted]) -> Result<(), QueueError> {
        for _ in 0..LOOKS {
            let there = self.list().await?;
            if wanted.iter().all(|wanted| there.get(&wanted.name).is_some_and(|partitions| !partitions.is_empty())) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(QueueError::Unavailable("the topics were made, but the cluster does not list them all yet: check again".into()))
    }
}

/// The context of a client that lists topics.
#[derive(Default)]
pub struct Asking(Plain);

impl rdkafka::client::ClientContext for Asking {
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }

    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }
}

impl rdkafka::consumer::ConsumerContext for Asking {}

impl Topics {
    /// Whether a topic has ever held a record.
    pub async fn holds_any(&self, topic: &str, partitions: &[i32]) -> Result<bool, QueueError> {
        let (options, topic, partitions) = (self.options.clone(), topic.to_owned(), partitions.to_vec());
        let ask = move || {
            let failed = |error: KafkaError| unavailable(options.brokers(), &error, None);
            let client: BaseConsumer<Asking> = options.plain().create_with_context(Asking::default()).map_err(failed)?;
            for partition in partitions {
                if client.fetch_watermarks(&topic, partition, PATIENCE).map_err(failed)?.1 > 0 {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        tokio::task::spawn_blocking(ask).await.map_err(|error| QueueError::Unavailable(error.to_string()))?
    }

    /// Whether the group has finished everything that lies in some topics. One that is not there holds nothing. Of the
    /// partitions that are ours it is known, ahead of the group, up to where nothing waits.
    pub async fn finished(&self, topics: &[String], ours: HashMap<(String, i32), i64>) -> Result<bool, QueueError> {
        Ok(self.left(topics, ours).await? == 0)
    }

    /// How much the group has not finished of what lies in some topics, by offsets.
    pub async fn left(&self, topics: &[String], ours: HashMap<(String, i32), i64>) -> Result<u64, QueueError> {
        Ok(self.lags(topics, ours).await?.iter().map(|lag| lag.records).sum())
    }

    /// As [`Topics::left`], partition by partition.
    pub async fn lags(&self, topics: &[String], ours: HashMap<(String, i32), i64>) -> Result<Vec<Lag>, QueueError> {
        let there = self.list().await?;
        let partitions = |topic: &String| there.get(topic).map_or(&[][..], Vec::as_slice);
        let spots: Vec<(String, i32)> =
            topics.iter().flat_map(|topic| partitions(topic).iter().map(|number| (topic.clone(), *number))).collect();
        let (options, group) = (self.options.clone(), self.names.group.to_string());
        let ask = move || {
            let failed = |error: KafkaError| unavailable(options.brokers(), &error, None);
            let mut config = options.plain();
            config.set("group.id", group);
            let client: BaseConsumer<Asking> = config.create_with_context(Asking::default()).map_err(failed)?;
            let mut asked = TopicPartitionList::with_capacity(spots.len());
            for (topic, partition) in &spots {
                asked.add_partition(topic, *partition);
            }
            let committed = client.committed_offsets(asked, PATIENCE).map_err(failed)?.to_topic_map();
            let mut lags = Vec::new();
            for spot in spots {
                let (low, high) = client.fetch_watermarks(&spot.0, spot.1, PATIENCE).map_err(failed)?;
                let heard = committed.get(&spot).and_then(|offset| offset.to_raw()).filter(|at| *at >= 0);
                let at = ours.get(&spot).copied().or(heard).unwrap_or(low);
                let records = u64::try_from(high - at.max(low)).unwrap_or(0);
                let fetched = u64::from(at < 0); // something waits that was fetched
                lags.push(Lag { topic: spot.0, partition: spot.1, at: at.max(low), records: records + fetched });
            }
            Ok(lags)
        };
        tokio::task::spawn_blocking(ask).await.map_err(|error| QueueError::Unavailable(error.to_string()))?
    }

    /// Records of a topic from a partition and offset on, partition after partition, at most `most`.
    pub async fn read(&self, topic: &str, from: (i32, i64), most: usize) -> Result<Vec<Lying>, QueueError> {
        let (options, topic) = (self.options.clone(), topic.to_owned());
        let ask = move || {
            let failed = |error: KafkaError| unavailable(options.brokers(), &error, None);
            // a group is asked for, but never joined: partitions are assigned by hand, and nothing is committed
            let mut config = options.consumer("windlass-desk");
            config.set("enable.partition.eof", "true");
            let client: BaseConsumer<Asking> = config.create_with_context(Asking::default()).map_err(failed)?;
            let metadata = client.fetch_metadata(Some(&topic), PATIENCE).map_err(failed)?;
            let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id());
            let mut letters = Vec::new();
            for partition in partitions.filter(|partition| *partition >= from.0) {
                let (low, high) = client.fetch_watermarks(&topic, partition, PATIENCE).map_err(failed)?;
                let start = if partition == from.0 { low.max(from.1) } else { low };
                if start < high && letters.len() < most {
                    assign(&client, &topic, partition, start).map_err(failed)?;
                    read_on(&client, most, &mut letters).map_err(failed)?;
                }
            }
            Ok(letters)
        };
        tokio::task::spawn_blocking(ask).await.map_err(|error| QueueError::Unavailable(error.to_string()))?
    }
}

fn assign(client: &BaseConsumer<Asking>, topic: &str, partition: i32, offset: i64) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    client.assign(&list)
}

/// Reads to the end of the partition that is assigned.
fn read_on(client: &BaseConsumer<Asking>, most: usize, letters: &mut Vec<Lying>) -> Result<(), KafkaError> {
    while letters.len() < most {
        match client.poll(PATIENCE) {
            Some(Ok(record)) => {
                let (message, _) = wire::read(&record);
                let (partition, offset) = (record.partition(), record.offset());
                letters.push(Lying { partition, offset, message, published: wire::published(&record) });
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) => return Err(error),
            None => return Err(KafkaError::MessageConsumption(Code::OperationTimedOut)),
        }
    }
    Ok(())
}
