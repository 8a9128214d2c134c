//! The whole path: submit, decode, route, a no-op executor under its time limit, metrics, a result row, a durable ack.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use windlass::clock::Clock;
use windlass::engine::breaker::Settings;
use windlass::engine::budget::Budget;
use windlass::engine::exit::Exit;
use windlass::engine::guard::Guard;
use windlass::engine::limits::Limit;
use windlass::engine::parking::Parking;
use windlass::engine::pool::{Feed, InWindow, Pool, Unrouted};
use windlass::engine::routes::{Route, Routes};
use windlass::engine::turns::Rules;
use windlass::engine::window::{Window, WindowOptions};
use windlass::engine::{Engine, Shared};
use windlass::job::{Decoding, Job, Message};
use windlass::outcome::{Outcome, Output};
use windlass::ports::{Context, Executor, Outgoing, Queue};
use windlass::queues::embedded::{EmbeddedConfig, Store, StoreOptions};
use windlass::retry::Policy;
use windlass::routing::RouteTable;
use windlass::telemetry::Telemetry;

use crate::measure::{Counter, Load, Rate, runtime};

/// Does nothing, within the limits that every run has, and counts.
struct Noop(Arc<Counter>);

#[async_trait]
impl Executor for Noop {
    async fn execute(&self, _: &Job, context: &Context) -> Outcome {
        let output = context.limit(async { Output::Json(Bytes::from_static(b"null")) }).await;
        self.0.finished();
        output.map_or_else(|_| Outcome::Done(Output::Nothing), Outcome::Done)
    }

    async fn stop(&self, _: Duration) {}
}

/// A job whose data is `filling`; `more` are keys of its envelope.
fn body(id: &str, more: &str, filling: &str) -> String {
    [r#"{"id":""#, id, r#"","type":"bench.noop","#, more, r#""data":""#, filling, r#""}"#].concat()
}

/// No order and no limits.
pub fn free() -> Rules {
    let none = Limit::default();
    Rules { route: "bench.*".into(), weight: 1, ordered: false, limit: none, per_tenant: none, per_key: none, guard: None }
}

/// A pool on one queue with one route, `bench.*`.
pub fn pool(shared: &Arc<Shared>, queue: Arc<dyn Queue>, executor: Arc<dyn Executor>, slots: usize, rules: Rules) -> Pool {
    let telemetry = Telemetry::install().expect("metrics");
    let metrics = telemetry.pool("default");
    let feed = Feed {
        screen: windlass::engine::screen::Screen::default(),
        name: queue.name().into(),
        decoding: Decoding::Envelope,
        again: Arc::new(Exit::new(queue.sink(), metrics.exit("again"))),
        dead_letters: Arc::new(Exit::new(queue.dead_letters(), metrics.exit("dead"))),
        metrics: metrics.source(queue.name()),
        state: std::sync::Mutex::default(),
        waiting: InWindow::default(),
        chooses: queue.capabilities().chooses,
        beside: None,
        queue,
    };
    let guard = Some(Guard::new("noop", Some(Settings::default()), shared.clock, telemetry.guard("noop")));
    let route = Route {
        name: "bench.*".into(),
        executor,
        executor_name: "noop".into(),
        policy: Policy::default(),
        rules: Arc::new(Rules { guard, ..rules }),
        order_hold: None,
        unique: None,
        then: None,
        results: None,
        dead_letters: None,
        metrics: telemetry.route("default", "bench.*", "noop"),
    };
    let table = RouteTable::new([("bench.*", None)]).expect("one route");
    Pool {
        name: "default".into(),
        shared: shared.clone(),
        feeds: vec![Arc::new(feed)],
        routes: Arc::new(arc_swap::ArcSwap::from_pointee(Routes::new(table, vec![Arc::new(route)]))),
        results: None,
        dead_letters: None,
        window: Arc::new(Window::new(WindowOptions::new(slots))),
        unrouted: Unrouted { policy: Policy::default(), metrics: telemetry.route("default", "none", "none") },
        metrics,
        parking: Parking::default(),
        reloaded: tokio::sync::Notify::new(),
    }
}

/// What the jobs of a round are like and by which rules they run.
pub struct Shape {
    pub rules: fn() -> Rules,
    /// Keys of the envelope of a job, by its number.
    pub more: fn(u64) -> String,
}

/// One round in a new file.
pub fn run(load: &Load, shape: &Shape) -> Rate {
    let scratch = load.scratch();
    let config = EmbeddedConfig { path: scratch.path().join("windlass.db"), ..EmbeddedConfig::default() };
    let store = Store::open(StoreOptions::from(&config)).expect("a new file");
    runtime().block_on(async {
        let rate = work(load, shape, &store).await;
        store.close().await;
        rate
    })
}

/// As many producers as slots, each waiting for the disk before its next job.
async fn work(load: &Load, shape: &Shape, store: &Arc<Store>) -> Rate {
    let queue = store.queue("bench", "bench");
    let counter = Counter::new(load);
    let shared = Arc::new(Shared::new("bench", Clock::System, Budget::new(256 << 20)));
    let pool = pool(&shared, queue.clone(), Arc::new(Noop(counter.clone())), load.tasks, (shape.rules)());
    let engine = Engine::start(shared.clone(), &[Arc::new(pool)]);
    let numbers = Arc::new(AtomicU64::new(0));
    let run = uuid::Uuid::now_v7();
    let id = move |number: u64| format!("{run}-{number:010}");
    let filling: Arc<str> = "x".repeat(load.body.saturating_sub(body(&id(0), &(shape.more)(0), "").len())).into();
    let produce = || {
        let (sink, counter, numbers, more, filling) =
            (queue.sink(), counter.clone(), numbers.clone(), shape.more, filling.clone());
        tokio::spawn(async move {
            while !counter.is_over() {
                counter.next().await;
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let id = id(number);
                let message = Message::of(body(&id, &more(number), &filling));
                sink.send(Outgoing { message, id: Some(id.into()), ..Outgoing::default() }).await.expect("room on the disk");
            }
        })
    };
    let producers: Vec<_> = (0..load.tasks).map(|_| produce()).collect();
    let rate = counter.measure(load.length).await;
    futures_util::future::join_all(producers).await;
    engine.stop(Duration::from_secs(60)).await;
    rate
}
