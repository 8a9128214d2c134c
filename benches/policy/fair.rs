//! How long a small tenant waits alone, and beside another tenant's flood.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use windlass::clock::Clock;
use windlass::engine::budget::Budget;
use windlass::engine::{Engine, Shared};
use windlass::job::{Job, Message};
use windlass::outcome::{Outcome, Output};
use windlass::ports::{Context, Executor, Outgoing, Queue};
use windlass::queues::embedded::{EmbeddedConfig, Store, StoreOptions};

use crate::engine::{free, pool};
use crate::measure::{Load, number, runtime};

const SLOTS: usize = 64;
const TAKES: Duration = Duration::from_millis(10);
/// The small tenant's jobs, one every so often.
const SMALL: usize = 200;
const EVERY: Duration = Duration::from_millis(15);

/// Notes when jobs of the small tenant start.
#[derive(Default)]
struct Starts(Mutex<Vec<(usize, Instant)>>);

#[async_trait]
impl Executor for Starts {
    async fn execute(&self, job: &Job, _: &Context) -> Outcome {
        if let Some(number) = job.id.strip_prefix("small-") {
            let now = Instant::now();
            self.0.lock().expect("nobody panics").push((number.parse().expect("a number"), now));
        }
        tokio::time::sleep(TAKES).await;
        Outcome::Done(Output::Nothing)
    }

    async fn stop(&self, _: Duration) {}
}

pub fn run(load: &Load, rounds: usize) {
    let flood = number("WINDLASS_BENCH_FLOOD", 1_000_000);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        alone.extend(runtime().block_on(waits(load, 0)));
        beside.extend(runtime().block_on(waits(load, flood)));
    }
    println!("fair: a job of a small tenant every {EVERY:?}, jobs of {TAKES:?}, {SLOTS} slots; from its submit to its start");
    for (name, waits) in [("alone", &mut alone), ("beside a flood", &mut beside)] {
        waits.sort();
        let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!("  {name:<16} p50 {:>7.2} ms   p99 {:>7.2} ms", at(0.5), at(0.99));
    }
    println!("  flood: {flood} jobs of another tenant were waiting before the first of the small one came");
}

async fn waits(load: &Load, flood: usize) -> Vec<Duration> {
    let scratch = load.scratch();
    let config = EmbeddedConfig { path: scratch.path().join("windlass.db"), ..EmbeddedConfig::default() };
    let store = Store::open(StoreOptions::from(&config)).expect("a new file");
    let queue = store.queue("bench", "bench");
    for start in (0..flood).step_by(1000) {
        let send = (start..flood.min(start + 1000)).map(|number| send(&*queue, "flood", number));
        futures_util::future::join_all(send).await;
    }
    let shared = Arc::new(Shared::new("bench", Clock::System, Budget::new(256 << 20)));
    let starts = Arc::new(Starts::default());
    let pool = pool(&shared, queue.clone(), starts.clone(), SLOTS, free());
    let engine = Engine::start(shared.clone(), &[Arc::new(pool)]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut sent = Vec::new();
    for number in 0..SMALL {
        sent.push(Instant::now());
        send(&*queue, "small", number).await;
        tokio::time::sleep(EVERY).await;
    }
    while starts.0.lock().expect("nobody panics").len() < SMALL {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    engine.stop(Duration::ZERO).await;
    store.close().await;
    let starts = starts.0.lock().expect("nobody panics");
    starts.iter().map(|(number, at)| at.duration_since(sent[*number])).collect()
}

async fn send(queue: &dyn Queue, tenant: &str, number: usize) {
    let id = format!("{tenant}-{number}");
    let message = Message::of(format!(r#"{{"id":"{id}","type":"bench.noop","tenant":"{tenant}"}}"#));
    let outgoing = Outgoing { message, id: Some(id.into()), ..Outgoing::default() };
    queue.sink().send(outgoing).await.expect("room on the disk");
}
