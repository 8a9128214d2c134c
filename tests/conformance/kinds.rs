//! How each kind is set up for the suite: fresh queues by name.

use std::sync::Arc;

use windlass::clock::Clock;
use windlass::ports::{Admin, Queue};
use windlass::queues::embedded::config::EmbeddedConfig;
use windlass::queues::embedded::{Store, StoreOptions};
use windlass::queues::memory::Memory;
#[cfg(feature = "rabbitmq")]
use windlass::queues::rabbitmq::{RabbitmqQueue, config};

type Open = dyn Fn(&str) -> Arc<dyn Queue> + Send + Sync;

/// One system of a kind, with nothing in it.
pub struct Kind {
    open: Box<Open>,
    admin: Option<Arc<dyn Admin>>,
    /// How the system calls a queue, where it is not by its name here.
    address: Box<dyn Fn(&str) -> String + Send + Sync>,
    /// What is sent comes in one order; else only what has one key does.
    pub in_turn: bool,
    _directory: Option<tempfile::TempDir>,
}

impl Kind {
    pub fn queue(&self, name: &str) -> Arc<dyn Queue> {
        (self.open)(name)
    }

    /// What its deliveries say they come from.
    pub fn address(&self, name: &str) -> String {
        (self.address)(name)
    }

    /// What operators act through, of a kind that says `operated`.
    pub fn admin(&self) -> &dyn Admin {
        &**self.admin.as_ref().expect("operators reach this kind")
    }
}

impl Kind {
    /// What operators see the dead letters of a queue through.
    pub fn desk(&self, queue: &Arc<dyn Queue>) -> Arc<dyn Admin> {
        queue.admin().or_else(|| self.admin.clone()).expect("operators see the dead letters of this kind")
    }
}

pub fn memory() -> Kind {
    let memory = Memory::new(Clock::System, 100_000);
    Kind {
        open: Box::new(move |name| Arc::new(memory.queue(name))),
        admin: None,
        address: Box::new(str::to_owned),
        in_turn: true,
        _directory: None,
    }
}

pub fn embedded() -> Kind {
    let directory = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { path: directory.path().join("windlass.db"), ..EmbeddedConfig::default() };
    let store = Store::open(StoreOptions::from(&config)).unwrap();
    let admin = Some(store.clone() as Arc<dyn Admin>);
    Kind {
        open: Box::new(move |name| store.queue(name, name)),
        admin,
        address: Box::new(str::to_owned),
        in_turn: true,
        _directory: Some(directory),
    }
}

/// Waits for what a queue of a broker needs, within a test.
#[cfg(feature = "kafka")]
fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(work))
}

/// A state store in a topic of its own.
#[cfg(feature = "kafka")]
pub fn kafka_state() -> Arc<dyn windlass::state::StateStore> {
    use windlass::queues::kafka::{TopicStore, config::KafkaStateConfig, state_topic};

    let topic = format!("s{}", uuid::Uuid::now_v7().simple());
    let config = KafkaStateConfig { topic, ..KafkaStateConfig::at(&crate::server::server("kafka")) };
    wait(state_topic(&config, std::path::Path::new("")).unwrap().create(None)).unwrap();
    Arc::new(TopicStore::open(&config, std::path::Path::new("")).unwrap())
}

/// Topics of their own for each test, each of one partition: what is sent is in one order.
#[cfg(feature = "kafka")]
pub fn kafka() -> Kind {
    use windlass::queues::kafka::config::{Create, KafkaConfig};

    let brokers = crate::server::server("kafka");
    let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
    let start = prefix.clone();
    let topic = move |name: &str| match name.strip_suffix(".dead") {
        Some(home) => format!("{start}-{home}.{start}-{home}.dead"),
        None => format!("{start}-{name}"),
    };
    let address = topic.clone();
    let queues = std::sync::Mutex::new(std::collections::HashMap::<String, Arc<dyn Queue>>::new());
    let open = move |name: &str| {
        let mut queues = queues.lock().unwrap();
        if let Some(queue) = queues.get(name) {
            return queue.clone();
        }
        let config = KafkaConfig {
            delays: format!("{prefix}.delay"),
            group: topic(name), // members of one group wait for each other
            create: Create { partitions: 1, ..Create::default() },
            ..KafkaConfig::at(&brokers, &topic(name))
        };
        let queue = windlass::queues::kafka::open(name, &config, std::path::Path::new("")).unwrap();
        wait(queue.create(Some(&["shut".into()]))).unwrap();
        queues.insert(name.to_owned(), queue.clone());
        queue
    };
    Kind { open: Box::new(open), admin: None, address: Box::new(address), in_turn: true, _directory: None }
}

#[cfg(feature = "rabbitmq")]
fn rabbit(single: bool) -> Kind {
    let (url, prefix) = (crate::server::server("rabbitmq"), uuid::Uuid::now_v7());
    let open = move |name: &str| {
        let mut config = config::RabbitmqConfig::at(&url, &format!("{prefix}.{name}"));
        config.topology = config::Topology::Declare;
        config.single_active_consumer = single && !name.ends_with(".dead");
        Arc::new(RabbitmqQueue::new(name, &config, std::path::Path::new(".")).unwrap()) as Arc<dyn Queue>
    };
    let address = move |name: &str| format!("{prefix}.{name}");
    Kind { open: Box::new(open), admin: None, address: Box::new(address), in_turn: true, _directory: None }
}

#[cfg(feature = "rabbitmq")]
pub fn rabbitmq() -> Kind {
    rabbit(false)
}

/// One consumer at a time, so that order holds between workers.
#[cfg(feature = "rabbitmq")]
pub fn rabbitmq_single() -> Kind {
    rabbit(true)
}

/// Queues of SQS, as another server plays it: standard or FIFO.
#[cfg(feature = "sqs")]
fn sqs(server: &str, ending: &'static str) -> Kind {
    use windlass::queues::sqs::{SqsQueue, config};

    let (endpoint, prefix) = (crate::server::server(server), uuid::Uuid::now_v7().simple().to_string());
    let called = move |name: &str| match name.strip_suffix(".dead") {
        Some(home) => format!("{prefix}-{home}-dead{ending}"),
        None => format!("{prefix}-{name}{ending}"),
    };
    let address = called.clone();
    let open = move |name: &str| {
        let mut config = config::SqsConfig::at(&endpoint, &called(name));
        config.topology = config::Topology::Declare;
        Arc::new(SqsQueue::new(name, &config).unwrap()) as Arc<dyn Queue>
    };
    let in_turn = ending.is_empty();
    Kind { open: Box::new(open), admin: None, address: Box::new(address), in_turn, _directory: None }
}

#[cfg(feature = "sqs")]
pub fn elasticmq() -> Kind {
    sqs("elasticmq", "")
}

#[cfg(feature = "sqs")]
pub fn elasticmq_fifo() -> Kind {
    sqs("elasticmq", ".fifo")
}

#[cfg(feature = "sqs")]
pub fn localstack() -> Kind {
    sqs("localstack", "")
}

#[cfg(feature = "sqs")]
pub fn localstack_fifo() -> Kind {
    sqs("localstack", ".fifo")
}
