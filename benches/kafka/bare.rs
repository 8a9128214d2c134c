//! The least that any worker would pay: rdkafka alone, on one thread.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Start;

/// Between two commits.
const EVERY: Duration = Duration::from_millis(20);
/// In the size of what is remembered of a few hundred jobs in flight.
const METADATA: &str =
    "1r0.256.AQEBAgEDAQEBAgEDAQEBAgEDAQEBAgEDAQEBAgEDAQEBAgEDAQEBAgEDAQEBAgEDAQEBAgEDAQEBAgEDAQEBAgEDAQEBAgED.";

/// Notes what was confirmed, as partition and offset of the job.
#[derive(Default)]
struct Confirms(Mutex<Vec<usize>>);

impl ClientContext for Confirms {}

impl ProducerContext for Confirms {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, job: usize) {
        result.as_ref().map_err(|(error, _)| error.clone()).unwrap();
        self.0.lock().unwrap().push(job);
    }
}

fn producer(brokers: &str) -> BaseProducer<Confirms> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "2");
    config.create_with_context(Confirms::default()).unwrap()
}

fn send(producer: &BaseProducer<Confirms>, mut record: BaseRecord<'_, [u8], [u8], usize>) {
    while let Err((error, again)) = producer.send(record) {
        assert!(matches!(error, KafkaError::MessageProduction(Code::QueueFull)), "{error}");
        producer.poll(Duration::from_millis(5));
        record = again;
    }
}

/// Jobs of 1 KiB.
pub fn fill(brokers: &str, topic: &str, jobs: u64) {
    let (producer, data) = (producer(brokers), "x".repeat(960));
    for number in 0..jobs {
        let body = format!(r#"{{"id":"{number}","type":"bench","data":"{data}"}}"#);
        let partition = i32::try_from(number % 4).unwrap();
        send(&producer, BaseRecord::with_opaque_to(topic, 0).partition(partition).payload(body.as_bytes()));
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

/// What must be known of a job for its result.
#[derive(Deserialize)]
struct Job<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// How far a partition has come.
#[derive(Default)]
struct Progress {
    open: BTreeSet<i64>,
    next: i64,
}

/// `(jobs, in flight)`; answers when the first job came.
pub fn pass(brokers: &str, source: &str, target: &str, (jobs, together): (u64, usize)) -> Start {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", source).set("auto.offset.reset", "earliest");
    config.set("enable.auto.commit", "false").set("fetch.queue.backoff.ms", "10");
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&[source]).unwrap();
    let producer = producer(brokers);
    let mut parts: [Progress; 4] = Default::default();
    let (mut flying, mut left, mut committed, mut start) = (0, jobs, Instant::now(), None);
    while left > 0 {
        let patience = if flying > 0 { Duration::ZERO } else { Duration::from_millis(50) };
        match if flying < together { consumer.poll(patience) } else { None } {
            Some(record) => {
                let record = record.unwrap();
                start.get_or_insert_with(Start::now);
                let part = usize::try_from(record.partition()).unwrap();
                parts[part].open.insert(record.offset());
                parts[part].next = record.offset() + 1;
                let name = usize::try_from(record.offset()).unwrap() << 2 | part;
                let event = event(record.payload().unwrap());
                send(&producer, BaseRecord::with_opaque_to(target, name).payload(event.as_bytes()));
                flying += 1;
                producer.poll(Duration::ZERO);
            }
            None => producer.poll(Duration::from_millis(1)),
        }
        for name in std::mem::take(&mut *producer.context().0.lock().unwrap()) {
            parts[name & 3].open.remove(&i64::try_from(name >> 2).unwrap());
            (flying, left) = (flying - 1, left - 1);
        }
        if committed.elapsed() > EVERY || left == 0 {
            committed = Instant::now();
            commit(&consumer, source, &parts, if left == 0 { CommitMode::Sync } else { CommitMode::Async });
        }
    }
    start.unwrap()
}

fn commit(consumer: &BaseConsumer, topic: &str, parts: &[Progress], mode: CommitMode) {
    let mut list = TopicPartitionList::new();
    for (number, part) in parts.iter().enumerate().filter(|(_, part)| part.next > 0) {
        let mut element = list.add_partition(topic, i32::try_from(number).unwrap());
        element.set_offset(Offset::Offset(part.open.first().copied().unwrap_or(part.next))).unwrap();
        element.set_metadata(METADATA);
    }
    if list.count() > 0 {
        consumer.commit(&list, mode).unwrap();
    }
}

fn event(body: &[u8]) -> String {
    let job: Job = serde_json::from_slice(body).unwrap();
    assert!(!job.data.get().is_empty());
    let (id, kind, now) = (job.id, job.kind, jiff::Timestamp::now());
    format!(
        r#"{{"specversion":"1.0","id":"{id}:0:completed","source":"/windlass/default","type":"windlass.job.completed","subject":"{id}","time":"{now}","datacontenttype":"application/json","jobtype":"{kind}","attempt":1,"tenant":"default","data":"done"}}"#
    )
}

/// The topics of a round.
pub async fn delete(brokers: &str, prefix: &str) {
    let config = {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        config
    };
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(10)).unwrap();
    let topics: Vec<&str> = metadata.topics().iter().map(|topic| topic.name()).filter(|name| name.starts_with(prefix)).collect();
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    admin.delete_topics(&topics, &AdminOptions::new()).await.unwrap();
}
