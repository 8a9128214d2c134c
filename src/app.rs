//! From a config to running pools, and down again: the only module that knows every other.

mod kinds;
pub mod parts;
mod progress;
mod queues;
pub mod reload;
mod schedules;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Access, Desk};
use crate::clock::Clock;
use crate::config::{Config, Loaded, State};
use crate::engine::budget::Budget;
use crate::engine::guards::Guards;
use crate::engine::{Engine, Shared};
use crate::ports::QueueStats;
use crate::telemetry::{Telemetry, probes};
use progress::Watch;
pub use queues::{Opened, Remote, Systems, brokers, places};
use reload::Reloader;
pub use schedules::schedules;

/// How often queue depths are looked up for `/health`, and histograms folded.
const UPKEEP: Duration = Duration::from_secs(1);

/// Why a worker does not start. Each is a sentence for whoever started it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("queues.{name}: {why}")]
    Queue { name: String, why: String },
    /// Another process has its file open.
    #[error("{key}: {why}")]
    Owned { key: String, why: String, socket: PathBuf },
    #[error("state: {0}")]
    State(String),
    #[error("executors.{name}: {why}")]
    Executor { name: String, why: String },
    #[error("{0}")]
    Other(String),
}

/// A worker process: its pools, what they stand on, and what it listens on.
pub struct App {
    pub shared: Arc<Shared>,
    pub desk: Arc<Desk>,
    pub reloader: Arc<Reloader>,
    pub systems: Arc<Systems>,
    /// What it listens on: where the config leaves the port to the system (0), the one that it got.
    pub api: Option<SocketAddr>,
    pub probes: Option<SocketAddr>,
    engine: Engine,
    listeners: JoinSet<()>,
    closing: CancellationToken,
    grace: Duration,
}

impl App {
    /// Opens the queues, builds the executors, binds what is to be listened on, and only then takes the first job.
    ///
    /// # Errors
    /// What cannot be opened, built or bound.
    pub async fn start(loaded: &Loaded) -> Result<Self, StartError> {
        let config = &loaded.config;
        let telemetry = Telemetry::install().map_err(StartError::Other)?;
        let mut shared = shared(config, &telemetry);
        let mut systems = Systems::open_soon(config, &loaded.source.base, shared.clock).await?;
        systems.count_batches(config, shared.clock, &telemetry);
        shared.batches = systems.batches.clone();
        shared.guards = guards(config, &systems).await?;
        let (shared, systems) = (Arc::new(shared), Arc::new(systems));
        let executors = parts::executors(config, &loaded.source.base)?;
        let pools = parts::pools(config, &shared, &systems, &executors, &telemetry)?;
        let reloader = Arc::new(Reloader::new(loaded, systems.clone(), pools.clone(), executors.clone(), &telemetry));
        let schedules = schedules::schedules(config, &systems, shared.clock, &telemetry)?;
        let desk = systems.desk(config, Some(shared.clone())).with_reload(on_reload(&reloader));
        let desk = Arc::new(desk.with_schedules(schedules.clone()));
        let watch = Arc::new(Watch::new(shared.clone(), &pools, &desk, &telemetry));
        let closing = desk.closing.clone();
        let (mut listeners, api) = listen(config, loaded, &desk, &systems, &closing).await?;
        let probes = serve_probes(config, telemetry.clone(), watch.clone(), &closing, &mut listeners).await?;
        listeners.spawn(upkeep(telemetry, watch, closing.clone()));
        parts::warm(executors.iter()).await;
        drop(executors);
        let grace = config.worker.grace.0;
        let engine = Engine::start(shared.clone(), &pools);
        listeners.spawn(systems.announce(config, closing.clone()));
        if let Some(schedules) = schedules {
            listeners.spawn(schedules.run(shared.stop.clone()));
        }
        Ok(App { shared, desk, reloader, systems, api, probes, engine, listeners, closing, grace })
    }

    /// Returns the reason once this process cannot go on, though another may.
    pub async fn broken(&self) -> String {
        self.systems.broken().await.to_string()
    }

    /// Stops in two stages, then closes what it stood on; answers the last counts of its queues. [`Shared::abandon`] cuts
    /// the first stage short.
    pub async fn stop(self) -> Vec<QueueStats> {
        let App { engine, reloader, desk, mut listeners, systems, closing, grace, .. } = self;
        engine.stop(grace).await;
        let queues = desk.stats().await.queues;
        let executors = reloader.executors().await;
        let stops = executors.iter().map(|executor| executor.stop(reload::STOP));
        futures_util::future::join_all(stops).await;
        closing.cancel();
        while listeners.join_next().await.is_some() {}
        systems.close().await;
        queues
    }
}

fn shared(config: &Config, telemetry: &Telemetry) -> Shared {
    let bytes = usize::try_from(config.worker.budget().0).unwrap_or(usize::MAX);
    let mut shared = Shared::new(&config.worker.name(), Clock::System, Budget::new(bytes));
    #[expect(clippy::cast_precision_loss, reason = "a gauge need not tell single bytes of petabytes")]
    telemetry.delivery_bytes_limit.set(bytes as f64);
    shared.body_limit = usize::try_from(config.worker.body_limit.0).unwrap_or(usize::MAX);
    shared.lease = config.worker.lease.0;
    shared
}

/// No executor yet; what operators hold open is known before the first job is taken.
async fn guards(config: &Config, systems: &Systems) -> Result<Guards, StartError> {
    let durable = config.state.as_ref().is_some_and(State::is_durable);
    let Some(state) = systems.state.clone().filter(|_| durable) else { return Ok(Guards::default()) };
    Guards::remembering(state).await.map_err(|error| StartError::State(error.to_string()))
}

/// The API on TCP, and on a socket beside each file of the embedded queue.
async fn listen(
    config: &Config,
    loaded: &Loaded,
    desk: &Arc<Desk>,
    systems: &Systems,
    closing: &CancellationToken,
) -> Result<(JoinSet<()>, Option<SocketAddr>), StartError> {
    let (mut listeners, mut api) = (JoinSet::new(), None);
    for path in systems.sockets() {
        let socket = admin::bind_socket(&path).map_err(|error| StartError::Other(error.to_string()))?;
        listeners.spawn(admin::serve_socket(socket, admin::router(desk.clone(), Access::Trusted), closing.clone()));
    }
    if let Some(address) = config.api.listen {
        let token = config.api.token.as_ref().map(|secret| secret.read(&loaded.source.base)).transpose();
        let token = token.map_err(|why| StartError::Other(format!("api.token: {why}")))?;
        let access = token.map_or(Access::Loopback, |token| Access::token(&token));
        let bound = admin::bind_tcp(address.0, &access).await;
        let listener = bound.map_err(|error| StartError::Other(error.to_string()))?;
        api = listener.local_addr().ok();
        listeners.spawn(admin::serve_tcp(listener, admin::router(desk.clone(), access), closing.clone()));
    }
    Ok((listeners, api))
}

async fn serve_probes(
    config: &Config,
    telemetry: Telemetry,
    watch: Arc<Watch>,
    closing: &CancellationToken,
    listeners: &mut JoinSet<()>,
) -> Result<Option<SocketAddr>, StartError> {
    let Some(address) = config.telemetry.listen else { return Ok(None) };
    let listener = tokio::net::TcpListener::bind(address.0).await.map_err(|error| {
        StartError::Other(format!("telemetry.listen: cannot listen on {address}: {error}; choose another port, or null"))
    })?;
    let (router, bound) = (probes::router(telemetry, watch), listener.local_addr().ok());
    listeners.spawn(admin::serve_tcp(listener, router, closing.clone()));
    Ok(bound)
}

/// What the API does when it is asked to reload.
fn on_reload(reloader: &Arc<Reloader>) -> admin::desk::Reload {
    let reloader = reloader.clone();
    Arc::new(move || {
        let reloader = reloader.clone();
        Box::pin(async move {
            let reloaded = reloader.reload().await.map_err(|why| why.to_string())?;
            serde_json::to_value(reloaded).map_err(|error| error.to_string())
        })
    })
}

async fn upkeep(telemetry: Telemetry, watch: Arc<Watch>, closing: CancellationToken) {
    let mut tick = tokio::time::interval(UPKEEP);
    while closing.run_until_cancelled(tick.tick()).await.is_some() {
        telemetry.upkeep();
        probes::Progress::refresh(&*watch).await;
    }
}
