//! The queues of a config, opened: each kind by its own folder, files of the embedded queue once however many share them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{StartError, kinds};
use crate::admin::{Auditor, Desk, Place, System, WorkerFacts, connect, desk::PoolFacts};
use crate::batches::Batches;
use crate::batches::operator::Counted;
use crate::clock::Clock;
use crate::config::{self, Config, QueueKind, State};
use crate::engine::Shared;
use crate::engine::parking::NO_ROUTE;
use crate::engine::unique::Holders;
use crate::job::Decoding;
use crate::ports::{Admin, Queue, QueueError};
use crate::queues::embedded::{self, Store, StoreOptions};
use crate::queues::memory::Memory;
use crate::state::StateStore;
use crate::state::memory::MemoryState;
use crate::telemetry::Telemetry;

/// The most messages that a queue in memory holds.
const MEMORY: usize = 100_000;

/// How long a file that another command has open is waited for, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);

/// A queue of the config, ready to be taken from and sent to.
pub struct Opened {
    pub queue: Arc<dyn Queue>,
    pub decoding: Decoding,
    /// Where it is kept, and its name in there; none for kinds that operators cannot reach.
    place: Option<(Holder, String)>,
}

/// What holds a queue: a file that several share, by index into the stores, or a system of its own.
#[derive(Clone)]
enum Holder {
    Store(usize),
    Own(Arc<dyn Admin>),
}

/// Every queue of a config, and the files they lie in.
pub struct Systems {
    queues: BTreeMap<String, Opened>,
    stores: Vec<(PathBuf, Arc<Store>)>,
    /// What is remembered beyond one job, where the config has a place for it.
    pub state: Option<Arc<dyn StateStore>>,
    pub batches: Option<Arc<Batches>>,
    /// What operators do, counted: by index into the stores.
    counted: Vec<Arc<Counted>>,
}

impl Systems {
    /// Opens every queue; the files of the embedded kind are this process's own from now on.
    ///
    /// # Errors
    /// Which one cannot be opened, why, and what to do.
    pub fn open(config: &Config, base: &Path, clock: Clock) -> Result<Self, StartError> {
        let memory = Memory::new(clock, MEMORY);
        let mut systems =
            Systems { queues: BTreeMap::new(), stores: Vec::new(), state: None, batches: None, counted: Vec::new() };
        for (name, queue) in &config.queues {
            let decoding = queue.decode.decoding();
            let why = |why| StartError::Queue { name: name.to_owned(), why };
            let opened = match &queue.kind {
                QueueKind::Memory(_) => Opened { queue: Arc::new(memory.queue(name)), decoding, place: None },
                QueueKind::Embedded(embedded) => {
                    let index = systems.store(embedded, base).map_err(|error| refused(name, error))?;
                    let inner = embedded.queue.clone().unwrap_or_else(|| name.clone());
                    let queue = systems.stores[index].1.queue(name, &inner);
                    Opened { queue, decoding, place: Some((Holder::Store(index), inner)) }
                }
                kind => {
                    let queue = kinds::open(name, kind, base, &places(config))
                        .map_err(why)?
                        .ok_or_else(|| why(kinds::absent(kind.name())))?;
                    let place = queue.admin().map(|admin| (Holder::Own(admin), name.clone()));
                    Opened { queue, decoding, place }
                }
            };
            systems.queues.insert(name.clone(), opened);
        }
        systems.state = config.state.as_ref().map(|state| systems.state(state, base, clock)).transpose()?;
        Ok(systems)
    }

    fn state(&mut self, state: &State, base: &Path, clock: Clock) -> Result<Arc<dyn StateStore>, StartError> {
        let embedded = match state {
            State::Embedded(embedded) => embedded,
            State::Kafka(kafka) => return kinds::state(kafka, base).map_err(StartError::State),
            State::Memory(_) => return Ok(Arc::new(MemoryState::new(clock))),
        };
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

    /// Has the jobs of batches counted from now on, where that can be remembered.
    pub fn count_batches(&mut self, config: &Config, clock: Clock, telemetry: &Telemetry) {
        let Some(state) = self.state.clone() else { return };
        let batches = Arc::new(Batches::new(state, clock, telemetry.batches()));
        let pool_of = |queue: &String| config.pools.iter().find(|(_, pool)| pool.from.contains(queue)).map(|(name, _)| name);
        for (index, (path, store)) in self.stores.iter().enumerate() {
            let here = self.queues.iter().filter_map(|(name, opened)| {
                let Some((Holder::Store(system), inner)) = &opened.place else { return None };
                Some((inner.as_str().into(), pool_of(name).filter(|_| *system == index)?.as_str().into()))
            });
            // relative to the config, so that the file may be moved together with it
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            self.counted.push(Arc::new(Counted::new(store.clone(), batches.clone(), name.into(), here.collect())));
        }
        self.batches = Some(batches);
    }

    /// Sees to the counts that were under way when a process died, then publishes the events of batches until the stop.
    pub fn announce(&self, config: &Config, stop: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        let exit = |(name, pool): (&String, &config::Pool)| {
            let results = self.queues.get(pool.results.as_ref()?)?;
            Some((name.as_str().into(), results.queue.sink()))
        };
        let exits = config.pools.iter().filter_map(exit).collect();
        let (batches, counted) = (self.batches.clone(), self.counted.clone());
        async move {
            for counted in &counted {
                while let Err(error) = counted.recover().await {
                    tracing::warn!("the counts of batches wait: {error}; trying again");
                    if stop.run_until_cancelled(sleep(Duration::from_secs(1))).await.is_none() {
                        return;
                    }
                }
            }
            if let Some(batches) = batches {
                batches.announce(exits, stop).await;
            }
        }
    }

    /// Who holds which unique key; none where nothing is remembered.
    #[must_use]
    pub fn holders(&self) -> Option<Arc<Holders>> {
        let resident = |(name, opened): (&String, &Opened)| {
            let Some((Holder::Store(system), inner)) = &opened.place else { return None };
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
        let admin = |index: usize, store: &Arc<Store>| match self.counted.get(index) {
            Some(counted) => counted.clone() as Arc<dyn Admin>,
            None => store.clone(),
        };
        let stores = self.stores.iter().enumerate().map(|(index, (path, store))| System {
            name: path.display().to_string().into(),
            admin: admin(index, store),
            auditor: Some(auditor(store)),
        });
        let mut systems: Vec<System> = stores.collect();
        let taken = |name: &String| config.pools.values().any(|pool| pool.from.contains(name));
        let mut places = Vec::new();
        for (name, opened) in &self.queues {
            let Some((holder, inner)) = &opened.place else { continue };
            let system = match holder {
                Holder::Store(index) => *index,
                Holder::Own(admin) => {
                    systems.push(System { name: name.as_str().into(), admin: admin.clone(), auditor: None });
                    systems.len() - 1
                }
            };
            let (inner, decoding) = (inner.as_str().into(), opened.decoding.clone());
            places.push(Place { name: name.as_str().into(), system, inner, decoding, taken: taken(name) });
        }
        let limit = usize::try_from(config.worker.body_limit.0).unwrap_or(usize::MAX);
        let desk = Desk::new(systems, places, limit).with_batches(self.batches.clone());
        match worker {
            Some(shared) => desk.with_worker(facts(config, &shared), shared),
            None => desk,
        }
    }

    /// Every queue by the name of its block.
    pub fn queues(&self) -> impl Iterator<Item = (&String, &Arc<dyn Queue>)> {
        self.queues.iter().map(|(name, opened)| (name, &opened.queue))
    }

    /// The stores, for what must be looked up of them.
    pub fn stores(&self) -> impl Iterator<Item = &Arc<Store>> {
        self.stores.iter().map(|(_, store)| store)
    }

    /// Returns the reason once a file is of no use until it is opened again.
    pub async fn broken(&self) -> QueueError {
        if self.stores.is_empty() {
            return std::future::pending().await; // a selection of nothing is none
        }
        futures_util::future::select_all(self.stores.iter().map(|(_, store)| Box::pin(store.broken()))).await.0
    }

    /// Writes out what is open and lets the files go.
    pub async fn close(&self) {
        futures_util::future::join_all(self.queues.values().map(|opened| opened.queue.close())).await;
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

/// Where jobs may be parked beside a queue: every executor that a route names may be shut.
#[must_use]
pub fn places(config: &Config) -> Vec<Arc<str>> {
    let named: BTreeSet<&str> = config.routes.iter().map(|route| route.run.as_str()).chain([NO_ROUTE]).collect();
    named.into_iter().map(Into::into).collect()
}

/// What lies on a broker: a queue, or the place of the state store.
pub struct Remote {
    /// Its name in the config.
    pub name: String,
    /// Where it stands there.
    pub key: String,
    pub queue: Arc<dyn Queue>,
    /// Some pool takes from it.
    pub taken: bool,
}

/// What of a config lies on brokers, for what is done about it without a worker.
///
/// # Errors
/// What has a wrong block, or is of a kind that this build has not.
pub fn brokers(config: &Config, base: &Path) -> Result<Vec<Remote>, StartError> {
    let mut found = Vec::new();
    for (name, queue) in &config.queues {
        let opened =
            kinds::open(name, &queue.kind, base, &places(config)).map_err(|why| StartError::Queue { name: name.clone(), why })?;
        let taken = config.pools.values().any(|pool| pool.from.contains(name));
        found.extend(opened.map(|queue| Remote { name: name.clone(), key: format!("queues.{name}"), queue, taken }));
    }
    if let Some(State::Kafka(kafka)) = &config.state {
        let queue = kinds::state_topic(kafka, base).map_err(StartError::State)?;
        found.push(Remote { name: "state".into(), key: "state".into(), queue, taken: false });
    }
    Ok(found)
}
