//! What memory parked jobs take: many beside a shut executor, while another one's jobs go on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use windlass::clock::Clock;
use windlass::engine::breaker::Settings;
use windlass::engine::budget::Budget;
use windlass::engine::guard::{Guard, Hold};
use windlass::engine::pool::Pool;
use windlass::engine::routes::{Route, Routes};
use windlass::engine::turns::Rules;
use windlass::engine::{Engine, Shared};
use windlass::job::{DEFAULT_PRIORITY, Job, Message};
use windlass::outcome::{Outcome, Output};
use windlass::ports::{Admin as _, Context, Executor, NewJob};
use windlass::queues::embedded::{EmbeddedConfig, Store, StoreOptions};
use windlass::retry::Policy;
use windlass::routing::RouteTable;
use windlass::telemetry::Telemetry;

use crate::engine::{free, pool};
use crate::measure::{Load, number, runtime};

const SLOTS: usize = 64;
const CHUNK: usize = 1000;

struct Nothing;

#[async_trait]
impl Executor for Nothing {
    async fn execute(&self, _: &Job, _: &Context) -> Outcome {
        Outcome::Done(Output::Nothing)
    }

    async fn stop(&self, _: Duration) {}
}

pub fn run(load: &Load) {
    let most = number("WINDLASS_BENCH_PARKED", 1_000_000);
    println!("parked: jobs of {} bytes beside a shut executor, embedded", load.body);
    let mut before: Option<(usize, f64)> = None;
    for count in [most / 100, most / 4, most] {
        // the peak starts anew
        std::fs::write("/proc/self/clear_refs", "5").expect("a process may forget its peak");
        runtime().block_on(park(load, count));
        let peak = peak();
        let each = before.map_or(0.0, |(fewer, less)| (peak - less) * 1e6 / (count - fewer) as f64);
        println!("  {count:>9} parked: VmHWM {peak:>6.0} MB, {each:>5.0} bytes for each more");
        before = Some((count, peak));
    }
}

/// Of the resident memory, in MB.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process may see itself");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of KiB");
    kib * 1024.0 / 1e6
}

async fn park(load: &Load, count: usize) {
    let scratch = load.scratch();
    let config = EmbeddedConfig { path: scratch.path().join("windlass.db"), ..EmbeddedConfig::default() };
    let store = Store::open(StoreOptions::from(&config)).expect("a new file");
    let shared = Arc::new(Shared::new("bench", Clock::System, Budget::new(256 << 20)));
    let mut pool = pool(&shared, store.queue("bench", "bench"), Arc::new(Nothing), SLOTS, free());
    let guard = beside(&mut pool, &shared);
    let engine = Engine::start(shared.clone(), &[Arc::new(pool)]);
    // one that runs, so that the place has been taken from before it is shut
    submit(&store, load.body, 0, 1).await;
    reach(&store, |queue| queue.completed == Some(1)).await;
    guard.hold(&Hold { by: "bench".into(), since: jiff::Timestamp::now() });
    for start in (1..=count).step_by(CHUNK) {
        submit(&store, load.body, start, CHUNK.min(count + 1 - start)).await;
    }
    reach(&store, |queue| queue.parked == count as u64).await;
    engine.stop(Duration::ZERO).await;
    store.close().await;
}

/// A second route, whose executor is never shut: without it nothing would be moved.
fn beside(pool: &mut Pool, shared: &Arc<Shared>) -> Arc<Guard> {
    let telemetry = Telemetry::install().expect("metrics");
    let guard = |name: &str| Guard::new(name, Some(Settings::default()), shared.clock, telemetry.guard(name));
    let (shut, open) = (guard("shut"), guard("open"));
    let route = |name: &str, guard: &Arc<Guard>| {
        Arc::new(Route {
            name: name.into(),
            executor: Arc::new(Nothing),
            executor_name: guard.name.clone(),
            policy: Policy::default(),
            rules: Arc::new(Rules { route: name.into(), guard: Some(guard.clone()), ..free() }),
            order_hold: None,
            unique: None,
            then: None,
            results: None,
            dead_letters: None,
            metrics: telemetry.route("default", name, &guard.name),
        })
    };
    let table = RouteTable::new([("shut", None), ("open", None)]).expect("two routes");
    pool.routes = Arc::new(arc_swap::ArcSwap::from_pointee(Routes::new(table, vec![route("shut", &shut), route("open", &open)])));
    shut
}

async fn submit(store: &Arc<Store>, size: usize, first: usize, count: usize) {
    let job = |number: usize| {
        let id = format!("job-{number}");
        let filling = "x".repeat(size);
        let message = Message::of(format!(r#"{{"id":"{id}","type":"shut","data":"{filling}"}}"#));
        NewJob { id: id.into(), message, due: None, priority: DEFAULT_PRIORITY }
    };
    store.submit("bench", (first..first + count).map(job).collect()).await.expect("room on the disk");
}

async fn reach(store: &Arc<Store>, reached: impl Fn(&windlass::ports::QueueStats) -> bool) {
    loop {
        let stats = store.stats().await.expect("a readable file");
        if stats.iter().any(|queue| &*queue.queue == "bench" && reached(queue)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
