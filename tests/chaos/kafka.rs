//! Workers on a real Kafka die without a word, freeze, and lose their broker; an outside ledger knows what was promised.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::runtime::Runtime;
use windlass::job::decode::facets::sort;
use windlass::job::{Decoding, FailureDocument, Message};
use windlass::ports::{Delivery, Outgoing, Queue, Room};
use windlass::queues::kafka::config::{Create, KafkaConfig};
use windlass::units::Span;

use crate::fleet::{Worker, pause};
use crate::ledger::{Confirmed, Runs};
use crate::server::server;
use crate::world::JOB;

const CONFIG: &str = r#"
worker: { grace: 10s }
queues:
  jobs: { kafka: { brokers: "BROKERS", topic: PREFIX-jobs, group: PREFIX, delays: PREFIX.delay, session: 3s, drain: 5s } }
  results: { kafka: { brokers: "BROKERS", topic: PREFIX-results, group: PREFIX-r, delays: PREFIX.delay } }
executors:
  ledger:
    command: { run: [python3, job.py], persistent: true, workers: 1, concurrency: 16, env_allow: [LEDGER] }
routes:
  - { type: bad, run: ledger, retry: { attempts: 2, base: 20ms } }
  - { type: work, run: ledger, retry: { base: 20ms, cap: 500ms } }
  - { type: order.*, run: ledger, order_by: key, retry: { base: 20ms, cap: 500ms } }
pools:
  default: { from: [jobs], results: results, slots: 16 }
api: { listen: null }
telemetry: { listen: null }
"#;

/// Longer than a death is noticed, its partitions are taken over and what was delayed comes back, on a machine that is busy.
const SILENCE: Duration = Duration::from_secs(45);
/// How many jobs one worker may be running, or may have finished within the last commit, when it dies.
const IN_FLIGHT: usize = 16 + 200;

pub struct World {
    folder: tempfile::TempDir,
    pub runtime: Runtime,
    pub jobs: Arc<dyn Queue>,
    pub results: Arc<dyn Queue>,
    dead: Arc<dyn Queue>,
    confirmed: Confirmed,
    /// What the names of its topics begin with.
    pub prefix: String,
}

/// What came out: how often each job was completed, and the failures of those that are dead.
#[derive(Default)]
pub struct Out {
    completed: HashMap<String, usize>,
    dead: BTreeMap<String, FailureDocument>,
}

impl World {
    pub fn new(brokers: &str) -> Self {
        World::with(brokers, CONFIG)
    }

    pub fn with(brokers: &str, config: &str) -> Self {
        let prefix = format!("c{}", uuid::Uuid::now_v7().simple());
        let folder = tempfile::Builder::new().prefix("windlass-kafka-").tempdir().unwrap();
        let config = config.replace("BROKERS", brokers).replace("PREFIX", &prefix);
        std::fs::write(folder.path().join("windlass.yaml"), config).unwrap();
        std::fs::write(folder.path().join("job.py"), JOB).unwrap();
        let runtime = Runtime::new().unwrap();
        let open = |topic: String, group: String| {
            let config = KafkaConfig {
                group,
                delays: format!("{prefix}.delay"),
                create: Create { partitions: 6, ..Create::default() },
                session: Span(Duration::from_secs(6)),
                ..KafkaConfig::at(brokers, &topic)
            };
            let queue = windlass::queues::kafka::open("q", &config, Path::new("")).unwrap();
            runtime.block_on(queue.create(Some(&["ledger".into(), "no-route".into()]))).unwrap();
            queue
        };
        let jobs = open(format!("{prefix}-jobs"), prefix.clone());
        let results = open(format!("{prefix}-results"), format!("{prefix}-r"));
        let dead = open(format!("{prefix}-jobs.{prefix}.dead"), format!("{prefix}-d"));
        World { folder, runtime, jobs, results, dead, confirmed: Confirmed::default(), prefix }
    }

    pub fn ledger(&self) -> PathBuf {
        self.folder.path().join("ledger")
    }

    pub fn start(&self) -> Worker {
        Worker::start(self.folder.path(), None, &[("LEDGER", self.ledger().display().to_string())])
    }

    /// Whether it was confirmed.
    pub fn send(&self, id: &str, kind: &str, key: Option<&str>, fails: u32) -> bool {
        let body = format!(r#"{{"id":"{id}","type":"{kind}","data":{{"fails":{fails}}}}}"#);
        let key = key.map(|key| bytes::Bytes::copy_from_slice(key.as_bytes()));
        let message = Message { key, ..Message::of(body) };
        let sent = self.runtime.block_on(self.jobs.sink().send(Outgoing { message, ..Outgoing::default() }));
        if sent.is_ok() {
            self.confirmed.add([id.to_owned()]);
        }
        sent.is_ok()
    }

    /// One of the jobs that are sent: plain, failing once, in order by one of eight keys, or bad for good.
    pub fn send_number(&self, number: usize) {
        match number % 10 {
            0 => self.send(&format!("bad-{number}"), "bad", None, 99),
            1 | 2 => self.send(&format!("once-{number}"), "work", None, 1),
            3..6 => {
                let key = format!("key-{}", number % 8);
                self.send(&format!("{key}-{number}"), "order.a", Some(&key), u32::from(number % 30 == 3))
            }
            _ => self.send(&format!("work-{number}"), "work", None, 0),
        };
    }

    /// Reads what comes out until it is all there. When nothing more comes, it says what is lost.
    pub fn collect(&self, expected: usize) -> Out {
        let mut out = Out::default();
        self.runtime.block_on(async {
            let mut results = self.results.source(sort(&Decoding::Envelope)).await.unwrap();
            let mut dead = self.dead.source(sort(&Decoding::Envelope)).await.unwrap();
            let room = Room { jobs: 500, bytes: 64 << 20, lease: Duration::from_secs(30) };
            let (mut ended, mut since) = (0, Instant::now());
            while ended < expected {
                if out.completed.len() + out.dead.len() > ended {
                    (ended, since) = (out.completed.len() + out.dead.len(), Instant::now());
                }
                assert!(since.elapsed() < SILENCE, "of {expected} jobs {ended} ended, lost are {:?}", self.lost(&out));
                tokio::select! {
                    came = results.next(room) => for delivery in came.unwrap() { out.result(delivery).await },
                    came = dead.next(room) => for delivery in came.unwrap() { out.grave(delivery).await },
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
        });
        out
    }

    /// The jobs that the producer saw confirmed.
    pub fn confirmed(&self) -> HashSet<String> {
        self.confirmed.ids()
    }

    /// Jobs that were confirmed and have not ended.
    fn lost(&self, out: &Out) -> Vec<String> {
        let ended = |id: &String| out.completed.contains_key(id) || out.dead.contains_key(id);
        self.confirmed.ids().into_iter().filter(|id| !ended(id)).collect()
    }

    pub fn settle_accounts(&self, out: &Out, deaths: usize) {
        let (confirmed, lost) = (self.confirmed.ids(), self.lost(out));
        assert!(lost.is_empty(), "lost: {lost:?}");
        let innocent: Vec<&String> = out.dead.keys().filter(|id| !id.starts_with("bad-")).collect();
        assert!(innocent.is_empty(), "dead without a reason: {innocent:?}");
        assert!(out.dead.values().all(|failure| failure.attempts == 2), "attempts were forgotten or counted twice");
        let runs = Runs(self.ledger()).read();
        let again: usize = runs.values().map(|counts| counts.ends.saturating_sub(1)).sum();
        println!("{} jobs, {deaths} deaths, {again} ran again", confirmed.len());
        assert!(again <= deaths * IN_FLIGHT, "{again} jobs ran again over {deaths} deaths");
        let wrong = first_successes_out_of_order(&self.ledger());
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

/// Of each key, the jobs that ended for the first time after a later one of their key.
fn first_successes_out_of_order(ledger: &Path) -> Vec<String> {
    let mut furthest: HashMap<String, usize> = HashMap::new();
    let mut seen = HashSet::new();
    let mut wrong = Vec::new();
    for id in std::fs::read_to_string(ledger).unwrap_or_default().lines().filter_map(|line| line.strip_prefix("end ")) {
        let Some((key, number)) = id.strip_prefix("key-").and_then(|rest| rest.split_once('-')) else { continue };
        let number: usize = number.parse().unwrap();
        if !seen.insert(id.to_owned()) {
            continue;
        }
        let furthest = furthest.entry(key.to_owned()).or_default();
        if number < *furthest {
            wrong.push(format!("{id} after {furthest}"));
        }
        *furthest = number.max(*furthest);
    }
    wrong
}

impl Out {
    async fn result(&mut self, delivery: Delivery) {
        let event: serde_json::Value = serde_json::from_slice(&delivery.message.body).unwrap();
        if event["type"] == "windlass.job.completed" {
            *self.completed.entry(event["subject"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        drop(delivery.receipt.ack(ending()).await);
    }

    async fn grave(&mut self, delivery: Delivery) {
        let failure: FailureDocument = serde_json::from_slice(delivery.message.header("windlass-failure").unwrap()).unwrap();
        self.dead.insert(failure.id.to_string(), failure);
        drop(delivery.receipt.ack(ending()).await);
    }
}

pub fn ending() -> windlass::ports::Ending {
    windlass::ports::Ending { end: windlass::ports::End::Completed, event: None, at: jiff::Timestamp::now() }
}

fn measure() -> (usize, usize) {
    match std::env::var("WINDLASS_CHAOS").as_deref() {
        Ok("long") => (100_000, 120),
        _ => (1500, 8),
    }
}

#[test]
#[ignore = "needs Kafka: ./test brings it"]
fn kill_9_of_one_of_three_workers_loses_nothing() {
    let world = World::new(&server("kafka"));
    let (jobs, kills) = measure();
    let mut dice = fastrand::Rng::with_seed(crate::seed());
    let mut workers: Vec<Worker> = (0..3).map(|_| world.start()).collect();
    for kill in 0..kills {
        (0..jobs / kills).for_each(|number| world.send_number(kill * (jobs / kills) + number));
        pause(Duration::from_millis(dice.u64(300..2500)));
        let victim = dice.usize(0..3);
        drop(workers.remove(victim)); // killed
        workers.push(world.start());
    }
    let out = world.collect(world.confirmed.ids().len());
    workers.into_iter().for_each(Worker::stop);
    world.settle_accounts(&out, kills);
}

#[test]
#[ignore = "needs Kafka: ./test brings it"]
fn a_worker_that_is_frozen_past_its_session_loses_nothing() {
    let world = World::new(&server("kafka"));
    let workers: Vec<Worker> = (0..2).map(|_| world.start()).collect();
    (0..300).for_each(|number| world.send_number(number));
    pause(Duration::from_secs(1));
    workers[0].signal(Signal::SIGSTOP);
    (300..600).for_each(|number| world.send_number(number));
    pause(Duration::from_secs(6));
    workers[0].signal(Signal::SIGCONT);
    (600..700).for_each(|number| world.send_number(number));
    let out = world.collect(world.confirmed.ids().len());
    workers.into_iter().for_each(Worker::stop);
    world.settle_accounts(&out, 1);
}

#[test]
#[ignore = "needs Kafka: ./test brings it"]
fn the_one_job_that_kills_its_worker_on_kafka_ends_as_poison_and_no_innocent_is_charged() {
    let world = World::new(&server("kafka"));
    (0..40).for_each(|number| assert!(world.send(&format!("work-{number}"), "work", Some("k"), 0)));
    assert!(world.send("poison", "work", Some("k"), 0));
    (40..80).for_each(|number| assert!(world.send(&format!("work-{number}"), "work", Some("k"), 0)));
    let (mut deaths, end) = (0, Instant::now() + Duration::from_secs(180));
    let mut worker = world.start();
    let ended = || Runs(world.ledger()).read().values().filter(|counts| counts.ends > 0).count();
    while ended() < 80 {
        assert!(Instant::now() < end, "{} ended, {deaths} workers died", ended());
        if worker.dies_within(Duration::from_millis(200)) {
            deaths += 1;
            worker = world.start();
        }
    }
    while deaths < 3 || worker.dies_within(Duration::from_secs(8)) {
        assert!(Instant::now() < end, "{deaths} workers died");
        if !worker.is_alive() {
            deaths += 1;
            worker = world.start();
        }
    }
    let out = world.collect(81);
    worker.stop();
    println!("{deaths} workers died");
    assert!(deaths <= 12, "{deaths} workers died of one job");
    let dead: Vec<_> = out.dead.iter().map(|(id, failure)| (&**id, failure.reason.as_str(), failure.crashes)).collect();
    assert_eq!(dead, [("poison", "poison", 3)]);
    assert_eq!(out.completed.len(), 80);
}
