//! Order by key under a skew: how near the pool comes to what its hottest key allows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use windlass::clock::Clock;
use windlass::engine::budget::Budget;
use windlass::engine::turns::Rules;
use windlass::engine::{Engine, Shared};
use windlass::job::{Job, Message};
use windlass::outcome::{Outcome, Output};
use windlass::ports::{Context, Executor, Outgoing};
use windlass::queues::embedded::{EmbeddedConfig, Store, StoreOptions};

use crate::engine::{free, pool};
use crate::measure::{Load, number, runtime};

const KEYS: usize = 100_000;
const SLOTS: usize = 256;
const TAKES: Duration = Duration::from_millis(10);

/// Sees from inside the jobs that each key's run one at a time and in their order.
#[derive(Default)]
struct Witness {
    /// By key: the last job that started, and whether it still runs.
    seen: Mutex<HashMap<Arc<str>, (u64, bool)>>,
    ended: Mutex<usize>,
}

#[async_trait]
impl Executor for Witness {
    async fn execute(&self, job: &Job, _: &Context) -> Outcome {
        let key = job.key.clone().expect("every job has a key");
        let number: u64 = job.id.parse().expect("a number");
        {
            let mut seen = self.seen.lock().expect("nobody panics");
            let (last, runs) = seen.entry(key.clone()).or_insert((0, false));
            assert!(!*runs && *last < number, "the key {key} is out of order: {number} after {last}");
            (*last, *runs) = (number, true);
        }
        tokio::time::sleep(TAKES).await;
        self.seen.lock().expect("nobody panics").insert(key, (number, false));
        *self.ended.lock().expect("nobody panics") += 1;
        Outcome::Done(Output::Nothing)
    }

    async fn stop(&self, _: Duration) {}
}

/// The keys of `count` jobs by Zipf's law with exponent 1, by a fixed seed.
fn zipf(count: usize) -> Vec<usize> {
    let mut sums = Vec::with_capacity(KEYS);
    let mut sum = 0.0;
    for rank in 1..=KEYS {
        sum += 1.0 / rank as f64;
        sums.push(sum);
    }
    let mut dice = fastrand::Rng::with_seed(7);
    let mut draw = || dice.f64() * sum;
    (0..count).map(|_| draw()).map(|drawn| sums.partition_point(|reached| *reached < drawn)).collect()
}

pub fn run(load: &Load) {
    let jobs = number("WINDLASS_BENCH_JOBS", 20_000);
    let keys = zipf(jobs);
    let mut counts = HashMap::new();
    keys.iter().for_each(|key| *counts.entry(key).or_insert(0usize) += 1);
    let hottest = counts.values().max().copied().unwrap_or_default();
    let alone = runtime().block_on(drain(load, &vec![0; hottest]));
    let took = runtime().block_on(drain(load, &keys));
    println!(
        "keys: {jobs} jobs of {TAKES:?} on {} keys by Zipf 1.0, {SLOTS} slots; order seen from inside the jobs",
        counts.len()
    );
    println!(
        "  {:.2} s; the {hottest} jobs of its hottest key alone, each acknowledged before the next: {:.2} s; ratio {:.2}",
        took.as_secs_f64(),
        alone.as_secs_f64(),
        alone.as_secs_f64() / took.as_secs_f64()
    );
}

/// From the first start to the last end of a backlog.
async fn drain(load: &Load, keys: &[usize]) -> Duration {
    let scratch = load.scratch();
    let config = EmbeddedConfig { path: scratch.path().join("windlass.db"), ..EmbeddedConfig::default() };
    let store = Store::open(StoreOptions::from(&config)).expect("a new file");
    let queue = store.queue("bench", "bench");
    let sink = queue.sink();
    for (chunk, keys) in keys.chunks(500).enumerate() {
        let send = keys.iter().enumerate().map(|(index, key)| {
            let id = (chunk * 500 + index + 1).to_string();
            let message = Message::of(format!(r#"{{"id":"{id}","type":"bench.noop","key":"k{key}"}}"#));
            sink.send(Outgoing { message, id: Some(id.into()), ..Outgoing::default() })
        });
        for sent in futures_util::future::join_all(send).await {
            sent.expect("room on the disk");
        }
    }
    let shared = Arc::new(Shared::new("bench", Clock::System, Budget::new(256 << 20)));
    let witness = Arc::new(Witness::default());
    let rules = Rules { ordered: true, ..free() };
    let pool = pool(&shared, queue, witness.clone(), SLOTS, rules);
    let start = Instant::now();
    let engine = Engine::start(shared.clone(), &[Arc::new(pool)]);
    while *witness.ended.lock().expect("nobody panics") < keys.len() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = start.elapsed();
    engine.stop(Duration::from_secs(60)).await;
    store.close().await;
    took
}
