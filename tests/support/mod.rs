//! A pool on one queue with an executor that is a closure: the engine without the world.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use windlass::engine::Shared;
use windlass::engine::exit::Exit;
use windlass::engine::limits::Limit;
use windlass::engine::parking::Parking;
use windlass::engine::pool::{Feed, InWindow, Pool, Unrouted};
use windlass::engine::routes::{Route, Routes};
use windlass::engine::screen::Screen;
use windlass::engine::turns::Rules;
use windlass::engine::window::{Window, WindowOptions};
use windlass::job::{Decoding, Job};
use windlass::outcome::{Failure, Outcome, Output};
use windlass::ports::{Context, Executor, Queue, Stopped};
use windlass::retry::Policy;
use windlass::routing::RouteTable;
use windlass::telemetry::Telemetry;

type Run = Box<dyn for<'a> Fn(&'a Job, &'a Context) -> BoxFuture<'a, Outcome> + Send + Sync>;

/// An executor that runs a closure under the context's limits.
pub struct Closure(Run);

#[async_trait]
impl Executor for Closure {
    async fn execute(&self, job: &Job, context: &Context) -> Outcome {
        match context.limit((self.0)(job, context)).await {
            Ok(outcome) => outcome,
            Err(Stopped::TimedOut(after)) => Failure::new(windlass::outcome::Class::Timeout, format!("after {after:?}")).into(),
            Err(Stopped::Expired) => Failure::new(windlass::outcome::Class::Expired, "while it ran").into(),
            Err(Stopped::Cancelled) => Outcome::Interrupted(windlass::outcome::Interruption::Stopping),
        }
    }

    async fn stop(&self, _: Duration) {}
}

pub fn executor(
    run: impl for<'a> Fn(&'a Job, &'a Context) -> BoxFuture<'a, Outcome> + Send + Sync + 'static,
) -> Arc<dyn Executor> {
    Arc::new(Closure(Box::new(run)))
}

pub fn done() -> Outcome {
    Outcome::Done(Output::Json("\"done\"".into()))
}

pub fn route(kind: &str, executor: Arc<dyn Executor>, policy: Policy) -> Arc<Route> {
    Arc::new(plain_route(kind, executor, policy))
}

pub fn plain_route(kind: &str, executor: Arc<dyn Executor>, policy: Policy) -> Route {
    let metrics = telemetry().route("default", kind, "closure");
    Route {
        name: kind.into(),
        executor,
        executor_name: "closure".into(),
        policy,
        rules: Arc::new(rules(kind)),
        order_hold: Some(Duration::from_secs(900)),
        unique: None,
        then: None,
        results: None,
        dead_letters: None,
        metrics,
    }
}

/// No order and no limits.
pub fn rules(route: &str) -> Rules {
    let none = Limit::default();
    Rules { route: route.into(), weight: 1, ordered: false, limit: none, per_tenant: none, per_key: none, guard: None }
}

pub fn telemetry() -> Telemetry {
    Telemetry::install().unwrap()
}

/// A pool on one queue, its results kept by nobody.
pub fn pool(shared: &Arc<Shared>, from: &[Arc<dyn Queue>], slots: usize, list: Vec<Arc<Route>>) -> Pool {
    let metrics = telemetry().pool("default");
    let feed = |queue: &Arc<dyn Queue>| {
        Arc::new(Feed {
            name: queue.name().into(),
            queue: queue.clone(),
            decoding: Decoding::Envelope,
            screen: Screen::default(),
            again: Arc::new(Exit::new(queue.sink(), metrics.exit(queue.name()))),
            dead_letters: Arc::new(Exit::new(queue.dead_letters(), metrics.exit("dead"))),
            metrics: metrics.source(queue.name()),
            state: std::sync::Mutex::default(),
            waiting: InWindow::default(),
            chooses: queue.capabilities().chooses,
            beside: None,
        })
    };
    Pool {
        name: "default".into(),
        shared: shared.clone(),
        feeds: from.iter().map(feed).collect(),
        routes: Arc::new(ArcSwap::from_pointee(routes(list))),
        results: None,
        dead_letters: None,
        window: Arc::new(Window::new(WindowOptions::new(slots))),
        unrouted: Unrouted { policy: Policy::default(), metrics: telemetry().route("default", "none", "none") },
        metrics,
        parking: Parking::default(),
        reloaded: tokio::sync::Notify::new(),
    }
}

pub fn routes(list: Vec<Arc<Route>>) -> Routes {
    let table = RouteTable::new(list.iter().map(|route| (&*route.name, None))).expect("two routes take the same jobs");
    Routes::new(table, list)
}
