//! What a job costs on its way to a plugin and back, beside the least that any worker would pay for it.
//!
//! `cargo bench --bench hop`: rounds of every variant in turn, and the median of each, so that a slow moment of the machine
//! hits all alike. The bare variants move the same bytes: a frame to a Python loop with `json.loads` and `json.dumps` over
//! two pipes, and `tokio::process::Command` for `/bin/true`.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "hop/bare.rs"]
mod bare;
#[path = "hop/measure.rs"]
mod measure;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use windlass::executors::command::CommandExecutor;
use windlass::executors::python::PythonExecutor;
use windlass::job::decode::{Decoding, Received, decode};
use windlass::job::{Job, Message, Origin};
use windlass::outcome::Outcome;
use windlass::ports::{Context, Executor};

use measure::{Variant, measure};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 9;
const HOPS: u64 = 20_000;
const STARTS: u64 = 500;
/// Jobs in flight where they travel together.
const TOGETHER: usize = 16;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let python = bare::interpreter();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("echo.py"), "def echo(data):\n    return data\n").unwrap();
    let hop = |concurrency: usize| {
        let config = json!({"entry": "echo.py:echo", "python": python, "workers": 1, "concurrency": concurrency});
        PythonExecutor::new("hop", serde_json::from_value(config).unwrap(), folder.path()).unwrap()
    };
    let start = CommandExecutor::new(
        "start",
        serde_json::from_value(json!({"run": ["/bin/true"], "workers": 64})).unwrap(),
        Path::new("/"),
    );
    let (one, many, start): (Arc<dyn Executor>, Arc<dyn Executor>, Arc<dyn Executor>) = (hop(1), hop(TOGETHER), start.unwrap());
    runtime.block_on(async { (one.warm().await.unwrap(), many.warm().await.unwrap()) });
    let (mut bare_one, mut bare_many) = (bare::Loop::start(&python), bare::Loop::start(&python));

    let through = |executor: &Arc<dyn Executor>, jobs: u64, in_flight: usize| {
        let executor = executor.clone();
        runtime.block_on(async { tokio::spawn(execute(executor, jobs, in_flight)).await.unwrap() });
    };
    println!("a hop to Python, one job in flight");
    measure(
        ROUNDS,
        HOPS,
        &mut [Variant::new("bare pipe", |jobs| bare_one.send(jobs, 1)), Variant::new("windlass", |jobs| through(&one, jobs, 1))],
    );
    println!("a hop to Python, {TOGETHER} jobs in flight");
    measure(
        ROUNDS,
        HOPS * 5,
        &mut [
            Variant::new("bare pipe", |jobs| bare_many.send(jobs, TOGETHER)),
            Variant::new("windlass", |jobs| through(&many, jobs, TOGETHER)),
        ],
    );
    println!("a program per job, one at a time");
    measure(
        ROUNDS,
        STARTS,
        &mut [
            Variant::new("bare spawn", |jobs| runtime.block_on(async { tokio::spawn(bare::spawn(jobs)).await.unwrap() })),
            Variant::new("windlass", |jobs| through(&start, jobs, 1)),
        ],
    );
    runtime.block_on(async {
        for executor in [one, many, start] {
            executor.stop(Duration::from_secs(5)).await;
        }
    });
}

/// Runs `jobs` jobs, `in_flight` at a time.
async fn execute(executor: Arc<dyn Executor>, jobs: u64, in_flight: usize) {
    let lanes = (0..in_flight).map(|_| {
        let executor = executor.clone();
        tokio::spawn(async move {
            let job = job();
            for _ in 0..jobs / in_flight as u64 {
                let context = Context::new(job.id.clone(), "bench".into(), Duration::from_secs(300));
                let outcome = executor.execute(&job, &context).await;
                assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
}

fn job() -> Job {
    let message = Message::of(json!({"id": "job-1", "type": "bench.echo", "data": bare::DATA}).to_string());
    let received = Received { origin: Origin::default(), published: None, now: jiff::Timestamp::now() };
    decode(&message, &Decoding::Envelope, &received).unwrap()
}
