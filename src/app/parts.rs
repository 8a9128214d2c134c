//! The parts of a worker as its config asks for them: executors, exits, routes, pools.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::StartError;
use super::queues::Systems;
use crate::config::executor::ExecutorKind;
use crate::config::{self, Config};
use crate::engine::Shared;
use crate::engine::exit::Exit;
use crate::engine::guard::Guard;
use crate::engine::parking::Parking;
use crate::engine::pool::{Feed, InWindow, Pool, Unrouted};
use crate::engine::routes::{Route, Routes};
use crate::engine::window::Window;
use crate::executors::command::CommandExecutor;
use crate::executors::python::PythonExecutor;
use crate::ports::Executor;
use crate::telemetry::{PoolMetrics, Telemetry};

/// By the names of the config.
pub type Executors = BTreeMap<String, Arc<dyn Executor>>;

/// Builds every executor; none starts a process yet.
///
/// # Errors
/// Which one cannot be built, and why.
pub fn executors(config: &Config, base: &Path) -> Result<Executors, StartError> {
    let build = |(name, executor): (&String, &config::Executor)| {
        let built: Result<Arc<dyn Executor>, String> = match &executor.kind {
            ExecutorKind::Command(command) => CommandExecutor::new(name, command.clone(), base).map(|built| built as _),
            ExecutorKind::Python(python) => PythonExecutor::new(name, python.clone(), base).map(|built| built as _),
        };
        built.map(|built| (name.clone(), built)).map_err(|why| StartError::Executor { name: name.clone(), why })
    };
    config.executors.iter().map(build).collect()
}

/// Puts the pools together.
///
/// # Errors
/// What the config names and does not have; `check` has found it before.
pub fn pools(
    config: &Config,
    shared: &Arc<Shared>,
    systems: &Systems,
    executors: &Executors,
    telemetry: &Telemetry,
) -> Result<Vec<Arc<Pool>>, StartError> {
    let guards = config.executors.iter().map(|(name, executor)| (name.as_str().into(), executor.breaker.settings()));
    shared.guards.set(guards, |name, settings| Guard::new(name, settings, shared.clock, telemetry.guard(name)));
    let bench = Bench { config, shared, systems, executors, telemetry };
    config.pools.iter().map(|(name, pool)| bench.pool(name, pool, shared.clone()).map(Arc::new)).collect()
}

/// What pools are built from.
struct Bench<'a> {
    config: &'a Config,
    shared: &'a Arc<Shared>,
    systems: &'a Systems,
    executors: &'a Executors,
    telemetry: &'a Telemetry,
}

impl Bench<'_> {
    fn pool(&self, name: &str, pool: &config::Pool, shared: Arc<Shared>) -> Result<Pool, StartError> {
        let metrics = self.telemetry.pool(name);
        #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 slots")]
        metrics.slots.set(pool.slots as f64);

        Ok(Pool {
            name: name.into(),
            shared,
            feeds: pool.from.iter().map(|queue| self.feed(queue, &metrics)).collect::<Result<_, _>>()?,
            routes: ArcSwap::from_pointee(self.routes(name, pool, &metrics)?),
            results: self.exit(pool.results.as_deref(), &metrics)?,
            dead_letters: self.exit(pool.dead_letters.as_deref(), &metrics)?,
            window: Arc::new(Window::new(pool.window())),
            parking: Parking::default(),
            reloaded: Notify::new(),
            unrouted: Unrouted { policy: pool.unrouted(), metrics: self.telemetry.route(name, "none", "none") },
            metrics,
        })
    }

    fn feed(&self, name: &str, metrics: &PoolMetrics) -> Result<Arc<Feed>, StartError> {
        let opened = self.systems.get(name)?;
        let dead = opened.queue.dead_letters();
        Ok(Arc::new(Feed {
            name: opened.queue.name().into(),
            queue: opened.queue.clone(),
            decoding: opened.decoding.clone(),
            again: Arc::new(Exit::new(opened.queue.sink(), metrics.exit(name))),
            dead_letters: Arc::new(Exit::new(dead.clone(), metrics.exit(dead.address()))),
            metrics: metrics.source(name),
            state: Mutex::default(),
            waiting: InWindow::default(),
            beside: None,
            chooses: opened.queue.capabilities().chooses,
        }))
    }

    fn exit(&self, queue: Option<&str>, metrics: &PoolMetrics) -> Result<Option<Arc<Exit>>, StartError> {
        let build = |name: &str| Ok(Arc::new(Exit::new(self.systems.get(name)?.queue.sink(), metrics.exit(name))));
        queue.map(build).transpose()
    }

    fn routes(&self, name: &str, pool: &config::Pool, metrics: &PoolMetrics) -> Result<Routes, StartError> {
        let table = self.config.route_table().map_err(|_| StartError::Other("two routes take the same jobs".into()))?;
        let routes = self.config.routes.iter().map(|route| self.route(name, pool, route, metrics).map(Arc::new));
        Ok(Routes::new(table, routes.collect::<Result<_, _>>()?))
    }

    fn route(&self, name: &str, pool: &config::Pool, route: &config::Route, metrics: &PoolMetrics) -> Result<Route, StartError> {
        let executor = self.executors.get(&route.run);
        let missing =
            || StartError::Executor { name: route.run.clone(), why: format!("missing, but {:?} runs on it", route.kind) };
        Ok(Route {
            name: route.name().into(),
            executor: executor.cloned().ok_or_else(missing)?,
            executor_name: route.run.as_str().into(),
            policy: route.policy(pool),
            rules: Arc::new(route.rules(self.shared.guards.get(&route.run))),
            order_hold: route.order_hold.longest(),
            results: self.exit(route.results.as_deref(), metrics)?,
            dead_letters: self.exit(route.dead_letters.as_deref(), metrics)?,
            metrics: self.telemetry.route(name, &route.name(), &route.run),
        })
    }
}
