//! How each kind is set up for the suite: fresh queues by name.

use std::sync::Arc;

use windlass::clock::Clock;
use windlass::ports::{Admin, Queue};
use windlass::queues::embedded::config::EmbeddedConfig;
use windlass::queues::embedded::{Store, StoreOptions};
use windlass::queues::memory::Memory;

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
