//! The queues of a config, opened: each kind by its own folder, files of the embedded queue once however many share them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::StartError;
use crate::admin::{Auditor, Desk, Place, System, WorkerFacts, connect, desk::PoolFacts};
use crate::clock::Clock;
use crate::config::{Config, QueueKind, State};
use crate::engine::Shared;
use crate::engine::unique::Holders;
use crate::job::Decoding;
use crate::ports::{Admin, Queue};
use crate::queues::embedded::{self, Store, StoreOptions};
use crate::queues::memory::Memory;
use crate::state::StateStore;
use crate::state::memory::MemoryState;

/// The most messages that a queue in memory holds.
const MEMORY: usize = 100_000;

/// How long a file that another command has open is waited for, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);

/// A queue of the config, ready to be taken from and sent to.
pub struct Opened {
    pub queue: Arc<dyn Queue>,
    pub decoding: Decoding,
    /// Where it is kept, by index into the stores, and its name in there; none for kinds that operators cannot reach.
    place: Option<(usize, String)>,
}

/// Every queue of a config, and the files they lie in.
pub struct Systems {
    queues: BTreeMap<String, Opened>,
    stores: Vec<(PathBuf, Arc<Store>)>,
    /// What is remembered beyond one job, where the config has a place for it.
    pub state: Option<Arc<dyn StateStore>>,
}

impl Systems {
    /// Opens every queue; the files of the embedded kind are this process's own from now on.
    ///
    /// # Errors
    /// Which one cannot be opened, why, and what to do.
    pub fn open(config: &Config, base: &Path, clock: Clock) -> Result<Self, StartError> {
        let memory = Memory::new(clock, MEMORY);
        let mut systems = Systems { queues: BTreeMap::new(), stores: Vec::new(), state: None };
        for (name, queue) in &config.queues {
            let decoding = queue.decode.decoding();
            let opened = match &queue.kind {
                QueueKind::Memory(_) => Opened { queue: Arc::new(memory.queue(name)), decoding, place: None },
                QueueKind::Embedded(embedded) => {
                    let index = systems.store(embedded, base).map_err(|error| refused(name, error))?;
                    let inner = embedded.queue.clone().unwrap_or_else(|| name.clone());
                    let queue = systems.stores[index].1.queue(name, &inner);
                    Opened { queue, decoding, place: Some((index, inner)) }
                }
            };
            systems.queues.insert(name.clone(), opened);
        }
        systems.state = config.state.as_ref().map(|state| systems.state(state, base, clock)).transpose()?;
        Ok(systems)
    }

    fn state(&mut self, state: &State, base: &Path, clock: Clock) -> Result<Arc<dyn StateStore>, StartError> {
        let State::Embedded(embedded) = state else { return Ok(Arc::new(MemoryState::new(clock))) };
        let config = embedded::config::EmbeddedConfig { path: embedded.path.clone(), ..Default::default() };
        let index = self.store(&config, base).map_err(|error| match error {
            embedded::OpenError::Owned { .. } => owned("state", error),
            error => StartError::State(error.to_string()),
        })?;
        Ok(self.stores[index].1.clone())
    }

    /// As [`Systems::open`]; a command that has a file open for a moment is waited for, a worker is not.
    ///
    /// # Errors
    /// As [`Systems::open`].
    pub async fn open_soon(config: &Config, base: &Path, clock: Clock) -> Result<Self, StartError> {
        let start = Instant::now();
        loop {
            match Systems::open(config, base, clock) {
                Err(StartError::Owned { socket, .. }) if start.elapsed() < PATIENCE && connect(&socket).await.is_err() => {
                    sleep(LOOK).await;
                }
                opened => return opened,
            }
        }
    }

    fn store(&mut self, config: &embedded::config::EmbeddedConfig, base: &Path) -> Result<usize, embedded::OpenError> {
        let path = base.join(&config.path);
        if let Some(known) = self.stores.iter().position(|(other, _)| *other == path) {
            return Ok(known);
        }
        let config = embedded::config::EmbeddedConfig { path: path.clone(), ..config.clone() };
        let store = Store::open(StoreOptions::from(&config))?;
        self.stores.push((path, store));
        Ok(self.stores.len() - 1)
    }

    /// # Errors
    /// When the config has no such queue.
    pub fn get(&self, name: &str) -> Result<&Opened, StartError> {
        let missing = || StartError::Queue { name: name.to_owned(), why: "named, but not in the config".into() };
        self.queues.get(name).ok_or_else(missing)
    }

    /// Who holds which unique key; none where nothing is remembered.
    #[must_use]
    pub fn holders(&self) -> Option<Arc<Holders>> {
        let resident = |(name, opened): (&String, &Opened)| {
            let (system, inner) = opened.place.as_ref()?;
            let admin: Arc<dyn Admin> = self.stores[*system].1.clone();
            Some((name.as_str().into(), (admin, inner.as_str().into())))
        };
        let residents = self.queues.iter().filter_map(resident).collect();
        self.state.clone().map(|state| Arc::new(Holders { state, residents }))
    }

    /// The sockets through which other processes act while this one lives.
    pub fn sockets(&self) -> impl Iterator<Item = PathBuf> {
        self.stores.iter().map(|(path, _)| embedded::socket_path(path))
    }

    /// The queues as the API works on them.
    #[must_use]
    pub fn desk(&self, config: &Config, worker: Option<Arc<Shared>>) -> Desk {
        let systems = self.stores.iter().map(|(path, store)| System {
            name: path.display().to_string().into(),
            admin: store.clone(),
            auditor: Some(auditor(store)),
        });
        let taken = |name: &String| config.pools.values().any(|pool| pool.from.contains(name));
        let places = self.queues.iter().filter_map(|(name, opened)| {
            let (system, inner) = opened.place.as_ref()?;
            let (system, inner) = (*system, inner.as_str().into());
            Some(Place { name: name.as_str().into(), system, inner, decoding: opened.decoding.clone(), taken: taken(name) })
        });
        let limit = usize::try_from(config.worker.body_limit.0).unwrap_or(usize::MAX);
        let desk = Desk::new(systems.collect(), places.collect(), limit);
        match worker {
            Some(shared) => desk.with_worker(facts(config, &shared), shared),
            None => desk,
        }
    }

    /// The stores, for what must be looked up of them.
    pub fn stores(&self) -> impl Iterator<Item = &Arc<Store>> {
        self.stores.iter().map(|(_, store)| store)
    }

    /// Writes out what is open and lets the files go.
    pub async fn close(&self) {
        for (_, store) in &self.stores {
            store.close().await;
        }
    }
}

fn refused(name: &str, error: embedded::OpenError) -> StartError {
    match error {
        embedded::OpenError::Owned { .. } => owned(&format!("queues.{name}"), error),
        error => StartError::Queue { name: name.to_owned(), why: error.to_string() },
    }
}

fn owned(key: &str, error: embedded::OpenError) -> StartError {
    let (key, why) = (key.to_owned(), error.to_string());
    match error {
        embedded::OpenError::Owned { socket, .. } => StartError::Owned { key, why, socket },
        _ => StartError::Other(format!("{key}: {why}")),
    }
}

fn auditor(store: &Arc<Store>) -> Auditor {
    let store = store.clone();
    Arc::new(move || {
        let store = store.clone();
        Box::pin(async move {
            let audit = store.audit().await.map_err(|error| error.to_string())?;
            serde_json::to_value(audit).map_err(|error| error.to_string())
        })
    })
}

fn facts(config: &Config, shared: &Shared) -> WorkerFacts {
    let pools = config.pools.iter().map(|(name, pool)| PoolFacts {
        name: name.as_str().into(),
        from: pool.from.iter().map(|queue| queue.as_str().into()).collect(),
        slots: pool.slots,
    });
    WorkerFacts {
        name: shared.worker.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        started: shared.clock.now(),
        pools: pools.collect(),
    }
}
