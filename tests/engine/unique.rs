//! Of jobs with the same key one runs; what becomes of the key at every end of its holder.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use windlass::engine::unique::{Holders, Unique};
use windlass::expression::{Expression, Scope};
use windlass::job::Message;
use windlass::outcome::{Class, Failure};
use windlass::ports::Executor;
use windlass::retry::Policy;
use windlass::state::memory::MemoryState;
use windlass::state::{Change, Held, StateError, StateStore};

use crate::support::{done, executor, plain_route, telemetry};
use crate::world::World;

const HOUR: Duration = Duration::from_secs(3600);

/// A state store that does not answer the first times it is asked.
struct Lame(MemoryState, AtomicUsize);

#[async_trait]
impl StateStore for Lame {
    async fn read(&self, keys: &[Arc<str>]) -> Result<Vec<Option<Held>>, StateError> {
        if self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(StateError("down".into()));
        }
        self.0.read(keys).await
    }

    async fn change(&self, changes: Vec<Change>) -> Result<bool, StateError> {
        self.0.change(changes).await
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(Arc<str>, Held)>, StateError> {
        self.0.scan(prefix, after, limit).await
    }
}

struct Bench {
    world: World,
    state: Arc<dyn StateStore>,
    telemetry: windlass::telemetry::Telemetry,
}

impl Bench {
    fn new(run: Arc<dyn Executor>, policy: Policy, failures: usize) -> Self {
        let mut world = World::new(Vec::new());
        let state: Arc<dyn StateStore> = Arc::new(Lame(MemoryState::new(world.shared.clock), AtomicUsize::new(failures)));
        let holders = Arc::new(Holders { state: state.clone(), residents: BTreeMap::new() });
        let mut route = plain_route("t", run, policy);
        route.unique = Some(Unique { key: Expression::compile("data.order", Scope::Job).unwrap(), span: HOUR, holders });
        world.routes = vec![Arc::new(route)];
        let telemetry = telemetry();
        let ours = telemetry.clone();
        world.tune = Box::new(move |pool| pool.metrics = ours.pool("default"));
        Bench { world, state, telemetry }
    }

    async fn send(&self, id: &str, order: &str) {
        self.world.send("jobs", &format!(r#"{{"id":"{id}","type":"t","data":{{"order":{order}}}}}"#)).await;
    }

    /// The jobs that were run to their end, in order of id.
    fn done(&self) -> Vec<String> {
        let events = self.world.bodies("results");
        let done = events.iter().filter(|event| event["type"] == "windlass.job.completed");
        let mut ids: Vec<String> = done.map(|event| event["subject"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    }

    fn discarded(&self) -> usize {
        let metrics = self.telemetry.render();
        let line = metrics.lines().find(|line| line.starts_with("windlass_discarded_total{") && line.contains("by=\"unique\""));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    async fn keys(&self) -> usize {
        self.state.scan("unique/", None, 100).await.unwrap().len()
    }
}

/// Waits for a permit, then is done.
fn gated() -> (Arc<dyn Executor>, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let ours = gate.clone();
    let run = executor(move |_, _| {
        let gate = ours.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            done()
        }
        .boxed()
    });
    (run, gate)
}

#[tokio::test(start_paused = true)]
async fn a_second_job_is_discarded_while_the_first_runs_and_for_a_time_after() {
    let (run, gate) = gated();
    let bench = Bench::new(run, Policy::default(), 0);
    let engine = bench.world.start();
    bench.send("a", "7").await;
    while bench.keys().await == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for id in ["b", "c"] {
        bench.send(id, "7").await;
    }
    bench.send("other", "8").await;
    bench.world.holds("jobs", 2).await;
    gate.add_permits(9);
    bench.world.holds("jobs", 0).await;
    assert_eq!((bench.done(), bench.discarded()), (vec!["a".into(), "other".into()], 2));
    tokio::time::sleep(HOUR - Duration::from_secs(60)).await;
    bench.send("d", "7").await;
    bench.world.holds("jobs", 0).await;
    assert_eq!(bench.discarded(), 3);
    tokio::time::sleep(Duration::from_secs(61)).await;
    bench.send("e", "7").await;
    bench.world.holds("results", 3).await;
    engine.stop(Duration::ZERO).await;
    assert_eq!(bench.done(), ["a", "e", "other"]);
}

#[tokio::test(start_paused = true)]
async fn the_holders_own_retries_pass_and_others_wait_for_none_of_them() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = runs.clone();
    let run = executor(move |_, _| {
        let run = counter.fetch_add(1, Ordering::SeqCst);
        async move { if run < 3 { Failure::new(Class::Failed, "not yet").into() } else { done() } }.boxed()
    });
    let bench = Bench::new(run, Policy::default(), 5);
    let engine = bench.world.start();
    bench.send("a", "\"x\"").await;
    while runs.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.send("b", "\"x\"").await;
    bench.world.holds("jobs", 0).await;
    engine.stop(Duration::ZERO).await;
    assert_eq!((bench.done(), bench.discarded(), runs.load(Ordering::SeqCst)), (vec!["a".into()], 1, 4));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_dead_lettered_frees_its_key() {
    let run = executor(|job, _| {
        let fails = &*job.id == "a";
        async move { if fails { Failure::new(Class::Rejected, "no").into() } else { done() } }.boxed()
    });
    let bench = Bench::new(run, Policy::default(), 0);
    let engine = bench.world.start();
    bench.send("a", "1").await;
    bench.world.holds("jobs.dead", 1).await;
    bench.world.holds("jobs", 0).await;
    while bench.keys().await != 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.send("b", "1").await;
    bench.world.holds("results", 2).await;
    engine.stop(Duration::ZERO).await;
    assert_eq!((bench.done(), bench.discarded()), (vec!["b".into()], 0));
}

#[tokio::test(start_paused = true)]
async fn a_redelivered_holder_passes_even_when_it_was_done_before_a_crash() {
    let run = executor(|_, _| async { done() }.boxed());
    let bench = Bench::new(run, Policy::default(), 0);
    let engine = bench.world.start();
    bench.send("a", "1").await;
    bench.world.holds("results", 1).await;
    bench.world.holds("jobs", 0).await;
    bench.send("a", "1").await;
    bench.world.holds("results", 2).await;
    bench.send("b", "1").await;
    bench.world.holds("jobs", 0).await;
    engine.stop(Duration::ZERO).await;
    assert_eq!((bench.done(), bench.discarded()), (vec!["a".into(), "a".into()], 1));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_null_is_like_no_other_and_one_without_an_answer_is_a_dead_letter() {
    let run = executor(|_, _| async { done() }.boxed());
    let bench = Bench::new(run, Policy::default(), 0);
    let engine = bench.world.start();
    bench.send("a", "null").await;
    bench.send("b", "null").await;
    bench.world.send_message("jobs", Message::of(r#"{"id":"c","type":"t","data":{}}"#)).await;
    bench.world.holds("jobs", 0).await;
    bench.world.holds("results", 3).await;
    engine.stop(Duration::ZERO).await;
    assert_eq!(bench.done(), ["a", "b"]);
    let failure = bench.world.failures().remove(0);
    assert_eq!((&failure["id"], &failure["reason"]), (&"c".into(), &"rejected".into()));
    assert!(failure["message"].as_str().unwrap().contains("unique: data.order"), "{failure}");
}
