//! How long a small tenant waits alone, and beside another tenant's flood.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use windlass::clock::Clock;
use windlass::engine::budget::Budget;
use windlass::engine::{Engine, Shared};
use windlass::job::{DEFAULT_PRIORITY, Job, Message};
use windlass::outcome::{Outcome, Output};
use windlass::ports::{Admin as _, Context, Executor, NewJob, Outgoing, Queue};
use windlass::queues::embedded::{EmbeddedConfig, Store, StoreOptions};

use crate::engine::{free, pool};
use crate::measure::{Load, number, runtime};

const SLOTS: usize = 64;
const TAKES: Duration = Duration::from_millis(10);
/// The small tenant's jobs in a round, one every so often.
const SMALL: usize = 400;
const EVERY: Duration = Duration::from_millis(15);
/// Jobs in one submit of the flood.
const POURED: usize = 1000;

/// Notes when jobs of the small tenant start.
#[derive(Default)]
struct Starts(Mutex<Vec<(usize, Instant)>>);

impl Starts {
    async fn reach(&self, count: usize) {
        while self.0.lock().expect("nobody panics").len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

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

/// What a job of the small tenant waited for, and in all.
struct Wait {
    /// Until its submit was confirmed, which is on disk then.
    submit: Duration,
    /// From then until its run; a job that is taken at once may start before its submitter hears of it.
    turn: Duration,
    all: Duration,
}

pub fn run(load: &Load, rounds: usize) {
    let flood = number("WINDLASS_BENCH_FLOOD", 1_000_000);
    let (mut alone, mut beside, mut under, mut first) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        alone.push(runtime().block_on(waits(load, 0, false)).0);
        let (waits_beside, looked_through) = runtime().block_on(waits(load, flood, false));
        beside.push(waits_beside);
        first.push(looked_through);
        under.push(runtime().block_on(waits(load, 0, true)).0);
    }
    println!(
        "fair: a job of a small tenant every {EVERY:?}, jobs of {TAKES:?}, {SLOTS} slots; from its submit to its start, in ms"
    );
    println!("  {:<16}{:>27}{:>18}{:>18}", "", "p50, p99, max", "its submit", "its turn   p99 by round");
    for (name, rounds) in [("alone", &alone), ("beside a flood", &beside), ("while it comes", &under)] {
        let of = |part: fn(&Wait) -> Duration, share| at(rounds.iter().flatten().map(part).collect(), share);
        let all = [0.5, 0.99, 1.0].map(|share| of(|wait| wait.all, share));
        let submit = [0.5, 0.99].map(|share| of(|wait| wait.submit, share));
        let turn = [0.5, 0.99].map(|share| of(|wait| wait.turn, share));
        let numbers: String = [&all[..], &submit, &turn].concat().iter().map(|number| format!("{number:>9.2}")).collect();
        let each = rounds.iter().map(|waits| format!("{:.1}", at(waits.iter().map(|wait| wait.all).collect(), 0.99)));
        println!("  {name:<16}{numbers}   {}", each.collect::<Vec<_>>().join(" "));
    }
    println!("  beside: {flood} jobs of another tenant wait; while it comes: it submits {POURED} at a time, in one commit");
    let first = at(first, 0.5);
    println!(
        "  not counted: the first small job right after the start, which comes when the backlog was looked through: {first:.0} ms"
    );
}

/// Of the sorted times, in milliseconds.
fn at(mut times: Vec<Duration>, share: f64) -> f64 {
    times.sort();
    times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
}

async fn waits(load: &Load, flood: usize, pour: bool) -> (Vec<Wait>, Duration) {
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
    let looked_through = Instant::now();
    send(&*queue, "small", SMALL).await;
    starts.reach(1).await;
    let looked_through = looked_through.elapsed();
    starts.0.lock().expect("nobody panics").clear();
    let pouring = tokio::spawn(pour_in(store.clone(), pour));
    let mut sent = Vec::new();
    for number in 0..SMALL {
        let start = Instant::now();
        send(&*queue, "small", number).await;
        sent.push((start, Instant::now()));
        tokio::time::sleep(EVERY).await;
    }
    starts.reach(SMALL).await;
    pouring.abort();
    engine.stop(Duration::ZERO).await;
    store.close().await;
    let starts = starts.0.lock().expect("nobody panics");
    let wait = |(number, started): &(usize, Instant)| {
        let (sent, confirmed) = sent[*number];
        Wait { submit: confirmed - sent, turn: started.saturating_duration_since(confirmed), all: *started - sent }
    };
    (starts.iter().map(wait).collect(), looked_through)
}

/// Submits what another tenant has as fast as the disk takes it, if there is any.
async fn pour_in(store: Arc<Store>, any: bool) {
    let mut number = 10_000_000;
    if !any {
        return;
    }
    loop {
        let job = |number| {
            let (id, message) = job("flood", number);
            NewJob { id: id.into(), message, due: None, priority: DEFAULT_PRIORITY }
        };
        let jobs = (number..number + POURED).map(job).collect();
        store.submit("bench", jobs).await.expect("room on the disk");
        number += POURED;
    }
}

fn job(tenant: &str, number: usize) -> (String, Message) {
    let id = format!("{tenant}-{number}");
    let message = Message::of(format!(r#"{{"id":"{id}","type":"bench.noop","tenant":"{tenant}"}}"#));
    (id, message)
}

async fn send(queue: &dyn Queue, tenant: &str, number: usize) {
    let (id, message) = job(tenant, number);
    let outgoing = Outgoing { message, id: Some(id.into()), ..Outgoing::default() };
    queue.sink().send(outgoing).await.expect("room on the disk");
}
