//! What a job costs between two quorum queues of RabbitMQ, beside the least that any worker would pay for it.
//!
//! `servers/rabbitmq up DIR`, `export WINDLASS_TEST_RABBITMQ=…` as in `DIR/env`, `cargo bench --bench rabbitmq`. Rounds of both
//! variants in turn and the median of each. The bare one takes, builds the event of the result from the bytes, publishes it
//! with a confirm, and acknowledges; both move 1 KiB jobs, with as many in flight.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

#[path = "rabbitmq/bare.rs"]
mod bare;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use nix::sys::resource::{UsageWho, getrusage};
use tokio::sync::Notify;
use windlass::clock::Clock;
use windlass::engine::budget::Budget;
use windlass::engine::exit::Exit;
use windlass::engine::{Engine, Shared};
use windlass::ports::Queue;
use windlass::queues::rabbitmq::RabbitmqQueue;
use windlass::queues::rabbitmq::config::{RabbitmqConfig, Topology};
use windlass::retry::Policy;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Jobs in flight.
const TOGETHER: usize = 500;

fn main() {
    let url = std::env::var("WINDLASS_TEST_RABBITMQ").expect("WINDLASS_TEST_RABBITMQ is not set: ./dev up rabbitmq");
    let number = |name: &str, usual: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (rounds, jobs) = (number("WINDLASS_BENCH_ROUNDS", 5), number("WINDLASS_BENCH_JOBS", 20_000));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("quorum queue to quorum queue, 1 KiB, {TOGETHER} jobs in flight, {rounds} rounds of {jobs}");
    let mut measured = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (through_us, measured) in [false, true].into_iter().zip(&mut measured) {
            measured.push(runtime.block_on(round(&url, through_us, jobs)));
        }
    }
    let [bare, ours] = measured.map(|mut rounds: Vec<(f64, f64)>| {
        rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        rounds[rounds.len() / 2]
    });
    for (name, (rate, cost)) in [("bare lapin", bare), ("windlass", ours)] {
        println!("  {name:<12} {rate:>7.0} jobs/s  {cost:>6.1} µs of processor per job  {:>5.2} of bare", rate / bare.0);
    }
}

/// Jobs a second and microseconds of processor a job, of the passage alone.
async fn round(url: &str, through_us: bool, jobs: u64) -> (f64, f64) {
    let prefix = format!("bench-{}", uuid::Uuid::now_v7());
    let (from, to) = (queue(url, &format!("{prefix}.in")), queue(url, &format!("{prefix}.out")));
    from.create(Some(&[])).await.unwrap();
    to.create(None).await.unwrap();
    bare::fill(url, &format!("{prefix}.in"), jobs).await;
    let (began, before) = (Instant::now(), processor_seconds());
    if through_us {
        engine(from, to, jobs).await
    } else {
        bare::pass(url, &prefix, jobs, TOGETHER).await
    }
    let measured = (jobs as f64 / began.elapsed().as_secs_f64(), (processor_seconds() - before) / jobs as f64 * 1e6);
    bare::delete(url, &prefix).await;
    measured
}

fn processor_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

fn queue(url: &str, name: &str) -> Arc<dyn Queue> {
    let config = RabbitmqConfig { topology: Topology::Use, ..RabbitmqConfig::at(url, name) };
    Arc::new(RabbitmqQueue::new(name, &config, Path::new(".")).unwrap())
}

async fn engine(from: Arc<dyn Queue>, to: Arc<dyn Queue>, jobs: u64) {
    let (done, all) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let (count, signal) = (done.clone(), all.clone());
    let run = support::executor(move |_, _| {
        if count.fetch_add(1, Ordering::Relaxed) + 1 == jobs {
            signal.notify_one();
        }
        async { support::done() }.boxed()
    });
    let shared = Arc::new(Shared::new("bench", Clock::System, Budget::new(256 << 20)));
    let mut pool = support::pool(&shared, &[from], TOGETHER, vec![support::route("bench", run, Policy::default())]);
    pool.results = Some(Arc::new(Exit::new(to.sink(), support::telemetry().pool("default").exit("results"))));
    let engine = Engine::start(shared, &[Arc::new(pool)]);
    all.notified().await;
    engine.stop(Duration::from_secs(10)).await; // waits until the last ones are settled
}
