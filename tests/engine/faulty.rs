//! A seeded wrapper that fails, delays and drops what any queue is asked, before it is done or after, and keeps a ledger.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use windlass::job::{Life, Message};
use windlass::ports::{
    Capabilities, Delivery, Ending, Outgoing, Queue, QueueError, Receipt, Room, Settled, Sink, Sort, Source, Transfer, Unsettled,
};

/// A die that one seed decides.
#[derive(Clone)]
pub struct Dice(Arc<Mutex<fastrand::Rng>>);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    pub fn roll(&self, sides: usize) -> usize {
        self.0.lock().unwrap().usize(0..sides)
    }

    fn one_in(&self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    pub async fn dawdle(&self) {
        let millis = self.roll(50) as u64;
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// What is asked is late, or not done at all.
    async fn trouble(&self) -> Result<(), QueueError> {
        self.dawdle().await;
        if self.one_in(5) { Err(QueueError::Unavailable("a fault of the test".into())) } else { Ok(()) }
    }
}

fn answer_lost() -> QueueError {
    QueueError::Unavailable("done, but the answer was lost".into())
}

/// A queue with faults.
#[derive(Clone)]
pub struct Faulty {
    pub queue: Arc<dyn Queue>,
    pub dice: Dice,
    pub ledger: Arc<Ledger>,
}

/// What was confirmed and what was settled, in the order in which it happened.
#[derive(Default)]
pub struct Ledger {
    clock: AtomicU64,
    /// Job id → time of the last confirm of a retry, result or dead letter of it.
    confirmed: Mutex<HashMap<String, u64>>,
    violations: Mutex<Vec<String>>,
    /// The faults that struck receipts, by name.
    struck: Mutex<HashSet<&'static str>>,
}

impl Ledger {
    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }

    pub fn struck(&self) -> HashSet<&'static str> {
        self.struck.lock().unwrap().clone()
    }

    /// Whether a fault strikes now: the first time that it can, and then as the dice say.
    fn strikes(&self, fault: &'static str, rolled: bool) -> bool {
        self.struck.lock().unwrap().insert(fault) || rolled
    }
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

    async fn drained(&self) -> Result<bool, QueueError> {
        self.dice.trouble().await?;
        self.queue.drained().await
    }
}

struct FaultySource {
    source: Box<dyn Source>,
    faults: Faulty,
}

#[async_trait]
impl Source for FaultySource {
    /// Some deliveries are lost on the way, and come back when their receipts are dropped. A queue that keeps the order of
    /// a key hands out nothing of it past one that it has back, and so does this.
    async fn next(&mut self, room: Room) -> Result<Vec<Delivery>, QueueError> {
        self.faults.dice.dawdle().await;
        if self.faults.dice.one_in(20) {
            return Err(QueueError::Unavailable("a fault of the test".into()));
        }
        let (mut yielded, mut lost, mut keys) = (Vec::new(), Vec::new(), HashSet::new());
        for delivery in self.source.next(room).await? {
            let key = key_of(&delivery.message);
            if keys.contains(&key) || self.faults.dice.one_in(10) {
                keys.extend(key.is_some().then_some(key));
                lost.push(delivery);
            } else {
                yielded.push(self.wrap(delivery));
            }
        }
        Ok(yielded)
    }
}

fn key_of(message: &Message) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap_or_default();
    body["key"].as_str().map(str::to_owned)
}

impl FaultySource {
    fn wrap(&self, delivery: Delivery) -> Delivery {
        let job = job_of(&delivery.message);
        let since = self.faults.ledger.clock.load(Ordering::SeqCst);
        let receipt = FaultyReceipt { receipt: delivery.receipt, faults: self.faults.clone(), job, since };
        Delivery { receipt: Box::new(receipt), ..delivery }
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
            return Err(answer_lost());
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

/// What a settlement does, by the names of the faults that strike it.
struct Step {
    refused: &'static str,
    taken_away: &'static str,
    unanswered: &'static str,
    /// What the job's exit has to confirm first; none for a step that is the exit itself.
    ends: Option<&'static str>,
}

const ACK: Step = Step {
    refused: "ack refused",
    taken_away: "taken away before the ack",
    unanswered: "ack unanswered",
    ends: Some("acknowledged"),
};
const BURY: Step = Step {
    refused: "burial refused",
    taken_away: "taken away before the burial",
    unanswered: "burial unanswered",
    ends: Some("buried"),
};
const MOVE: Step =
    Step { refused: "move refused", taken_away: "taken away before the move", unanswered: "move unanswered", ends: None };

impl FaultyReceipt {
    /// What may strike before a settlement is done: it is refused, or the queue takes the message away.
    async fn before(self, step: &Step) -> Result<Self, Unsettled> {
        self.faults.dice.dawdle().await;
        if self.faults.strikes(step.refused, 5) {
            let error = QueueError::Unavailable("a fault of the test".into());
            return Err(Unsettled { receipt: Box::new(self), error });
        }
        if self.faults.strikes(step.taken_away, 12) {
            return Err(Unsettled { receipt: Box::new(Gone), error: QueueError::LeaseLost });
        }
        let confirmed = self.faults.ledger.confirmed.lock().unwrap().get(&self.job).copied();
        if let Some(done) = step.ends.filter(|_| confirmed.is_none_or(|at| at <= self.since)) {
            self.faults.ledger.violations.lock().unwrap().push(format!("{} was {done} first", self.job));
        }
        Ok(self)
    }
}

impl Faulty {
    /// What may strike after it was done.
    fn after(&self, step: &Step, settled: Result<Settled, Unsettled>) -> Result<Settled, Unsettled> {
        let settled = settled?;
        if self.strikes(step.unanswered, 8) {
            return Err(Unsettled { receipt: Box::new(Gone), error: answer_lost() });
        }
        Ok(settled)
    }

    fn strikes(&self, fault: &'static str, sides: usize) -> bool {
        self.ledger.strikes(fault, self.dice.one_in(sides))
    }
}

#[async_trait]
impl Receipt for FaultyReceipt {
    async fn ack(self: Box<Self>, ending: Ending) -> Result<Settled, Unsettled> {
        let FaultyReceipt { receipt, faults, .. } = self.before(&ACK).await?;
        faults.after(&ACK, receipt.ack(ending).await)
    }

    async fn transfer(self: Box<Self>, copy: Transfer) -> Result<Settled, Unsettled> {
        let step = if matches!(copy, Transfer::Dead { .. }) { &BURY } else { &MOVE };
        let FaultyReceipt { receipt, faults, .. } = self.before(step).await?;
        faults.after(step, receipt.transfer(copy).await)
    }

    async fn extend(&self, lease: Duration) -> Result<(), QueueError> {
        if self.faults.dice.one_in(4) {
            return Err(QueueError::Unavailable("a fault of the test".into()));
        }
        self.receipt.extend(lease).await
    }

    async fn mark(&self, life: &Life) -> Result<(), QueueError> {
        self.faults.dice.dawdle().await;
        if self.faults.strikes("mark refused", 5) {
            return Err(QueueError::Unavailable("a fault of the test".into()));
        }
        self.receipt.mark(life).await?;
        if self.faults.strikes("mark unanswered", 8) { Err(answer_lost()) } else { Ok(()) }
    }
}

/// The receipt of a message that is settled or somebody else's by now.
struct Gone;

#[async_trait]
impl Receipt for Gone {
    async fn ack(self: Box<Self>, _: Ending) -> Result<Settled, Unsettled> {
        Ok(Settled::Fenced)
    }

    async fn transfer(self: Box<Self>, _: Transfer) -> Result<Settled, Unsettled> {
        Ok(Settled::Fenced)
    }

    async fn extend(&self, _: Duration) -> Result<(), QueueError> {
        Err(QueueError::LeaseLost)
    }

    async fn mark(&self, _: &Life) -> Result<(), QueueError> {
        Err(QueueError::LeaseLost)
    }
}
