//! A pool on queues in memory with an executor that is a closure: the engine without the world.
#![expect(dead_code, reason = "each test crate uses its part")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use windlass::clock::Clock;
use windlass::engine::budget::Budget;
use windlass::engine::exit::Exit;
use windlass::engine::pool::{Feed, Pool, Slots, Unrouted};
use windlass::engine::routes::{Route, Routes};
use windlass::engine::{Engine, Shared};
use windlass::job::{Decoding, Job, Message};
use windlass::outcome::{Failure, Outcome, Output};
use windlass::ports::{Context, Executor, Outgoing, Queue, Sink, Stopped};
use windlass::queues::memory::{Memory, MemoryQueue};
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
    let metrics = telemetry().route("default", kind, "closure");
    Arc::new(Route {
        name: kind.into(),
        executor,
        executor_name: "closure".into(),
        policy,
        results: None,
        dead_letters: None,
        metrics,
    })
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
            again: Arc::new(Exit::new(queue.sink(), metrics.exit(queue.name()))),
            dead_letters: Arc::new(Exit::new(queue.dead_letters(), metrics.exit("dead"))),
            metrics: metrics.source(queue.name()),
            state: std::sync::Mutex::default(),
        })
    };
    Pool {
        name: "default".into(),
        shared: shared.clone(),
        feeds: from.iter().map(feed).collect(),
        routes: routes(list),
        results: None,
        dead_letters: None,
        slots: Slots::new(slots),
        unrouted: Unrouted { policy: Policy::default(), metrics: telemetry().route("default", "none", "none") },
        metrics,
    }
}

pub fn routes(list: Vec<Arc<Route>>) -> Routes {
    let table = RouteTable::new(list.iter().map(|route| (&*route.name, None))).expect("two routes take the same jobs");
    Routes::new(table, list)
}

/// One pool on the queue `jobs`, results to `results`, on Tokio's time.
pub struct World {
    pub memory: Arc<Memory>,
    pub shared: Arc<Shared>,
    pub slots: usize,
    pub routes: Vec<Arc<Route>>,
    pub from: Vec<Arc<dyn Queue>>,
    pub results: Option<Arc<dyn Sink>>,
}

impl World {
    pub fn new(routes: Vec<Arc<Route>>) -> Self {
        let clock = Clock::tokio();
        let memory = Memory::new(clock, 1_000_000);
        World {
            shared: Arc::new(Shared::new("test", clock, Budget::new(64 << 20))),
            slots: 8,
            routes,
            from: vec![Arc::new(memory.queue("jobs"))],
            results: Some(memory.queue("results").sink()),
            memory,
        }
    }

    pub fn start(&self) -> Engine {
        let mut pool = pool(&self.shared, &self.from, self.slots, self.routes.clone());
        pool.results = self.results.as_ref().map(|sink| Arc::new(Exit::new(sink.clone(), pool.metrics.exit("results"))));
        Engine::start(self.shared.clone(), &[Arc::new(pool)])
    }

    pub fn queue(&self, name: &str) -> MemoryQueue {
        self.memory.queue(name)
    }

    pub async fn send(&self, queue: &str, body: &str) {
        self.send_message(queue, Message::of(body.to_owned())).await;
    }

    pub async fn send_message(&self, queue: &str, message: Message) {
        let outgoing = Outgoing { message, ..Outgoing::default() };
        self.memory.queue(queue).send(outgoing).await.unwrap();
    }

    /// Waits until a queue holds this many messages; Tokio's paused time passes by itself.
    pub async fn holds(&self, queue: &str, count: usize) {
        let queue = self.memory.queue(queue);
        let patience = Duration::from_secs(40 * 24 * 3600);
        let reached = async {
            let mut pause = Duration::from_millis(5);
            while queue.len() != count {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(60));
            }
        };
        let waited = tokio::time::timeout(patience, reached).await;
        assert!(waited.is_ok(), "{} messages instead of {count}", queue.len());
    }

    /// The bodies in a queue, as JSON.
    pub fn bodies(&self, queue: &str) -> Vec<serde_json::Value> {
        self.memory.queue(queue).messages().iter().map(|message| serde_json::from_slice(&message.body).unwrap()).collect()
    }

    /// The failure documents in the dead letters of `jobs`.
    pub fn failures(&self) -> Vec<serde_json::Value> {
        let dead = self.memory.queue("jobs.dead").messages();
        dead.iter().map(|message| serde_json::from_slice(message.header("windlass-failure").unwrap()).unwrap()).collect()
    }
}
