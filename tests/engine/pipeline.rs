//! What becomes of one job, for every outcome; hours of back-off pass in milliseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::sync::Notify;
use windlass::engine::budget::Budget;
use windlass::engine::running::Cancelled;
use windlass::job::{Header, Message};
use windlass::outcome::{Class, Failure};
use windlass::ports::{Executor, Outgoing, Queue as _, QueueError, Sink};
use windlass::retry::Policy;

use crate::support::{done, executor, route};
use crate::world::World;

/// Fails with `class` the first `times` runs, then is done; counts its runs.
fn failing(class: Class, times: usize) -> (Arc<dyn Executor>, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = runs.clone();
    let run = executor(move |_, context| {
        let run = counter.fetch_add(1, Ordering::SeqCst);
        context.log(&format!("run {run}"));
        async move { if run < times { Failure::new(class, "not yet").into() } else { done() } }.boxed()
    });
    (run, runs)
}

fn world(class: Class, times: usize) -> (World, Arc<AtomicUsize>) {
    let (run, runs) = failing(class, times);
    (World::new(vec![route("t", run, Policy::default())]), runs)
}

#[tokio::test(start_paused = true)]
async fn a_done_job_is_published_and_then_acknowledged() {
    let (world, _) = world(Class::Failed, 0);
    let engine = world.start();
    world.send("jobs", r#"{"id":"a","type":"t","tenant":"acme"}"#).await;
    world.holds("results", 1).await;
    world.holds("jobs", 0).await;
    let event = &world.bodies("results")[0];
    assert_eq!(event["type"], "windlass.job.completed");
    assert_eq!((&event["id"], &event["subject"], &event["data"]), (&"a:0:completed".into(), &"a".into(), &"done".into()));
    assert_eq!((&event["source"], &event["tenant"]), (&"/windlass/default".into(), &"acme".into()));
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_and_passes_on_retry_is_done_once() {
    let (world, runs) = world(Class::Failed, 12);
    let engine = world.start();
    world.send("jobs", r#"{"id":"a","type":"t"}"#).await;
    world.holds("results", 1).await;
    world.holds("jobs", 0).await;
    assert_eq!(runs.load(Ordering::SeqCst), 13);
    assert_eq!(world.bodies("results")[0]["attempt"], 13);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_keeps_body_key_and_headers_and_adds_one_header() {
    let (world, runs) = world(Class::Failed, usize::MAX);
    let engine = world.start();
    let mut sent = Message::of("{ \"id\" : \"a\",\t\"type\":\"t\", \"data\": {\"x\":1.0} }\n");
    sent.key = Some("k".into());
    sent.headers = vec![Header::new("x", &b"\xff\x00"[..]), Header::new("x", "again")];
    world.send_message("jobs", sent.clone()).await;
    world.holds("jobs.dead", 1).await;
    let mut dead = world.queue("jobs.dead").messages().remove(0);
    let failure = world.failures().remove(0);
    dead.remove_header("windlass-failure");
    assert_eq!(dead, sent);
    assert_eq!(runs.load(Ordering::SeqCst), 20);
    assert_eq!((&failure["reason"], &failure["attempts"], &failure["route"]), (&"failed".into(), &20.into(), &"t".into()));
    assert_eq!(failure["history"].as_array().unwrap().len(), 20);
    assert!(failure["log_tail"].as_str().unwrap().contains("run 19"), "{failure}");
    assert_eq!(world.bodies("results")[0]["type"], "windlass.job.failed");
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn crashes_end_as_poison_and_spend_no_attempt() {
    let (world, runs) = world(Class::Crashed, usize::MAX);
    let engine = world.start();
    world.send("jobs", r#"{"id":"a","type":"t"}"#).await;
    world.holds("jobs.dead", 1).await;
    let failure = &world.failures()[0];
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    assert_eq!((&failure["reason"], &failure["crashes"], &failure["attempts"]), (&"poison".into(), &3.into(), &0.into()));
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_hours_spends_no_attempt() {
    for class in [Class::Throttled, Class::Unavailable, Class::Misconfigured] {
        let (world, runs) = world(class, 100);
        let engine = world.start();
        world.send("jobs", r#"{"id":"a","type":"t"}"#).await;
        world.holds("results", 1).await;
        assert_eq!(runs.load(Ordering::SeqCst), 101);
        assert_eq!(world.bodies("results")[0]["attempt"], 1);
        assert!(world.failures().is_empty());
        engine.stop(Duration::ZERO).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_without_end_is_dead_lettered_after_unavailable_for() {
    let (world, _) = world(Class::Unavailable, usize::MAX);
    let before = world.shared.clock.now();
    let engine = world.start();
    world.send("jobs", r#"{"id":"a","type":"t"}"#).await;
    world.holds("jobs.dead", 1).await;
    assert_eq!(world.failures()[0]["reason"], "unavailable");
    let waited = windlass::clock::between(before, world.shared.clock.now());
    assert!(waited >= Duration::from_secs(24 * 3600), "{waited:?}");
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_type_waits_for_a_route_and_is_then_no_route() {
    let (world, runs) = world(Class::Failed, 0);
    let engine = world.start();
    let before = world.shared.clock.now();
    world.send("jobs", r#"{"id":"a","type":"unknown"}"#).await;
    world.holds("jobs.dead", 1).await;
    assert_eq!(world.failures()[0]["reason"], "no_route");
    assert!(windlass::clock::between(before, world.shared.clock.now()) >= Duration::from_secs(900));
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_is_malformed_at_once_bytes_untouched() {
    let (world, _) = world(Class::Failed, 0);
    let engine = world.start();
    for body in [&b"\xff\xfe"[..], b"{", b"{\"id\":7}", b""] {
        world.send_message("jobs", Message::of(body)).await;
    }
    world.holds("jobs.dead", 4).await;
    assert!(world.failures().iter().all(|failure| failure["reason"] == "malformed"));
    assert!(world.queue("jobs.dead").messages().iter().any(|dead| &dead.body[..] == b"\xff\xfe"));
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_that_came_past_the_api_is_rejected_untouched_and_never_run() {
    let (world, runs) = world(Class::Failed, 0);
    let engine = world.start();
    let body = format!(r#"{{"id":"big","type":"t","data":"{}"}}"#, "x".repeat(64 << 20));
    world.send("jobs", &body).await;
    world.holds("jobs.dead", 1).await;
    let failure = &world.failures()[0];
    assert_eq!((&failure["id"], &failure["reason"]), (&"big".into(), &"rejected".into()));
    assert!(failure["message"].as_str().unwrap().contains("worker.body_limit"), "{failure}");
    assert!(world.queue("jobs.dead").messages()[0].body == body.as_bytes());
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_kept_and_a_past_deadline_is_expired() {
    let (world, runs) = world(Class::Failed, 0);
    let engine = world.start();
    let before = world.shared.clock.now();
    world.send("jobs", r#"{"id":"late","type":"t","delay":"1h"}"#).await;
    world.send("jobs", r#"{"id":"over","type":"t","deadline":"2020-01-01T00:00:00Z"}"#).await;
    world.holds("jobs.dead", 1).await;
    assert_eq!((&world.failures()[0]["id"], &world.failures()[0]["reason"]), (&"over".into(), &"expired".into()));
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    // one event for the expired job, one for the done one
    world.holds("results", 2).await;
    assert!(windlass::clock::between(before, world.shared.clock.now()) >= Duration::from_secs(3600));
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_of_many_leases_keeps_its_lease_and_a_timeout_ends_it() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = runs.clone();
    let run = executor(move |job, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        let takes = if &*job.id == "long" { 3600 } else { 100_000 };
        async move {
            tokio::time::sleep(Duration::from_secs(takes)).await;
            done()
        }
        .boxed()
    });
    let policy = Policy { timeout: Duration::from_secs(7200), attempts: 1, ..Policy::default() };
    let world = World::new(vec![route("t", run, policy)]);
    let engine = world.start();
    world.send("jobs", r#"{"id":"long","type":"t"}"#).await;
    world.send("jobs", r#"{"id":"endless","type":"t"}"#).await;
    world.holds("results", 2).await;
    assert_eq!(runs.load(Ordering::SeqCst), 2, "a lost lease would have run a job twice");
    assert_eq!((&world.failures()[0]["id"], &world.failures()[0]["reason"]), (&"endless".into(), &"timeout".into()));
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_outcome() {
    let run = executor(|_, _| async { panic!("out of cheese") }.boxed());
    let world = World::new(vec![route("t", run, Policy { attempts: 1, ..Policy::default() })]);
    let engine = world.start();
    world.send("jobs", r#"{"id":"a","type":"t"}"#).await;
    world.holds("jobs.dead", 1).await;
    assert!(world.failures()[0]["message"].as_str().unwrap().contains("out of cheese"));
    engine.stop(Duration::ZERO).await;
}

/// An exit that is down until somebody mends it.
struct Exit {
    up: AtomicBool,
    behind: Arc<dyn Sink>,
    tried: AtomicUsize,
}

#[async_trait]
impl Sink for Exit {
    fn address(&self) -> &str {
        "results"
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), QueueError> {
        self.tried.fetch_add(1, Ordering::SeqCst);
        if self.up.load(Ordering::SeqCst) {
            return self.behind.send(outgoing).await;
        }
        Err(QueueError::Unavailable("connection refused".into()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_exit_closes_the_entrance_and_repeats_the_report_never_the_job() {
    let (mut world, runs) = world(Class::Failed, 0);
    let exit = Arc::new(Exit { up: AtomicBool::new(false), behind: world.queue("results").sink(), tried: AtomicUsize::new(0) });
    world.results = Some(exit.clone());
    world.slots = 2;
    let engine = world.start();
    for id in 0..10 {
        world.send("jobs", &format!(r#"{{"id":"{id}","type":"t"}}"#)).await;
    }
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(runs.load(Ordering::SeqCst), 2, "no more is started than there are slots");
    assert!(exit.tried.load(Ordering::SeqCst) > 100);
    assert_eq!(world.queue("jobs").len(), 10, "nothing is acknowledged before its result is confirmed");
    exit.up.store(true, Ordering::SeqCst);
    world.holds("results", 10).await;
    world.holds("jobs", 0).await;
    assert_eq!(runs.load(Ordering::SeqCst), 10);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_running_jobs_back_uncounted_after_the_grace() {
    let started = Arc::new(Notify::new());
    let signal = started.clone();
    let run = executor(move |_, _| {
        signal.notify_one();
        async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            done()
        }
        .boxed()
    });
    let world = World::new(vec![route("t", run, Policy::default())]);
    let engine = world.start();
    world.send("jobs", r#"{"id":"a","type":"t"}"#).await;
    started.notified().await;
    let before = world.shared.clock.now();
    engine.stop(Duration::from_secs(25)).await;
    assert_eq!(windlass::clock::between(before, world.shared.clock.now()).as_secs(), 25);
    let back = world.queue("jobs").messages();
    assert_eq!(back.len(), 1);
    assert!(back[0].header("windlass-job").is_none(), "an interrupted job is no attempt");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_a_job_that_ends_within_the_grace() {
    let (run, started) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (signal, go) = (started.clone(), run.clone());
    let run_it = executor(move |_, _| {
        let go = go.clone();
        signal.notify_one();
        async move {
            go.notified().await;
            done()
        }
        .boxed()
    });
    let world = World::new(vec![route("t", run_it, Policy::default())]);
    let engine = world.start();
    world.send("jobs", r#"{"id":"a","type":"t"}"#).await;
    started.notified().await;
    let stopping = tokio::spawn(engine.stop(Duration::from_secs(25)));
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.send("jobs", r#"{"id":"b","type":"t"}"#).await;
    run.notify_one();
    stopping.await.unwrap();
    assert_eq!(world.bodies("results").len(), 1);
    assert_eq!(world.bodies("jobs")[0]["id"], "b", "nothing is admitted after the first stage");
}

#[tokio::test(start_paused = true)]
async fn an_operator_ends_a_running_job_into_the_dead_letters_or_for_good() {
    let run = executor(|_, _| std::future::pending().boxed());
    let world = World::new(vec![route("t", run, Policy::default())]);
    let engine = world.start();
    world.send("jobs", r#"{"id":"kept","type":"t"}"#).await;
    world.send("jobs", r#"{"id":"gone","type":"t"}"#).await;
    while world.shared.running.len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for (id, discard) in [("kept", false), ("gone", true)] {
        assert!(world.shared.running.cancel("jobs", id, Cancelled::Operator { by: "ann".into(), discard }));
    }
    world.holds("jobs", 0).await;
    world.holds("jobs.dead", 1).await;
    let failure = &world.failures()[0];
    assert_eq!((&failure["id"], &failure["reason"]), (&"kept".into(), &"aborted".into()));
    assert!(failure["message"].as_str().unwrap().contains("ann"));
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn messages_in_memory_stay_within_the_byte_budget() {
    let run = executor(|_, _| {
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            done()
        }
        .boxed()
    });
    let mut world = World::new(vec![route("t", run, Policy::default())]);
    let shared = Arc::get_mut(&mut world.shared).unwrap();
    shared.budget = Budget::new(3 << 20);
    world.slots = 64;
    let engine = world.start();
    for id in 0..12 {
        let body = format!(r#"{{"id":"{id}","type":"t","data":"{}"}}"#, "x".repeat(900 << 10));
        world.send("jobs", &body).await;
    }
    let mut most = 0;
    while world.bodies("results").len() < 12 {
        most = most.max(world.shared.running.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!((2..=3).contains(&most), "{most} jobs of 900 KiB ran at once in 3 MiB");
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn two_queues_are_served_in_turns() {
    let (order, seen) = (Arc::new(std::sync::Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let log = order.clone();
    let run = executor(move |job, _| {
        log.lock().unwrap().push(job.id.to_string());
        seen.fetch_add(1, Ordering::SeqCst);
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            done()
        }
        .boxed()
    });
    let mut world = World::new(vec![route("t", run, Policy::default())]);
    world.slots = 2;
    world.from.push(Arc::new(world.memory.queue("small")));
    for id in 0..1000 {
        world.send("jobs", &format!(r#"{{"id":"flood-{id}","type":"t"}}"#)).await;
    }
    for id in 0..10 {
        world.send("small", &format!(r#"{{"id":"small-{id}","type":"t"}}"#)).await;
    }
    let engine = world.start();
    world.holds("small", 0).await;
    let order = order.lock().unwrap().clone();
    let last = order.iter().rposition(|id| id.starts_with("small")).unwrap();
    assert!(last < 30, "the tenth job of the small queue came as number {last} beside a flood of 1000");
    engine.stop(Duration::ZERO).await;
}
