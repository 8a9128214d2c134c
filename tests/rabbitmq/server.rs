//! A private server, and queues on it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use windlass::job::decode::facets::sort;
use windlass::job::{Decoding, Message};
use windlass::ports::{Delivery, End, Ending, Outgoing, Queue, Room, Settled, Source};
use windlass::queues::rabbitmq::RabbitmqQueue;
use windlass::queues::rabbitmq::config::{RabbitmqConfig, Topology};

pub const ROOM: Room = Room { jobs: 100, bytes: 1 << 20, lease: Duration::from_secs(30) };
pub const LONG: Duration = Duration::from_secs(60);

/// One node that only this test uses.
pub struct Server {
    directory: tempfile::TempDir,
    pub url: String,
}

impl Server {
    pub fn up() -> Self {
        let directory = tempfile::tempdir().unwrap();
        script("up", directory.path(), &[]);
        let env = std::fs::read_to_string(directory.path().join("env")).unwrap();
        let url = env.lines().find_map(|line| line.strip_prefix("RABBITMQ=")).unwrap().to_owned();
        Server { directory, url }
    }

    pub fn tell(&self, command: &str) {
        script(command, self.directory.path(), &[]);
    }

    pub fn ctl(&self, arguments: &[&str]) {
        script("ctl", self.directory.path(), arguments);
    }

    /// As [`Server::ctl`]; what it prints.
    pub fn ask(&self, arguments: &[&str]) -> String {
        script("ctl", self.directory.path(), arguments)
    }

    pub fn config(&self, name: &str) -> RabbitmqConfig {
        RabbitmqConfig { topology: Topology::Declare, ..RabbitmqConfig::at(&self.url, name) }
    }

    pub fn queue(&self, name: &str) -> Arc<dyn Queue> {
        open(name, &self.config(name))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/rabbitmq");
        let _gone_already = Command::new(path).arg("down").arg(self.directory.path()).output();
    }
}

fn script(command: &str, directory: &Path, arguments: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/rabbitmq");
    let output = Command::new(path).arg(command).arg(directory).args(arguments).output().unwrap();
    assert!(output.status.success(), "{command} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn open(name: &str, config: &RabbitmqConfig) -> Arc<dyn Queue> {
    Arc::new(RabbitmqQueue::new(name, config, Path::new(".")).unwrap())
}

pub async fn source_of(queue: &Arc<dyn Queue>) -> Box<dyn Source> {
    queue.source(sort(&Decoding::Envelope)).await.unwrap()
}

pub fn message(body: &str) -> Outgoing {
    Outgoing { message: Message::of(body.to_owned()), ..Outgoing::default() }
}

/// The next delivery, through as many errors as come before it.
pub async fn one(source: &mut Box<dyn Source>) -> Delivery {
    let next = async {
        loop {
            match source.next(Room { jobs: 1, ..ROOM }).await {
                Ok(mut deliveries) => return deliveries.remove(0),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    tokio::time::timeout(LONG, next).await.expect("nothing came")
}

pub async fn ack(delivery: Delivery) -> Settled {
    let ending = Ending { end: End::Completed, event: None, at: Timestamp::now() };
    let acked = tokio::time::timeout(LONG, delivery.receipt.ack(ending)).await.expect("the acknowledgement does not pass");
    acked.map_err(|unsettled| unsettled.error).unwrap()
}

/// Sends until it is confirmed.
pub async fn sent(queue: &Arc<dyn Queue>, body: &str) {
    let mut last = None;
    let done = async {
        while let Err(error) = queue.sink().send(message(body)).await {
            last = Some(error);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let done = tokio::time::timeout(LONG, done).await;
    assert!(done.is_ok(), "never confirmed: {last:?}");
}
