//! Queues on a server, and what every test does with them.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use jiff::Timestamp;
use windlass::job::decode::facets::sort;
use windlass::job::{Decoding, Message};
use windlass::ports::{Delivery, End, Ending, Outgoing, Queue, Room, Settled, Source};
use windlass::queues::sqs::SqsQueue;
use windlass::queues::sqs::config::{SqsConfig, Topology};

pub const ROOM: Room = Room { jobs: 100, bytes: 4 << 20, lease: Duration::from_secs(30) };
pub const LONG: Duration = Duration::from_secs(60);

/// Names that no other test has, at an address.
pub struct World {
    pub endpoint: String,
    prefix: String,
}

impl World {
    pub fn at(endpoint: &str) -> Self {
        World { endpoint: endpoint.into(), prefix: uuid::Uuid::now_v7().simple().to_string() }
    }

    pub fn config(&self, name: &str) -> SqsConfig {
        let config = SqsConfig::at(&self.endpoint, &format!("{}-{name}", self.prefix));
        SqsConfig { topology: Topology::Declare, region: Some("us-east-1".into()), ..config }
    }

    pub fn queue(&self, name: &str) -> Arc<dyn Queue> {
        open(&self.config(name))
    }

    /// A client that knows nothing of Windlass.
    pub fn client(&self) -> Client {
        let config = aws_sdk_sqs::Config::builder().behavior_version(BehaviorVersion::latest()).endpoint_url(&self.endpoint);
        let credentials = Credentials::new("test", "test", None, None, "test");
        Client::from_conf(config.region(Region::new("us-east-1")).credentials_provider(credentials).build())
    }

    pub async fn url(&self, name: &str) -> String {
        let name = format!("{}-{name}", self.prefix);
        self.client().get_queue_url().queue_name(name).send().await.unwrap().queue_url.unwrap()
    }
}

pub fn open(config: &SqsConfig) -> Arc<dyn Queue> {
    Arc::new(SqsQueue::new("q", config).unwrap())
}

pub async fn source_of(queue: &Arc<dyn Queue>) -> Box<dyn Source> {
    queue.source(sort(&Decoding::Envelope)).await.unwrap()
}

pub fn message(body: &str) -> Outgoing {
    Outgoing { message: Message::of(body.to_owned()), ..Outgoing::default() }
}

pub async fn one(source: &mut Box<dyn Source>) -> Delivery {
    within(source, LONG, ROOM.lease).await
}

/// The next delivery, under this lease.
pub async fn within(source: &mut Box<dyn Source>, patience: Duration, lease: Duration) -> Delivery {
    let next = async {
        loop {
            match source.next(Room { jobs: 1, lease, ..ROOM }).await {
                Ok(mut deliveries) => return deliveries.remove(0),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    tokio::time::timeout(patience, next).await.expect("nothing came")
}

pub async fn nothing_more(source: &mut Box<dyn Source>) {
    let more = tokio::time::timeout(Duration::from_secs(1), source.next(ROOM)).await;
    assert!(more.is_err(), "more came");
}

pub async fn ack(delivery: Delivery) -> Settled {
    let ending = Ending { end: End::Completed, event: None, at: Timestamp::now() };
    delivery.receipt.ack(ending).await.map_err(|unsettled| unsettled.error).unwrap()
}

/// A server that only this test uses.
pub struct Private {
    directory: tempfile::TempDir,
    pub endpoint: String,
}

impl Private {
    /// An ElasticMQ whose messages outlive it.
    pub fn up() -> Self {
        let directory = tempfile::tempdir().unwrap();
        script("up", directory.path(), &["--durable"]);
        let env = std::fs::read_to_string(directory.path().join("env")).unwrap();
        let endpoint = env.lines().find_map(|line| line.strip_prefix("ELASTICMQ=")).unwrap().to_owned();
        Private { directory, endpoint }
    }

    pub fn tell(&self, command: &str) {
        script(command, self.directory.path(), &[]);
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/elasticmq");
        let _gone_already = Command::new(path).arg("down").arg(self.directory.path()).output();
    }
}

fn script(command: &str, directory: &Path, arguments: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/elasticmq");
    let output = Command::new(path).arg(command).arg(directory).args(arguments).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}
