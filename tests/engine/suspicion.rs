//! Who is charged when a worker dies: only a job that was marked and ran alone. And what a lost lease changes: nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use serde_json::json;
use windlass::job::{JOB_HEADER, Job, Life, Message};
use windlass::outcome::{Class, Failure, Outcome};
use windlass::ports::{
    Capabilities, Context, Delivery, Ending, Executor, Queue, QueueError, Receipt, Room, Settled, Sink, Sort, Source, Transfer,
    Unsettled,
};
use windlass::retry::Policy;

use crate::support::{done, executor, route, telemetry};
use crate::world::World;

type Marks = Arc<Mutex<Vec<Life>>>;

/// What becomes of a renewal.
#[derive(Clone, Copy)]
enum Renewal {
    Done,
    /// It says that the lease is lost.
    Lost,
    /// It says that all is well and does not reach the queue, as of a worker that was frozen meanwhile.
    Unheard,
}

type Renewals = Arc<Mutex<Renewal>>;

/// A queue that says of every message with `suspect` in it that three workers died with it, and notes the marks.
struct Doubtful {
    queue: Arc<dyn Queue>,
    marks: Marks,
    renewals: Renewals,
}

struct DoubtfulSource {
    source: Box<dyn Source>,
    marks: Marks,
    renewals: Renewals,
}

struct DoubtfulReceipt {
    receipt: Box<dyn Receipt>,
    marks: Marks,
    renewals: Renewals,
}

#[async_trait]
impl Queue for Doubtful {
    fn name(&self) -> &str {
        self.queue.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.queue.capabilities()
    }

    async fn source(&self, sort: Sort) -> Result<Box<dyn Source>, QueueError> {
        let source = self.queue.source(sort).await?;
        Ok(Box::new(DoubtfulSource { source, marks: self.marks.clone(), renewals: self.renewals.clone() }))
    }

    fn sink(&self) -> Arc<dyn Sink> {
        self.queue.sink()
    }

    fn dead_letters(&self) -> Arc<dyn Sink> {
        self.queue.dead_letters()
    }

    fn parked(&self, name: &str) -> Arc<dyn Queue> {
        self.queue.parked(name)
    }

    async fn places(&self) -> Result<Vec<Arc<str>>, QueueError> {
        self.queue.places().await
    }

    async fn drained(&self) -> Result<bool, QueueError> {
        self.queue.drained().await
    }
}

#[async_trait]
impl Source for DoubtfulSource {
    async fn next(&mut self, room: Room) -> Result<Vec<Delivery>, QueueError> {
        let deliveries = self.source.next(room).await?;
        let doubt = |delivery: Delivery| {
            let suspect = delivery.message.body.windows(7).any(|word| word == b"suspect");
            let receipt =
                DoubtfulReceipt { receipt: delivery.receipt, marks: self.marks.clone(), renewals: self.renewals.clone() };
            Delivery { receipt: Box::new(receipt), unsettled: if suspect { 3 } else { 2 }, ..delivery }
        };
        Ok(deliveries.into_iter().map(doubt).collect())
    }
}

#[async_trait]
impl Receipt for DoubtfulReceipt {
    async fn ack(self: Box<Self>, ending: Ending) -> Result<Settled, Unsettled> {
        self.receipt.ack(ending).await
    }

    async fn transfer(self: Box<Self>, copy: Transfer) -> Result<Settled, Unsettled> {
        self.receipt.transfer(copy).await
    }

    async fn extend(&self, lease: Duration) -> Result<(), QueueError> {
        let renewal = *self.renewals.lock().unwrap();
        match renewal {
            Renewal::Done => self.receipt.extend(lease).await,
            Renewal::Lost => Err(QueueError::LeaseLost),
            Renewal::Unheard => Ok(()),
        }
    }

    async fn mark(&self, life: &Life) -> Result<(), QueueError> {
        self.marks.lock().unwrap().push(life.clone());
        self.receipt.mark(life).await
    }
}

fn doubt(world: &mut World) -> (Marks, Renewals) {
    let (marks, renewals) = (Arc::default(), Arc::new(Mutex::new(Renewal::Done)));
    let queue = Doubtful { queue: world.from.remove(0), marks: Arc::clone(&marks), renewals: renewals.clone() };
    world.from = vec![Arc::new(queue)];
    (marks, renewals)
}

#[tokio::test(start_paused = true)]
async fn a_suspect_runs_alone_after_a_durable_start_mark_and_innocents_beside_each_other() {
    let (running, most_beside) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (marks_at_start, beside_suspect) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let marks_seen: Arc<Mutex<Option<Marks>>> = Arc::default();
    let (now, most, at_start, beside, seen) =
        (running, most_beside.clone(), marks_at_start.clone(), beside_suspect.clone(), marks_seen.clone());
    let run = executor(move |job, context| {
        let others = now.fetch_add(1, Ordering::SeqCst);
        most.fetch_max(others, Ordering::SeqCst);
        if job.id.starts_with("suspect") {
            assert!(context.alone);
            beside.fetch_max(others, Ordering::SeqCst);
            let marks = seen.lock().unwrap().as_ref().map_or(0, |marks| marks.lock().unwrap().len());
            at_start.fetch_max(marks, Ordering::SeqCst);
        }
        let (now, beside, suspect) = (now.clone(), beside.clone(), job.id.starts_with("suspect"));
        async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let others = now.fetch_sub(1, Ordering::SeqCst) - 1;
            if suspect {
                beside.fetch_max(others, Ordering::SeqCst);
            }
            done()
        }
        .boxed()
    });
    let mut world = World::new(vec![route("t", run, Policy::default())]);
    let (marks, _) = doubt(&mut world);
    *marks_seen.lock().unwrap() = Some(marks.clone());
    for id in 0..20 {
        let name = if id == 3 { "suspect" } else { "innocent" };
        world.send("jobs", &format!(r#"{{"id":"{name}-{id}","type":"t"}}"#)).await;
    }
    let engine = world.start();
    world.holds("results", 20).await;
    engine.stop(Duration::from_secs(5)).await;
    assert!(most_beside.load(Ordering::SeqCst) > 1, "innocents run beside each other");
    assert_eq!(beside_suspect.load(Ordering::SeqCst), 0, "something ran beside the suspect");
    assert_eq!(marks_at_start.load(Ordering::SeqCst), 1, "the mark must stand before the run starts");
    let marks: Vec<bool> = marks.lock().unwrap().iter().map(|life| life.suspect).collect();
    assert_eq!(marks, [true, false], "once the run is over, a death of the worker is not its doing");
}

/// An executor that takes a minute to be ready, and notes how many marks there were by then.
struct Slow {
    marks: Arc<Mutex<Option<Marks>>>,
    marks_when_ready: Arc<Mutex<Vec<usize>>>,
}

#[async_trait]
impl Executor for Slow {
    async fn execute(&self, _: &Job, _: &Context) -> Outcome {
        done()
    }

    async fn prepare(&self, _: &Context) {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let marks = self.marks.lock().unwrap().as_ref().map_or(0, |marks| marks.lock().unwrap().len());
        self.marks_when_ready.lock().unwrap().push(marks);
    }

    async fn stop(&self, _: Duration) {}
}

#[tokio::test(start_paused = true)]
async fn a_suspect_is_marked_only_once_its_run_has_all_that_it_needs() {
    let (marks_seen, marks_when_ready) = (Arc::<Mutex<Option<Marks>>>::default(), Arc::<Mutex<Vec<usize>>>::default());
    let slow = Slow { marks: marks_seen.clone(), marks_when_ready: marks_when_ready.clone() };
    let mut world = World::new(vec![route("t", Arc::new(slow), Policy::default())]);
    let (marks, _) = doubt(&mut world);
    *marks_seen.lock().unwrap() = Some(marks.clone());
    world.send("jobs", r#"{"id":"suspect","type":"t"}"#).await;
    let engine = world.start();
    world.holds("results", 1).await; // two leases have passed meanwhile
    engine.stop(Duration::ZERO).await;
    assert_eq!(*marks_when_ready.lock().unwrap(), [0]);
    assert_eq!(marks.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_suspect_whose_worker_lives_through_its_run_has_a_crash_taken_off() {
    let run = executor(|_, _| async { Failure::new(Class::Failed, "not yet").into() }.boxed());
    let mut world = World::new(vec![route("t", run, Policy { attempts: 2, ..Policy::default() })]);
    doubt(&mut world);
    let mut message = Message::of(r#"{"id":"suspect","type":"t"}"#);
    message.set_header(JOB_HEADER, Life { crashes: 2, ..Life::default() }.to_json());
    world.send_message("jobs", message).await;
    let engine = world.start();
    world.holds("jobs.dead", 1).await;
    engine.stop(Duration::ZERO).await;
    let failure = &world.failures()[0];
    assert_eq!((&failure["attempts"], &failure["crashes"]), (&json!(2), &json!(0)), "each of its two runs took one off");
}

#[tokio::test(start_paused = true)]
async fn a_suspect_that_is_interrupted_is_given_back_without_its_mark() {
    let run = executor(|_, _| std::future::pending().boxed());
    let mut world = World::new(vec![route("t", run, Policy::default())]);
    let (marks, _) = doubt(&mut world);
    world.send("jobs", r#"{"id":"suspect","type":"t"}"#).await;
    let engine = world.start();
    while marks.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    engine.stop(Duration::ZERO).await;
    let marks: Vec<bool> = marks.lock().unwrap().iter().map(|life| life.suspect).collect();
    assert_eq!(marks, [true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_lease_is_lost_is_ended_and_changes_nothing() {
    let run = executor(|_, _| std::future::pending().boxed());
    let mut world = World::new(vec![route("t", run, Policy { timeout: Duration::from_secs(3600), ..Policy::default() })]);
    let (_, renewals) = doubt(&mut world);
    *renewals.lock().unwrap() = Renewal::Lost;
    world.send("jobs", r#"{"id":"a","type":"t"}"#).await;
    let engine = world.start();
    while world.shared.running.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let since = world.shared.running.list()[0].since;
    while world.shared.running.list().iter().any(|job| job.since == since) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    engine.stop(Duration::ZERO).await;
    assert_eq!((world.bodies("results").len(), world.failures().len()), (0, 0));
    assert!(world.queue("jobs").messages()[0].header("windlass-job").is_none(), "a lost lease is no attempt");
}

#[tokio::test(start_paused = true)]
async fn a_settlement_after_the_lease_was_lost_unnoticed_changes_nothing_and_is_counted() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = runs.clone();
    let run = executor(move |_, _| {
        let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            tokio::time::sleep(Duration::from_secs(if first { 100 } else { 1 })).await;
            done()
        }
        .boxed()
    });
    let mut world = World::new(vec![route("t", run, Policy::default())]);
    let telemetry = telemetry();
    let ours = telemetry.clone();
    world.tune = Box::new(move |pool| pool.metrics = ours.pool("default"));
    let (_, renewals) = doubt(&mut world);
    *renewals.lock().unwrap() = Renewal::Unheard;
    world.send("jobs", r#"{"id":"a","type":"t"}"#).await;
    let engine = world.start();
    world.holds("results", 2).await;
    tokio::time::sleep(Duration::from_secs(1)).await; // publish, then acknowledge
    let metrics = telemetry.render();
    assert!(metrics.contains("windlass_fenced_acks_total{pool=\"default\"} 1\n"), "{metrics}");
    world.holds("jobs", 0).await;
    engine.stop(Duration::ZERO).await;
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    let results = world.bodies("results");
    assert_eq!(results.iter().map(|event| &event["id"]).collect::<Vec<_>>(), ["a:0:completed"; 2], "one id, however often");
    assert_eq!(world.failures().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_behind_a_lost_head_of_their_key_do_not_run_before_it_comes_again() {
    let runs: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = runs.clone();
    let run = executor(move |job, _| {
        log.lock().unwrap().push(job.id.to_string());
        async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            done()
        }
        .boxed()
    });
    let mut ordered = Arc::into_inner(route("t", run, Policy::default())).unwrap();
    ordered.rules = Arc::new(windlass::engine::turns::Rules { ordered: true, ..crate::support::rules("t") });
    let mut world = World::new(vec![Arc::new(ordered)]);
    let (_, renewals) = doubt(&mut world);
    *renewals.lock().unwrap() = Renewal::Lost;
    for id in ["x-0", "x-1", "x-2"] {
        world.send("jobs", &format!(r#"{{"id":"{id}","type":"t","key":"x"}}"#)).await;
    }
    let engine = world.start();
    tokio::time::sleep(Duration::from_secs(11)).await; // the first renewal has found the lease gone
    *renewals.lock().unwrap() = Renewal::Done;
    world.holds("results", 3).await;
    assert_eq!(*runs.lock().unwrap(), ["x-0", "x-0", "x-1", "x-2"]);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_suspect_keeps_its_lease_and_many_suspects_take_turns() {
    let runs: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = runs.clone();
    let run = executor(move |job, _| {
        log.lock().unwrap().push(job.id.to_string());
        async {
            tokio::time::sleep(Duration::from_secs(100)).await; // three leases
            done()
        }
        .boxed()
    });
    let mut world = World::new(vec![route("t", run, Policy::default())]);
    doubt(&mut world);
    for id in ["suspect-1", "innocent-1", "suspect-2", "innocent-2", "suspect-3"] {
        world.send("jobs", &format!(r#"{{"id":"{id}","type":"t"}}"#)).await;
    }
    let engine = world.start();
    world.holds("results", 5).await;
    engine.stop(Duration::from_secs(5)).await;
    let mut runs = runs.lock().unwrap().clone();
    runs.sort();
    assert_eq!(runs, ["innocent-1", "innocent-2", "suspect-1", "suspect-2", "suspect-3"], "each runs once");
}
