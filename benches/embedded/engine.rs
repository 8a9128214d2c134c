//! The whole path: submit, decode, route, a no-op executor under its time limit, metrics, a result row, a durable ack.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Notify;
use windlass::clock::Clock;
use windlass::engine::budget::Budget;
use windlass::engine::exit::Exit;
use windlass::engine::pool::{Feed, Pool, Slots, Unrouted};
use windlass::engine::routes::{Route, Routes};
use windlass::engine::{Engine, Shared};
use windlass::job::{Decoding, Job, Message};
use windlass::outcome::{Outcome, Output};
use windlass::ports::{Context, Executor, Outgoing, Queue};
use windlass::queues::embedded::config::EmbeddedConfig;
use windlass::queues::embedded::{Store, StoreOptions};
use windlass::retry::Policy;
use windlass::routing::RouteTable;
use windlass::telemetry::Telemetry;

/// Does nothing, within the limits that every run has; tells when the last job has run.
struct Noop {
    left: AtomicU64,
    last: Notify,
}

#[async_trait]
impl Executor for Noop {
    async fn execute(&self, _: &Job, context: &Context) -> Outcome {
        let output = context.limit(async { Output::Json("null".into()) }).await;
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.last.notify_one();
        }
        output.map_or_else(|_| Outcome::Done(Output::Nothing), Outcome::Done)
    }

    async fn stop(&self, _: Duration) {}
}

/// A job of about `size` bytes.
pub fn body(number: u64, size: usize) -> String {
    let start = format!(r#"{{"id":"{number:020}","type":"bench.noop","data":""#);
    let filling = "x".repeat(size.saturating_sub(start.len() + 2));
    format!("{start}{filling}\"}}")
}

fn pool(shared: &Arc<Shared>, queue: Arc<dyn Queue>, executor: Arc<dyn Executor>, slots: usize) -> Pool {
    let telemetry = Telemetry::install().expect("metrics");
    let metrics = telemetry.pool("default");
    let feed = Feed {
        name: queue.name().into(),
        decoding: Decoding::Envelope,
        again: Arc::new(Exit::new(queue.sink(), metrics.exit("again"))),
        dead_letters: Arc::new(Exit::new(queue.dead_letters(), metrics.exit("dead"))),
        metrics: metrics.source(queue.name()),
        state: std::sync::Mutex::default(),
        queue,
    };
    let route = Route {
        name: "bench.*".into(),
        executor,
        executor_name: "noop".into(),
        policy: Policy::default(),
        results: None,
        dead_letters: None,
        metrics: telemetry.route("default", "bench.*", "noop"),
    };
    let table = RouteTable::new([("bench.*", None)]).expect("one route");
    Pool {
        name: "default".into(),
        shared: shared.clone(),
        feeds: vec![Arc::new(feed)],
        routes: Routes::new(table, vec![Arc::new(route)]),
        results: None,
        dead_letters: None,
        slots: Slots::new(slots),
        unrouted: Unrouted { policy: Policy::default(), metrics: telemetry.route("default", "none", "none") },
        metrics,
    }
}

/// Submits `jobs` of `size` bytes from `in_flight` tasks, each waiting for the disk, and runs them in as many slots;
/// `backlog` of them are there before the clock starts. Answers jobs per second.
pub async fn run(directory: &Path, jobs: u64, backlog: u64, in_flight: usize, size: usize) -> f64 {
    let config = EmbeddedConfig { path: directory.join("engine.db"), ..EmbeddedConfig::default() };
    let store = Store::open(StoreOptions::from(&config)).expect("a store");
    let queue = store.queue("jobs", "jobs");
    let sent = Arc::new(AtomicU64::new(0));
    submit(&queue, &sent, backlog, in_flight, size).await;
    let executor = Arc::new(Noop { left: AtomicU64::new(jobs), last: Notify::new() });
    let shared = Arc::new(Shared::new("bench", Clock::System, Budget::new(256 << 20)));
    let start = Instant::now();
    let engine = Engine::start(shared.clone(), &[Arc::new(pool(&shared, queue.clone(), executor.clone(), in_flight))]);
    submit(&queue, &sent, jobs, in_flight, size).await;
    executor.last.notified().await;
    engine.stop(Duration::from_secs(60)).await; // waits until the last one is settled
    let took = start.elapsed();
    store.close().await;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = jobs as f64 / took.as_secs_f64();
    rate
}

async fn submit(queue: &Arc<dyn Queue>, sent: &Arc<AtomicU64>, until: u64, in_flight: usize, size: usize) {
    let tasks = (0..in_flight).map(|_| {
        let (sink, sent) = (queue.sink(), sent.clone());
        tokio::spawn(async move {
            loop {
                let number = sent.fetch_add(1, Ordering::Relaxed);
                if number >= until {
                    sent.fetch_sub(1, Ordering::Relaxed);
                    return;
                }
                let id = Some(format!("{number:020}").into());
                let message = Message::of(body(number, size));
                sink.send(Outgoing { message, id, ..Outgoing::default() }).await.expect("sent");
            }
        })
    });
    futures_util::future::join_all(tasks.collect::<Vec<_>>()).await;
}
