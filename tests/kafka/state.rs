//! A state store in a topic: several who write at once, and one who comes when the beginning is gone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use windlass::queues::kafka::config::KafkaStateConfig;
use windlass::queues::kafka::{TopicStore, state_topic};
use windlass::state::{Change, Held, StateStore, When};

use crate::server::server;

fn config() -> KafkaStateConfig {
    let topic = format!("s{}", uuid::Uuid::now_v7().simple());
    KafkaStateConfig { topic, ..KafkaStateConfig::at(&server("kafka")) }
}

fn open(config: &KafkaStateConfig) -> Arc<dyn StateStore> {
    Arc::new(TopicStore::open(config, Path::new("")).unwrap())
}

async fn number(store: &Arc<dyn StateStore>, key: &Arc<str>) -> (Option<Held>, u32) {
    let held = store.get(key).await.unwrap();
    let number = held.as_ref().map_or(0, |held| std::str::from_utf8(&held.value).unwrap().parse().unwrap());
    (held, number)
}

async fn add(store: &Arc<dyn StateStore>, key: &Arc<str>) {
    loop {
        let (held, number) = number(store, key).await;
        let put = Change::put(key, When::unchanged(held.as_ref()), (number + 1).to_string());
        if store.change(vec![put]).await.unwrap() {
            return;
        }
    }
}

/// The offset of the first record that is left.
fn start(config: &KafkaStateConfig) -> i64 {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    client.fetch_watermarks(&config.topic, 0, Duration::from_secs(10)).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: ./test brings it"]
async fn three_who_write_to_one_topic_of_kafka_agree_and_who_comes_after_a_snapshot_knows_the_same() {
    let config = config();
    state_topic(&config, Path::new("")).unwrap().create(None).await.unwrap();
    let stores: Vec<_> = (0..3).map(|_| open(&config)).collect();
    let count: Arc<str> = "count".into();
    futures_util::future::join_all(stores.iter().map(async |store| {
        for _ in 0..20 {
            add(store, &count).await;
        }
    }))
    .await;
    for (turn, store) in stores.iter().enumerate() {
        add(store, &count).await;
        let other = &stores[(turn + 1) % 3];
        assert_eq!(number(other, &count).await.1, 61 + turn as u32, "what was answered is seen by whoever asks next");
    }
    // so much that it is replaced by a snapshot, while others go on
    let large = "x".repeat(64 << 10);
    let keys: Vec<Arc<str>> = (0..240).map(|number| format!("large/{}", number % 40).into()).collect();
    for (turn, some) in keys.chunks(24).enumerate() {
        let puts = some.iter().map(|key| stores[turn % 3].change(vec![Change::put(key, When::Always, large.clone())]));
        assert!(futures_util::future::try_join_all(puts).await.unwrap().into_iter().all(|accepted| accepted));
        add(&stores[turn % 3], &count).await;
    }
    let trimmed = async {
        while start(&config) == 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), trimmed).await.expect("the records are never replaced by a snapshot");
    let late = open(&config);
    assert_eq!(late.scan("", None, 999).await.unwrap(), stores[0].scan("", None, 999).await.unwrap());
    let (held, known) = number(&late, &count).await;
    assert_eq!(known, 73);
    let stale = Change::put(&count, When::Version(held.unwrap().version - 1), "0");
    assert!(!late.change(vec![stale]).await.unwrap());
    add(&late, &count).await;
    assert_eq!(number(&stores[1], &count).await.1, 74);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: ./test brings it"]
async fn a_state_store_on_kafka_without_its_topic_says_what_to_do() {
    let why = open(&config()).get(&"a".into()).await.unwrap_err().to_string();
    assert!(why.contains("there is no topic") && why.contains("windlass queues create"), "{why}");
    let nowhere = KafkaStateConfig { brokers: "127.0.0.1:9".into(), ..config() };
    let why = open(&nowhere).get(&"a".into()).await.unwrap_err().to_string();
    assert!(why.contains("127.0.0.1:9"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: ./test brings it"]
async fn a_transaction_of_somebody_else_in_the_topic_does_not_stop_the_store() {
    let config = config();
    state_topic(&config, Path::new("")).unwrap().create(None).await.unwrap();
    let (store, count): (_, Arc<str>) = (open(&config), "count".into());
    add(&store, &count).await;
    let mut options = ClientConfig::new();
    options.set("bootstrap.servers", &config.brokers).set("transactional.id", &config.topic);
    let foreign: BaseProducer = options.create().unwrap();
    let patience = Duration::from_secs(20);
    foreign.init_transactions(patience).unwrap();
    foreign.begin_transaction().unwrap();
    foreign.send(BaseRecord::<str, str>::to(&config.topic).payload("not ours")).unwrap();
    foreign.commit_transaction(patience).unwrap();
    let put = |key| Change::put(key, When::Always, "5");
    assert!(store.change(vec![put(&count)]).await.unwrap(), "its end has an offset and is no record");
    add(&store, &count).await;
    assert_eq!(number(&open(&config), &count).await.1, 6);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: ./test brings it"]
async fn a_topic_whose_first_records_somebody_removed_is_not_understood_and_what_to_do_is_said() {
    let config = config();
    state_topic(&config, Path::new("")).unwrap().create(None).await.unwrap();
    let (store, count): (_, Arc<str>) = (open(&config), "count".into());
    add(&store, &count).await;
    add(&store, &count).await;
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&config.topic, 0, Offset::Offset(1)).unwrap();
    admin.delete_records(&list, &AdminOptions::new()).await.unwrap();
    let why = open(&config).get(&count).await.unwrap_err().to_string();
    assert!(why.contains("begins at offset 1 and holds no whole snapshot"), "{why}");
    add(&store, &count).await; // whoever has read them goes on
}
