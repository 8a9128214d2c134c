//! What a job costs from Kafka to Kafka, beside the least that any worker would pay for it.
//!
//! `servers/kafka up DIR`, `export WINDLASS_TEST_KAFKA=…` as in `DIR/env`, `cargo bench --bench kafka`. Rounds of both variants
//! in turn and the median of each; `-- bare` and `-- windlass` run one round of one for a profiler. The bare one is one thread
//! that takes, reads the envelope, builds the event of the result from the bytes, sends it with `acks=all`, and commits low
//! water with metadata every 20 ms; both move 1 KiB jobs over four partitions, with as many in flight. The clock starts with
//! the first job, so that nobody is charged for the group's beginning.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

#[path = "kafka/bare.rs"]
mod bare;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use nix::sys::resource::{UsageWho, getrusage};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use windlass::clock::Clock;
use windlass::engine::budget::Budget;
use windlass::engine::exit::Exit;
use windlass::engine::{Engine, Shared};
use windlass::ports::Queue;
use windlass::queues::kafka::config::KafkaConfig;
use windlass::retry::Policy;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Jobs in flight.
const TOGETHER: usize = 1000;

fn main() {
    let brokers = std::env::var("WINDLASS_TEST_KAFKA").expect("WINDLASS_TEST_KAFKA is not set: ./dev up kafka");
    let number = |name: &str, usual: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (rounds, jobs) = (number("WINDLASS_BENCH_ROUNDS", 5), number("WINDLASS_BENCH_JOBS", 200_000));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let asked = |name: &str| std::env::args().any(|argument| argument == name);
    for (through_us, name) in [(false, "bare"), (true, "windlass")] {
        if asked(name) {
            let (rate, cost) = round(&runtime, &brokers, through_us, jobs);
            return println!("{name}: {rate:.0} jobs/s, {cost:.1} µs of processor per job");
        }
    }
    println!("Kafka to Kafka, 1 KiB, four partitions, {TOGETHER} jobs in flight, {rounds} rounds of {jobs}");
    let mut measured = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (through_us, measured) in [false, true].into_iter().zip(&mut measured) {
            measured.push(round(&runtime, &brokers, through_us, jobs));
        }
    }
    let [bare, ours] = measured.map(|mut rounds: Vec<(f64, f64)>| {
        rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        rounds[rounds.len() / 2]
    });
    for (name, (rate, cost)) in [("bare rdkafka", bare), ("windlass", ours)] {
        println!("  {name:<12} {rate:>7.0} jobs/s  {cost:>6.1} µs of processor per job  {:>5.2} of bare", rate / bare.0);
    }
}

/// When and with how much processor time the first job was met.
#[derive(Clone, Copy)]
pub struct Start(Instant, f64);

impl Start {
    pub fn now() -> Self {
        Start(Instant::now(), processor_seconds())
    }

    /// Jobs a second and microseconds of processor a job, since.
    fn measure(self, jobs: u64) -> (f64, f64) {
        (jobs as f64 / self.0.elapsed().as_secs_f64(), (processor_seconds() - self.1) / jobs as f64 * 1e6)
    }
}

fn processor_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

fn round(runtime: &Runtime, brokers: &str, through_us: bool, jobs: u64) -> (f64, f64) {
    let prefix = format!("bench-{}", uuid::Uuid::now_v7().simple());
    let (source, target) = (format!("{prefix}.in"), format!("{prefix}.out"));
    let (from, to) = (queue(brokers, &source), queue(brokers, &target));
    runtime.block_on(async {
        from.create(Some(&[])).await.unwrap();
        to.create(None).await.unwrap();
    });
    bare::fill(brokers, &source, jobs);
    let measured = if through_us {
        runtime.block_on(engine(&from, &to, jobs)).measure(jobs)
    } else {
        bare::pass(brokers, &source, &target, (jobs, TOGETHER)).measure(jobs)
    };
    runtime.block_on(async {
        futures_util::future::join(from.close(), to.close()).await;
        bare::delete(brokers, &prefix).await;
    });
    measured
}

fn queue(brokers: &str, topic: &str) -> Arc<dyn Queue> {
    let config = KafkaConfig { delays: "bench.delay".into(), ..KafkaConfig::at(brokers, topic) };
    windlass::queues::kafka::open(topic, &config, Path::new("")).unwrap()
}

/// Moves all jobs; answers when the first one ran.
async fn engine(from: &Arc<dyn Queue>, to: &Arc<dyn Queue>, jobs: u64) -> Start {
    let (done, all) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let start = Arc::new(std::sync::OnceLock::new());
    let (count, signal, first) = (done.clone(), all.clone(), start.clone());
    let run = support::executor(move |_, _| {
        match count.fetch_add(1, Ordering::Relaxed) {
            0 => drop(first.set(Start::now())),
            before if before + 1 == jobs => signal.notify_one(),
            _ => {}
        }
        async { support::done() }.boxed()
    });
    let shared = Arc::new(Shared::new("bench", Clock::System, Budget::new(256 << 20)));
    let routes = vec![support::route("bench", run, Policy::default())];
    let mut pool = support::pool(&shared, std::slice::from_ref(from), TOGETHER, routes);
    pool.results = Some(Arc::new(Exit::new(to.sink(), support::telemetry().pool("default").exit("results"))));
    let engine = Engine::start(shared, &[Arc::new(pool)]);
    all.notified().await;
    engine.stop(Duration::from_secs(10)).await; // waits until the last ones are settled
    *start.get().unwrap()
}
