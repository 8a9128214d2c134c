//! A seeded wrapper that drops, repeats, delays and fails any queue: nothing is lost, every job ends, and nothing is
//! acknowledged before what it published was confirmed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use windlass::job::{Life, Message};
use windlass::outcome::{Class, Failure, Interruption, Outcome};
use windlass::ports::{
    Capabilities, Delivery, Ending, Outgoing, Queue, QueueError, Receipt, Room, Settled, Sink, Sort, Source, Transfer, Unsettled,
};
use windlass::retry::{Backoff, Policy};

use crate::support::{done, executor, route};
use crate::world::World;

const JOBS: usize = 60;

/// A die that one seed decides.
#[derive(Clone)]
struct Dice(Arc<Mutex<fastrand::Rng>>);

impl Dice {
    fn one_in(&self, sides: u32) -> bool {
        self.0.lock().unwrap().u32(0..sides) == 0
    }

    async fn dawdle(&self) {
        let millis = self.0.lock().unwrap().u64(0..50);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    async fn trouble(&self) -> Result<(), QueueError> {
        self.dawdle().await;
        if self.one_in(5) { Err(QueueError::Unavailable("a fault of the test".into())) } else { Ok(()) }
    }
}

#[derive(Clone)]
struct Faulty {
    queue: Arc<dyn Queue>,
    dice: Dice,
    ledger: Arc<Ledger>,
}

/// What was confirmed and what was acknowledged, in the order in which it happened.
#[derive(Default)]
struct Ledger {
    clock: AtomicU64,
    /// Job id → time of the first confirm of its retry, result or dead letter for each generation seen.
    confirmed: Mutex<HashMap<String, u64>>,
    violations: Mutex<Vec<String>>,
}

fn job_of(message: &Message) -> String {
    let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap_or_default();
    body["subject"].as_str().or(body["id"].as_str()).unwrap_or_default().to_owned()
}

#[async_trait]
impl Queue for Faulty {
    fn name(&self) -> &str {
        self.queue.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.queue.capabilities()
    }

    async fn source(&self, sort: Sort) -> Result<Box<dyn Source>, QueueError> {
        self.dice.trouble().await?;
        Ok(Box::new(FaultySource { source: self.queue.source(sort).await?, faults: self.clone() }))
    }

    fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(FaultySink { sink: self.queue.sink(), faults: self.clone() })
    }

    fn dead_letters(&self) -> Arc<dyn Sink> {
        Arc::new(FaultySink { sink: self.queue.dead_letters(), faults: self.clone() })
    }

    fn parked(&self, name: &str) -> Arc<dyn Queue> {
        Arc::new(Faulty { queue: self.queue.parked(name), ..self.clone() })
    }

    async fn places(&self) -> Result<Vec<Arc<str>>, QueueError> {
        self.dice.trouble().await?;
        self.queue.places().await
    }
}

struct FaultySource {
    source: Box<dyn Source>,
    faults: Faulty,
}

#[async_trait]
impl Source for FaultySource {
    async fn next(&mut self, room: Room) -> Result<Vec<Delivery>, QueueError> {
        self.faults.dice.trouble().await?;
        let deliveries = self.source.next(room).await?;
        let wrap = |delivery: Delivery| {
            let job = job_of(&delivery.message);
            let since = self.faults.ledger.clock.load(Ordering::SeqCst);
            let receipt = FaultyReceipt { receipt: delivery.receipt, faults: self.faults.clone(), job, since };
            Delivery { receipt: Box::new(receipt), ..delivery }
        };
        // some are lost on the way and come back when their receipts are dropped
        Ok(deliveries.into_iter().map(wrap).filter(|_| !self.faults.dice.one_in(10)).collect())
    }
}

struct FaultySink {
    sink: Arc<dyn Sink>,
    faults: Faulty,
}

#[async_trait]
impl Sink for FaultySink {
    fn address(&self) -> &str {
        self.sink.address()
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), QueueError> {
        self.faults.dice.trouble().await?;
        let job = job_of(&outgoing.message);
        if self.faults.dice.one_in(8) {
            self.sink.send(outgoing.clone()).await?; // kept twice
        }
        self.sink.send(outgoing).await?;
        if self.faults.dice.one_in(8) {
            return Err(QueueError::Unavailable("kept, but the confirm was lost".into()));
        }
        let now = self.faults.ledger.clock.fetch_add(1, Ordering::SeqCst) + 1;
        self.faults.ledger.confirmed.lock().unwrap().insert(job, now);
        Ok(())
    }
}

struct FaultyReceipt {
    receipt: Box<dyn Receipt>,
    faults: Faulty,
    job: String,
    since: u64,
}

#[async_trait]
impl Receipt for FaultyReceipt {
    async fn ack(self: Box<Self>, ending: Ending) -> Result<Settled, Unsettled> {
        if let Err(error) = self.faults.dice.trouble().await {
            return Err(Unsettled { receipt: self, error });
        }
        let confirmed = self.faults.ledger.confirmed.lock().unwrap().get(&self.job).copied();
        if confirmed.is_none_or(|at| at <= self.since) {
            self.faults.ledger.violations.lock().unwrap().push(format!("{} was acknowledged first", self.job));
        }
        self.receipt.ack(ending).await
    }

    async fn transfer(self: Box<Self>, copy: Transfer) -> Result<Settled, Unsettled> {
        self.receipt.transfer(copy).await
    }

    async fn extend(&self, lease: Duration) -> Result<(), QueueError> {
        if self.faults.dice.one_in(4) {
            return Err(QueueError::Unavailable("a fault of the test".into()));
        }
        self.receipt.extend(lease).await
    }

    async fn mark(&self, life: &Life) -> Result<(), QueueError> {
        self.receipt.mark(life).await
    }
}

fn outcome(dice: &Dice, poison: bool) -> Outcome {
    let classes = [Class::Failed, Class::Timeout, Class::Throttled, Class::Unavailable];
    if poison {
        return Failure::new(Class::Crashed, "it always does").into();
    }
    match dice.0.lock().unwrap().usize(0..10) {
        pick @ 0..=3 => Failure::new(classes[pick], "by the dice").into(),
        4 => Outcome::Interrupted(Interruption::Neighbour),
        _ => done(),
    }
}

async fn run(seed: u64) {
    let dice = Dice(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))));
    let ledger = Arc::new(Ledger::default());
    let die = dice.clone();
    let run = executor(move |job, _| {
        let (dice, poison) = (die.clone(), job.id.starts_with("poison"));
        async move {
            dice.dawdle().await;
            outcome(&dice, poison)
        }
        .boxed()
    });
    let policy = Policy { backoff: Backoff { cap: Duration::from_secs(5), ..Backoff::default() }, ..Policy::default() };
    let mut world = World::new(vec![route("t", run, policy)]);
    world.from = vec![Arc::new(Faulty { queue: world.from.remove(0), dice: dice.clone(), ledger: ledger.clone() })];
    let results = Faulty { queue: Arc::new(world.queue("results")), dice, ledger: ledger.clone() };
    world.results = Some(results.sink());
    for id in 0..JOBS {
        let name = if id % 20 == 0 { "poison" } else { "job" };
        world.send("jobs", &format!(r#"{{"id":"{name}-{id}","type":"t"}}"#)).await;
    }
    let engine = world.start();
    world.holds("jobs", 0).await;
    engine.stop(Duration::from_secs(1)).await;
    check(&world, &ledger);
}

fn check(world: &World, ledger: &Ledger) {
    assert_eq!(*ledger.violations.lock().unwrap(), Vec::<String>::new());
    let events = world.bodies("results");
    let ended = |id: &str, suffix: &str| events.iter().any(|event| event["id"] == format!("{id}:0:{suffix}"));
    let dead: Vec<String> = world.failures().iter().map(|failure| failure["id"].as_str().unwrap().to_owned()).collect();
    for id in 0..JOBS {
        if id % 20 == 0 {
            let id = format!("poison-{id}");
            assert!(dead.contains(&id) && ended(&id, "failed"), "{id} is not in the dead letters");
        } else {
            assert!(ended(&format!("job-{id}"), "completed"), "job-{id} is lost");
        }
    }
    assert!(dead.iter().all(|id| id.starts_with("poison")), "innocents in the dead letters: {dead:?}");
}

#[test]
fn nothing_is_lost_and_nothing_is_acknowledged_early_under_any_seed() {
    let seeds: Vec<u64> = match std::env::var("WINDLASS_SEED") {
        Ok(seed) => vec![seed.parse().expect("WINDLASS_SEED is a number")],
        Err(_) => (0..200).collect(),
    };
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(seed))));
        assert!(outcome.is_ok(), "run again with WINDLASS_SEED={seed}");
    }
}
