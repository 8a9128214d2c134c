//! The parts of a worker as its config asks for them: executors, exits, routes, pools.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::StartError;
use super::queues::Systems;
use crate::config::order::{Unkept, unkept};
use crate::config::{self, Config};
use crate::engine::Shared;
use crate::engine::exit::Exit;
use crate::engine::guard::Guard;
use crate::engine::parking::Parking;
use crate::engine::pool::{Feed, InWindow, Pool, Unrouted};
use crate::engine::routes::{Route, Routes};
use crate::engine::screen::Screen;
use crate::engine::then::Then;
use crate::engine::unique::Unique;
use crate::engine::window::Window;
use crate::expression::{Expression, Scope, Wrong};
use crate::ports::{Executor, Order};
use crate::telemetry::{PoolMetrics, Telemetry};

/// By the names of the config.
pub type Executors = BTreeMap<String, Arc<dyn Executor>>;

/// Builds every executor; none starts a process yet.
///
/// # Errors
/// Which one cannot be built, and why.
pub fn executors(config: &Config, base: &Path) -> Result<Executors, StartError> {
    config.executors.iter().map(|(name, block)| Ok((name.clone(), executor(name, block, base)?))).collect()
}

/// Builds one executor.
///
/// # Errors
/// Why it cannot be built.
pub fn executor(name: &str, block: &config::Executor, base: &Path) -> Result<Arc<dyn Executor>, StartError> {
    super::kinds::executor(name, &block.kind, base).map_err(|why| StartError::Executor { name: name.to_owned(), why })
}

/// Starts what executors can start before the first job; what cannot start says so when a job needs it.
pub async fn warm(executors: impl Iterator<Item = (&String, &Arc<dyn Executor>)>) {
    let warm = executors.map(async |(name, executor)| {
        if let Err(why) = executor.warm().await {
            tracing::error!(executor = %name, "cannot start: {why}; its jobs will wait");
        }
    });
    futures_util::future::join_all(warm).await;
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
    guards(config, shared, telemetry);
    let bench = Bench { config, shared, systems, executors, telemetry };
    config.pools.iter().map(|(name, pool)| bench.pool(name, pool, shared.clone()).map(Arc::new)).collect()
}

/// Puts a guard before every executor; one whose breaker is as it was keeps its own.
pub(super) fn guards(config: &Config, shared: &Shared, telemetry: &Telemetry) {
    let guards = config.executors.iter().map(|(name, executor)| (name.as_str().into(), executor.breaker.settings()));
    shared.guards.set(guards, |name, settings| Guard::new(name, settings, shared.clock, telemetry.guard(name)));
}

/// What pools are built from.
pub(super) struct Bench<'a> {
    pub config: &'a Config,
    pub shared: &'a Arc<Shared>,
    pub systems: &'a Systems,
    pub executors: &'a Executors,
    pub telemetry: &'a Telemetry,
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
            routes: Arc::new(ArcSwap::from_pointee(self.routes(name, pool, &metrics)?)),
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
            screen: self.screen(name)?,
            again: Arc::new(Exit::new(opened.queue.sink(), metrics.exit(name))),
            dead_letters: Arc::new(Exit::new(dead.clone(), metrics.exit(dead.address()))),
            metrics: metrics.source(name),
            state: Mutex::default(),
            waiting: InWindow::default(),
            beside: None,
            chooses: opened.queue.capabilities().chooses,
        }))
    }

    fn screen(&self, queue: &str) -> Result<Screen, StartError> {
        let wrong = |wrong: Wrong| StartError::Queue { name: queue.to_owned(), why: format!("where: {}", wrong.message) };
        self.config.queues.get(queue).map_or(Ok(Screen::default()), |block| block.screen().map_err(wrong))
    }

    fn exit(&self, queue: Option<&str>, metrics: &PoolMetrics) -> Result<Option<Arc<Exit>>, StartError> {
        let build = |name: &str| Ok(Arc::new(Exit::new(self.systems.get(name)?.queue.sink(), metrics.exit(name))));
        queue.map(build).transpose()
    }

    /// The routes of a pool.
    pub fn routes(&self, name: &str, pool: &config::Pool, metrics: &PoolMetrics) -> Result<Routes, StartError> {
        in_order(self.config, |queue| Some(self.systems.get(queue).ok()?.queue.capabilities().order))?;
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
            unique: self.unique(route)?,
            then: self.then(route, metrics)?,
            results: self.exit(route.results.as_deref(), metrics)?,
            dead_letters: self.exit(route.dead_letters.as_deref(), metrics)?,
            metrics: self.telemetry.route(name, &route.name(), &route.run),
        })
    }

    fn unique(&self, route: &config::Route) -> Result<Option<Unique>, StartError> {
        let (Some(unique), Some(holders)) = (&route.unique, self.systems.holders()) else { return Ok(None) };
        let key = Expression::compile(&unique.key, Scope::Job).map_err(|wrong| misread(route, "unique.key", &wrong))?;
        Ok(Some(Unique { key, span: unique.span.0, holders }))
    }

    fn then(&self, route: &config::Route, metrics: &PoolMetrics) -> Result<Option<Then>, StartError> {
        let Some(then) = &route.then else { return Ok(None) };
        let key = then.key.as_ref().map(|key| Expression::compile(key, Scope::Result)).transpose();
        Ok(Some(Then {
            kind: then.kind.as_str().into(),
            exit: self.exit(then.queue.as_deref(), metrics)?,
            key: key.map_err(|wrong| misread(route, "then.key", &wrong))?,
        }))
    }
}

/// As `check`, of queues that have been opened: only these know for sure how far they keep order.
fn in_order(config: &Config, order: impl Fn(&str) -> Option<Order>) -> Result<(), StartError> {
    let refused = |unkept: Unkept| {
        let Unkept { route, message, fix } = unkept;
        StartError::Other(format!("routes[{route}].order_by: {message}; {fix}"))
    };
    unkept(config, order).into_iter().next().map_or(Ok(()), |unkept| Err(refused(unkept)))
}

fn misread(route: &config::Route, key: &str, wrong: &Wrong) -> StartError {
    StartError::Other(format!("the route {}: {key}: {}", route.name(), wrong.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_does_not_start_on_a_queue_that_turns_out_to_keep_less_order_than_is_asked() {
        let routes = serde_json::json!({ "routes": [{ "type": "t", "run": "x", "order_by": "key" }] });
        let config = Config { pools: Config::default().pools, ..serde_json::from_value(routes).unwrap() };
        assert!(in_order(&config, |_| Some(Order::Key)).is_ok());
        let refused = in_order(&config, |_| Some(Order::Worker)).unwrap_err().to_string();
        assert!(refused.starts_with("routes[0].order_by: the queue \"jobs\" keeps"), "{refused}");
        assert!(refused.ends_with("from a queue that keeps order"), "{refused}");
    }
}
