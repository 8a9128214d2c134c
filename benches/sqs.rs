//! What a job costs between two standard queues of SQS, beside the least that any worker would pay for it.
//!
//! `servers/elasticmq up DIR`, export what stands in `DIR/env` and `WINDLASS_TEST_ELASTICMQ`, `cargo bench --bench sqs`. Rounds
//! of both variants in turn and the median of each, after one of each that warms the server up. The bare one receives ten at a
//! time, builds the events of the results from the bytes, sends them in one request and deletes in another; both move 1 KiB jobs.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

#[path = "sqs/bare.rs"]
mod bare;
#[path = "../tests/support/mod.rs"]
mod support;

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
use windlass::queues::sqs::SqsQueue;
use windlass::queues::sqs::config::{SqsConfig, Topology};
use windlass::retry::Policy;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests for jobs at once, of the bare loop; ours makes as many as come back full.
const POLLERS: usize = 8;
/// Jobs in flight.
const TOGETHER: usize = 160;

fn main() {
    let endpoint = std::env::var("WINDLASS_TEST_ELASTICMQ").expect("WINDLASS_TEST_ELASTICMQ is not set: ./dev up elasticmq");
    let number = |name: &str, usual: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (rounds, jobs) = (number("WINDLASS_BENCH_ROUNDS", 5), number("WINDLASS_BENCH_JOBS", 10_000));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("standard queue to standard queue, 1 KiB, {rounds} rounds of {jobs}");
    let mut measured = [Vec::new(), Vec::new()];
    for number in 0..=rounds {
        for (through_us, measured) in [false, true].into_iter().zip(&mut measured) {
            let round = runtime.block_on(round(&endpoint, through_us, jobs));
            measured.extend((number > 0).then_some(round)); // the first warms up
        }
    }
    let [bare, ours] = measured.map(|mut rounds: Vec<(f64, f64)>| {
        rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        rounds[rounds.len() / 2]
    });
    for (name, (rate, cost)) in [("bare SDK", bare), ("windlass", ours)] {
        println!("  {name:<12} {rate:>7.0} jobs/s  {cost:>6.1} µs of processor per job  {:>5.2} of bare", rate / bare.0);
    }
}

/// Jobs a second and microseconds of processor a job, of the passage alone.
async fn round(endpoint: &str, through_us: bool, jobs: u64) -> (f64, f64) {
    let prefix = format!("bench-{}", uuid::Uuid::now_v7().simple());
    let (from, to) = (queue(endpoint, &format!("{prefix}-in")), queue(endpoint, &format!("{prefix}-out")));
    let client = bare::client(endpoint);
    let (source, target) =
        (bare::make(&client, &format!("{prefix}-in")).await, bare::make(&client, &format!("{prefix}-out")).await);
    bare::fill(&client, &source, jobs).await;
    let (began, before) = (Instant::now(), processor_seconds());
    if through_us {
        engine(from, to, jobs).await;
    } else {
        bare::pass(&client, [source.clone(), target.clone()], jobs, POLLERS).await;
    }
    let measured = (jobs as f64 / began.elapsed().as_secs_f64(), (processor_seconds() - before) / jobs as f64 * 1e6);
    for url in [source, target] {
        client.delete_queue().queue_url(url).send().await.unwrap();
    }
    measured
}

fn processor_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

fn queue(endpoint: &str, name: &str) -> Arc<dyn Queue> {
    // requests that wait long at the end would count as time of the passage
    let wait = windlass::units::Span(Duration::from_secs(1));
    Arc::new(SqsQueue::new(name, &SqsConfig { topology: Topology::Use, wait, ..SqsConfig::at(endpoint, name) }).unwrap())
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
