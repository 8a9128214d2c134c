//! Instructions per job, which a busy machine hardly changes: counted by valgrind over a number of jobs and over none.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use windlass::clock::Clock;
use windlass::engine::budget::Budget;
use windlass::engine::turns::Rules;
use windlass::engine::{Engine, Shared};
use windlass::job::{Job, Message};
use windlass::outcome::{Outcome, Output};
use windlass::ports::{Context, Executor, Outgoing, Queue};
use windlass::queues::embedded::{EmbeddedConfig, Store, StoreOptions};
use windlass::queues::memory::Memory;

use crate::engine::pool;
use crate::measure::{Load, runtime};

/// What is taken off is what a process does anyway.
const JOBS: [u64; 2] = [2_000, 12_000];

/// Does nothing, within the limits that every run has, and counts.
struct Count(Arc<AtomicU64>);

#[async_trait]
impl Executor for Count {
    async fn execute(&self, _: &Job, context: &Context) -> Outcome {
        let output = context.limit(async { Output::Nothing }).await;
        self.0.fetch_add(1, Ordering::Relaxed);
        Outcome::Done(output.unwrap_or(Output::Nothing))
    }

    async fn stop(&self, _: Duration) {}
}

/// Runs this program again under valgrind for each of the cases, in turn, and prints what a job takes.
pub fn compare(rounds: usize) {
    println!("{:<12}{:>16}{:>16}{:>10}", "instructions", "no policy", "all policies", "ratio");
    for queue in ["memory", "embedded"] {
        let mut each = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (rules, found) in ["free", "bound"].into_iter().zip(&mut each) {
                let [few, many] = JOBS.map(|jobs| counted(&["count", queue, rules, &jobs.to_string()]));
                found.push((many - few) as f64 / (JOBS[1] - JOBS[0]) as f64);
            }
        }
        let [free, bound] = each.map(|mut found| {
            found.sort_by(f64::total_cmp);
            found[found.len() / 2]
        });
        println!("{queue:<12}{free:>16.0}{bound:>16.0}{:>10.3}", free / bound);
    }
}

/// The instructions of one run of this program.
fn counted(arguments: &[&str]) -> u64 {
    let program = std::env::current_exe().expect("a bench knows its own file");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).args(arguments);
    let output = valgrind.output().expect("valgrind is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    let total = said.lines().find_map(|line| line.split_once("Collected :").map(|(_, total)| total.trim().to_owned()));
    total.and_then(|total| total.parse().ok()).unwrap_or_else(|| panic!("valgrind counts nothing: {said}"))
}

/// One case: so many jobs, all of them there before the first one runs.
pub fn count(load: &Load, queue: &str, rules: Rules, more: fn(u64) -> String, jobs: u64) {
    let clock = Clock::System;
    if queue == "memory" {
        let one_thread = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a thread can be started");
        one_thread.block_on(work(Arc::new(Memory::new(clock, 1_000_000).queue("bench")), rules, more, jobs));
        return;
    }
    let scratch = load.scratch();
    let config = EmbeddedConfig { path: scratch.path().join("windlass.db"), ..EmbeddedConfig::default() };
    let store = Store::open(StoreOptions::from(&config)).expect("a new file");
    runtime().block_on(async {
        work(store.queue("bench", "bench"), rules, more, jobs).await;
        store.close().await;
    });
}

async fn work(queue: Arc<dyn Queue>, rules: Rules, more: fn(u64) -> String, jobs: u64) {
    let (done, sink) = (Arc::new(AtomicU64::new(0)), queue.sink());
    let sent = (0..jobs).map(|number| {
        let id = format!("job-{number:010}");
        let message = Message::of([r#"{"id":""#, &id, r#"","type":"bench.noop","#, &more(number), r#""data":1}"#].concat());
        sink.send(Outgoing { message, id: Some(id.into()), ..Outgoing::default() })
    });
    for sent in futures_util::future::join_all(sent).await {
        sent.expect("there is room");
    }
    let shared = Arc::new(Shared::new("bench", Clock::System, Budget::new(256 << 20)));
    let pool = pool(&shared, queue, Arc::new(Count(done.clone())), 64, rules);
    let engine = Engine::start(shared, &[Arc::new(pool)]);
    while done.load(Ordering::Relaxed) < jobs {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    engine.stop(Duration::from_secs(60)).await;
}
