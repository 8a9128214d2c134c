//! Who waits for whom, on the client's own imitation of a cluster, which can be made to answer late.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::Semaphore;
use windlass::clock::Clock;
use windlass::engine::budget::Budget;
use windlass::engine::exit::Exit;
use windlass::engine::{Engine, Shared};
use windlass::job::Message;
use windlass::ports::{Outgoing, Queue, QueueError, Sink};
use windlass::queues::kafka::config::KafkaConfig;
use windlass::retry::Policy;

use crate::support;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A cluster with the topics of one queue.
fn imitation() -> (Cluster, Arc<dyn Queue>) {
    let cluster = MockCluster::new(1).unwrap();
    let tiers = ["1s", "5s", "30s", "2m", "10m", "1h"].map(|tier| format!("windlass.delay.{tier}"));
    for topic in tiers.iter().map(String::as_str).chain(["jobs", "jobs.windlass.retry"]) {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let config = KafkaConfig::at(&cluster.bootstrap_servers(), "jobs");
    let queue = windlass::queues::kafka::open("jobs", &config, std::path::Path::new("")).unwrap();
    (cluster, queue)
}

fn job(id: &str) -> Outgoing {
    Outgoing { message: Message::of(format!(r#"{{"id":"{id}","type":"t"}}"#)), ..Outgoing::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_of_kafka_answers_once_the_cluster_has_confirmed_and_not_before() {
    let (cluster, queue) = imitation();
    let sink = queue.sink();
    sink.send(job("before")).await.unwrap(); // it is connected
    cluster.broker_down(1).unwrap();
    let mut sent = sink.send(job("meanwhile"));
    let early = tokio::time::timeout(Duration::from_secs(1), &mut sent).await;
    assert!(early.is_err(), "nobody has confirmed it, and the sink says {early:?}");
    cluster.broker_up(1).unwrap();
    sent.await.unwrap();
}

/// Confirms every event but that of the job `first`, which waits for the gate.
struct Gated(Semaphore);

#[async_trait]
impl Sink for Gated {
    fn address(&self) -> &str {
        "gated"
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), QueueError> {
        if outgoing.message.body.windows(17).any(|bytes| bytes == br#""subject":"first""#) {
            drop(self.0.acquire().await);
        }
        Ok(())
    }
}

/// What the group has heard of the topic: its low water, and what is remembered beside.
fn heard(cluster: &Cluster) -> (Offset, String) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "windlass");
    let client: BaseConsumer = config.create().unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition("jobs", 0);
    let answer = client.committed_offsets(asked, Duration::from_secs(10)).unwrap();
    let found = answer.elements_for_topic("jobs").pop().map(|at| (at.offset(), at.metadata().to_owned())).unwrap();
    drop(answer); // a list that outlives its client makes its end hang
    found
}

/// Asks the group until it has heard something like that.
async fn until(cluster: &Cluster, what: impl Fn(&Offset, &str) -> bool) -> (Offset, String) {
    let look = async {
        loop {
            let (offset, text) = heard(cluster);
            if what(&offset, &text) {
                return (offset, text);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), look).await.unwrap_or_else(|_| panic!("it has heard {:?}", heard(cluster)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_of_kafka_commits_no_job_before_its_exit_has_confirmed() {
    let (cluster, queue) = imitation();
    for id in ["first", "second"] {
        queue.sink().send(job(id)).await.unwrap();
    }
    let gated = Arc::new(Gated(Semaphore::new(0)));
    let shared = Arc::new(Shared::new("test", Clock::System, Budget::new(1 << 24)));
    let run = support::executor(|_, _| async { support::done() }.boxed());
    let mut pool = support::pool(&shared, std::slice::from_ref(&queue), 4, vec![support::route("t", run, Policy::default())]);
    pool.results = Some(Arc::new(Exit::new(gated.clone(), support::telemetry().pool("default").exit("results"))));
    let engine = Engine::start(shared, &[Arc::new(pool)]);
    // once it is known that the second job is finished: one is open, then one is finished
    let finished = |text: &str| text.split('.').nth(2).is_some_and(|runs| runs == "AQE");
    let (low, text) = until(&cluster, |low, text| *low == Offset::Offset(2) || finished(text)).await;
    assert_eq!(low, Offset::Offset(0), "the event of the first job is not confirmed: {text}");
    gated.0.add_permits(1);
    until(&cluster, |low, _| *low == Offset::Offset(2)).await;
    engine.stop(Duration::from_secs(5)).await;
    queue.close().await;
}
