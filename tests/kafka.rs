//! What is told of Kafka alone: partitions that move between workers, and what goes wrong said in sentences.
#![cfg(feature = "kafka")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "kafka/confirms.rs"]
mod confirms;
#[path = "kafka/groups.rs"]
mod groups;
#[path = "support/server.rs"]
mod server;
#[path = "kafka/state.rs"]
mod state;
#[path = "support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use windlass::job::decode::facets::sort;
use windlass::job::decode::life_of;
use windlass::job::{Decoding, Header, Message};
use windlass::ports::{Acted, Action, Cursor, Delivery, End, Ending, Outgoing, Queue, QueueError, Room, Settled, Source};
use windlass::queues::kafka::config::{Create, KafkaConfig, Mechanism, Sasl, Start};
use windlass::secret::Secret;
use windlass::units::Span;

const ROOM: Room = Room { jobs: 100, bytes: 1 << 20, lease: Duration::from_secs(30) };

fn config() -> KafkaConfig {
    let prefix = format!("k{}", uuid::Uuid::now_v7().simple());
    KafkaConfig {
        group: prefix.clone(),
        delays: format!("{prefix}.delay"),
        create: Create { partitions: 4, ..Create::default() },
        drain: Span(Duration::from_millis(300)),
        session: Span(Duration::from_secs(6)),
        ..KafkaConfig::at(&server::server("kafka"), &prefix)
    }
}

fn open(config: &KafkaConfig) -> Arc<dyn Queue> {
    windlass::queues::kafka::open("q", config, Path::new("")).unwrap()
}

async fn source(queue: &Arc<dyn Queue>) -> Box<dyn Source> {
    queue.source(sort(&Decoding::Envelope)).await.unwrap()
}

async fn send(queue: &Arc<dyn Queue>, numbers: std::ops::Range<usize>) {
    let sink = queue.sink();
    let sends = numbers.map(|number| {
        let key = Some(format!("k{number}").into());
        let message = Message { key, ..Message::of(number.to_string()) };
        sink.send(Outgoing { message, ..Outgoing::default() })
    });
    futures_util::future::try_join_all(sends).await.unwrap();
}

async fn take(source: &mut Box<dyn Source>, within: Duration) -> Vec<Delivery> {
    tokio::time::timeout(within, source.next(ROOM)).await.map_or(Vec::new(), Result::unwrap)
}

async fn ack(delivery: Delivery) -> Settled {
    let ending = Ending { end: End::Completed, event: None, at: Timestamp::now() };
    delivery.receipt.ack(ending).await.map_err(|unsettled| unsettled.error).unwrap()
}

fn body(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.message.body).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: ./test brings it"]
async fn more_than_is_held_ahead_waits_on_kafka_and_comes_once_there_is_room_again() {
    let queue = open(&config());
    queue.create(Some(&[])).await.unwrap();
    send(&queue, 0..20_000).await;
    let (mut source, mut came) = (source(&queue).await, HashMap::new());
    let note = |came: &mut HashMap<String, usize>, delivery: &Delivery| *came.entry(body(delivery)).or_default() += 1;
    for delivery in take(&mut source, Duration::from_secs(20)).await {
        note(&mut came, &delivery);
        ack(delivery).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await; // until it fetches no more
    while came.len() < 20_000 {
        let deliveries = take(&mut source, Duration::from_secs(20)).await;
        assert!(!deliveries.is_empty(), "only {} came", came.len());
        for delivery in deliveries {
            note(&mut came, &delivery);
            ack(delivery).await;
        }
    }
    assert!(came.values().all(|times| *times == 1));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: ./test brings it"]
async fn a_group_on_kafka_that_is_new_starts_where_it_is_told() {
    let earliest = config();
    let queue = open(&earliest);
    queue.create(Some(&[])).await.unwrap();
    send(&queue, 0..3).await;
    tokio::time::sleep(Duration::from_millis(50)).await; // a record's time is in whole milliseconds
    let middle = Timestamp::now();
    send(&queue, 3..6).await;
    for (start, expected) in [(Start::Earliest, 6), (Start::At(middle), 3), (Start::Latest, 0)] {
        let group = format!("{}-{expected}", earliest.group);
        let config = KafkaConfig { start, group, delays: format!("{}{expected}", earliest.delays), ..earliest.clone() };
        let queue = open(&config);
        queue.create(Some(&[])).await.unwrap();
        let mut source = source(&queue).await;
        let mut came = Vec::new();
        while came.len() < expected {
            let deliveries = take(&mut source, Duration::from_secs(20)).await;
            assert!(!deliveries.is_empty(), "{start:?}: only {} came", came.len());
            came.extend(deliveries);
        }
        assert_eq!(came.len() + take(&mut source, Duration::from_secs(1)).await.len(), expected, "{start:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: ./test brings it"]
async fn delays_on_kafka_that_were_served_are_deleted_and_those_that_were_not_stay() {
    let config = config();
    let queue = open(&config);
    queue.create(Some(&[])).await.unwrap();
    let later = |seconds| Some(Timestamp::now() + Duration::from_secs(seconds));
    for (id, seconds) in [("soon", 1), ("later", 3)] {
        let outgoing = Outgoing { message: Message::of(id), due: later(seconds), ..Outgoing::default() };
        queue.sink().send(outgoing).await.unwrap();
    }
    let much_later = Outgoing { message: Message::of("tomorrow"), due: later(90_000), ..Outgoing::default() };
    queue.sink().send(much_later).await.unwrap();
    let mut source = source(&queue).await;
    for _ in 0..2 {
        ack(take(&mut source, Duration::from_secs(20)).await.remove(0)).await;
    }
    let mut client = ClientConfig::new();
    let client: BaseConsumer = client.set("bootstrap.servers", &config.brokers).create().unwrap();
    let marks = |tier: &str| client.fetch_watermarks(&format!("{}.{tier}", config.delays), 0, Duration::from_secs(10)).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while marks("1s").0 < marks("1s").1 {
        assert!(Instant::now() < end, "of the shortest delay there are still {:?}", marks("1s"));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(marks("1h"), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: ./test brings it"]
async fn what_is_wrong_with_a_kafka_is_a_sentence_that_says_what_to_do() {
    let fine = config();
    let why = |queue: Arc<dyn Queue>| async move {
        let Err(error) = queue.source(sort(&Decoding::Envelope)).await else { panic!("it opened") };
        error.to_string()
    };
    let missing = why(open(&fine)).await;
    assert!(missing.contains("there is no topic") && missing.contains("windlass queues create"), "{missing}");
    let sent = open(&fine).sink().send(Outgoing { message: Message::of("a"), ..Outgoing::default() }).await;
    let sent = sent.unwrap_err().to_string();
    assert!(sent.contains("there is no topic") && sent.contains("windlass queues create"), "{sent}");
    let nowhere = why(open(&KafkaConfig { brokers: "127.0.0.1:9".into(), ..fine.clone() })).await;
    assert!(nowhere.contains("cannot be reached") && nowhere.contains("127.0.0.1:9"), "{nowhere}");
    let queue = open(&fine);
    queue.create(Some(&[])).await.unwrap();
    let large = Message::of("x".repeat(3 << 20));
    let large = queue.sink().send(Outgoing { message: large, ..Outgoing::default() }).await;
    assert!(matches!(&large, Err(QueueError::Refused(why)) if why.contains("too large")), "{large:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: ./test brings it"]
async fn a_wrong_password_for_kafka_is_told_and_a_right_one_opens() {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/kafka");
    let run = |arguments: &[&str]| Command::new(&script).args(arguments).status().unwrap().success();
    let at = folder.path().display().to_string();
    assert!(run(&["up", &at, "--sasl"]));
    let text = std::fs::read_to_string(folder.path().join("env")).unwrap();
    let address = text.lines().find_map(|line| line.strip_prefix("KAFKA_SASL=")).unwrap();
    let mut answers = Vec::new();
    let scram = cfg!(feature = "kafka-tls").then_some(Mechanism::ScramSha256); // a build without refuses it
    for mechanism in [Mechanism::Plain].into_iter().chain(scram) {
        for password in ["secret", "wr0ng"] {
            let file = folder.path().join(password);
            std::fs::write(&file, password).unwrap();
            let sasl = Sasl { mechanism, username: "windlass".into(), password: Secret::File(file) };
            let config = KafkaConfig { brokers: address.into(), sasl: Some(sasl), ..config() };
            answers.push((mechanism, open(&config).create(Some(&[])).await));
        }
    }
    assert!(run(&["down", &at]));
    for both in answers.chunks(2) {
        assert!(both[0].1.is_ok(), "{:?}", both[0]);
        let wrong = both[1].1.as_ref().unwrap_err().to_string();
        assert!(wrong.contains("refuses the user or the password"), "{:?}: {wrong}", both[1].0);
        assert!(!wrong.contains("wr0ng"), "the password itself is told: {wrong}");
    }
}

fn letter(id: &str, reason: &str) -> Message {
    let document = format!(
        r#"{{"v":1,"id":"{id}","type":"t","reason":"{reason}","class":"{reason}","message":"it broke","attempts":3,"crashes":1,"history":[],"last_failure":"2026-01-01T00:00:00Z","replay":0,"generation":3}}"#
    );
    let mut message = Message { key: Some("k".into()), ..Message::of(format!(r#"{{"id":"{id}","type":"t"}}"#)) };
    message.headers.push(Header::new("x", &b"\xff"[..]));
    message.set_header("windlass-failure", document);
    message
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: ./test brings it"]
async fn dead_letters_on_kafka_are_browsed_without_end_replayed_once_and_never_come_back() {
    let config = config();
    let queue = open(&config);
    queue.create(Some(&[])).await.unwrap();
    let ids: Vec<String> = (0..12).map(|number| format!("job-{number:02}")).collect();
    for id in &ids {
        let message = letter(id, if id.ends_with('7') { "rejected" } else { "failed" });
        queue.dead_letters().send(Outgoing { message, ..Outgoing::default() }).await.unwrap();
    }
    let list = |queue: Arc<dyn Queue>, filter: &'static str, limit: usize| async move {
        let (filter, mut found, mut after) = (serde_json::from_str(filter).unwrap(), Vec::new(), None);
        loop {
            let page = queue.admin().unwrap().browse(&filter, &Cursor { after, limit }).await.unwrap();
            assert!(page.entries.len() <= limit);
            found.extend(page.entries.into_iter().map(|entry| entry.id.to_string()));
            after = page.next;
            if after.is_none() {
                found.sort();
                return found;
            }
        }
    };
    for look in 0..25 {
        assert_eq!(list(queue.clone(), r#"{"queue":"q","state":"dead"}"#, 1 + look).await, ids);
    }
    assert_eq!(list(queue.clone(), r#"{"reason":"rejected","type":"t*"}"#, 5).await, ["job-07"]);
    assert!(list(queue.clone(), r#"{"state":"waiting"}"#, 5).await.is_empty());
    let admin = queue.admin().unwrap();
    let discard = Action::Discard { by: "ann".into() };
    assert_eq!(admin.act("q", "job-03", &Action::Replay).await.unwrap(), Acted::Done);
    assert_eq!(admin.act("q", "job-07", &discard).await.unwrap(), Acted::Done);
    for id in ["job-03", "job-07", "unknown"] {
        assert_eq!(admin.act("q", id, &Action::Replay).await.unwrap(), Acted::NotFound, "{id}");
    }
    let left: Vec<String> = ids.into_iter().filter(|id| id != "job-03" && id != "job-07").collect();
    assert_eq!(list(open(&config), "{}", 100).await, left, "whoever looks");
    assert_eq!(admin.stats().await.unwrap()[0].dead, 10);
    let replayed = &admin.stats().await.unwrap()[0];
    let lag: Vec<(bool, u64)> = replayed.lag.iter().map(|part| (part.topic.ends_with(".retry"), part.lag)).collect();
    assert_eq!((replayed.waiting, replayed.consumers), (1, Some(0)), "nobody takes it yet");
    assert!(lag.contains(&(true, 1)) && lag.iter().map(|part| part.1).sum::<u64>() == 1, "{lag:?}");
    let age = Timestamp::now().duration_since(replayed.oldest.expect("one waits")).as_secs();
    assert!((0..600).contains(&age), "{age}");
    let mut source = source(&queue).await;
    let again = take(&mut source, Duration::from_secs(20)).await.remove(0);
    let life = life_of(&again.message).unwrap();
    assert_eq!((life.attempt, life.crashes, life.replay), (0, 0, 1));
    let mut message = again.message.clone();
    message.remove_header("windlass-job");
    let mut before = letter("job-03", "failed");
    before.remove_header("windlass-failure");
    assert_eq!(message, before);
    assert_eq!(ack(again).await, Settled::Done);
    assert!(take(&mut source, Duration::from_secs(1)).await.is_empty());
}

#[test]
fn what_a_build_without_openssl_cannot_do_for_kafka_is_refused_before_it_connects() {
    let config = KafkaConfig::at("127.0.0.1:9", "t");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p"), "x").unwrap();
    let sasl = |mechanism| Sasl { mechanism, username: "u".into(), password: Secret::File("p".into()) };
    let scram = Mechanism::ScramSha256;
    let tls = windlass::queues::kafka::config::Security::Tls;
    for config in [KafkaConfig { security: tls, ..config.clone() }, KafkaConfig { sasl: Some(sasl(scram)), ..config.clone() }] {
        let opened = windlass::queues::kafka::open("q", &config, folder.path());
        match cfg!(feature = "kafka-tls") {
            true => assert!(opened.is_ok()),
            false => assert!(opened.err().unwrap().contains("--features kafka-tls")),
        }
    }
}
