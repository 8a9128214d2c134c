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
    _directory: Option<tempfile::TempDir>,
}

impl Kind {
    pub fn queue(&self, name: &str) -> Arc<dyn Queue> {
        (self.open)(name)
    }

    /// What operators act through, of a kind that says `operated`.
    pub fn admin(&self) -> &dyn Admin {
        &**self.admin.as_ref().expect("operators reach this kind")
    }
}

pub fn memory() -> Kind {
    let memory = Memory::new(Clock::System, 100_000);
    Kind { open: Box::new(move |name| Arc::new(memory.queue(name))), admin: None, _directory: None }
}

pub fn embedded() -> Kind {
    let directory = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { path: directory.path().join("windlass.db"), ..EmbeddedConfig::default() };
    let store = Store::open(StoreOptions::from(&config)).unwrap();
    let admin = Some(store.clone() as Arc<dyn Admin>);
    Kind { open: Box::new(move |name| store.queue(name, name)), admin, _directory: Some(directory) }
}

/// The address of a server that `./test` has brought.
#[cfg(feature = "rabbitmq")]
fn server(name: &str) -> String {
    let variable = format!("WINDLASS_TEST_{name}");
    std::env::var(&variable).unwrap_or_else(|_| panic!("{variable} is not set: ./test brings a server, ./dev up too"))
}

#[cfg(feature = "rabbitmq")]
fn rabbit(single: bool) -> Kind {
    let (url, prefix) = (server("RABBITMQ"), uuid::Uuid::now_v7());
    let open = move |name: &str| {
        let mut config = config::RabbitmqConfig::at(&url, &format!("{prefix}.{name}"));
        config.topology = config::Topology::Declare;
        config.single_active_consumer = single && !name.ends_with(".dead");
        Arc::new(RabbitmqQueue::new(name, &config, std::path::Path::new(".")).unwrap()) as Arc<dyn Queue>
    };
    Kind { open: Box::new(open), admin: None, _directory: None }
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
