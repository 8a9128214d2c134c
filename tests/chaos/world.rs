//! One data directory, its producer, its workers, and the accounts at the end.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use windlass::job::decode::facets::sort;
use windlass::job::{Decoding, FailureDocument};
use windlass::ports::{Admin as _, Cursor, Entry, Filter, Room, State};
use windlass::queues::embedded::config::EmbeddedConfig;
use windlass::queues::embedded::{Store, StoreOptions, socket_path};

use crate::fleet::{Death, Worker, pause, request};
use crate::ledger::{Confirmed, Runs};

/// Jobs in one request of the producer.
const CHUNK: usize = 50;
/// Jobs at once in a worker.
const SLOTS: usize = 64;
/// Jobs of a batch.
pub const BATCH: usize = 25;
/// The job of each batch that an operator cancels while it waits.
pub const CANCELLED: &str = "cancelled";
/// Fails in every run.
pub const ALWAYS: u32 = 99;

const CONFIG: &str = r#"
worker: { lease: 2s, grace: 10s }
queues:
  jobs: { embedded: { path: data/windlass.db } }
  results: { embedded: { path: data/windlass.db } }
executors:
  ledger:
    command: { run: [python3, job.py], persistent: true, workers: 2, concurrency: 16, env_allow: [LEDGER] }
    breaker: { probe: 1s, longest_probe: 2s }
  spare: { command: { run: ["true"] } }
routes:
  - { type: spare, run: spare }
  - { type: bad, run: ledger, retry: { attempts: 2, base: 20ms } }
  - { type: work, run: ledger, retry: { base: 20ms, cap: 500ms }, unavailable_for: 1h, concurrency: 60, weight: 2 }
  - type: order.*
    run: ledger
    order_by: key
    retry: { base: 20ms, cap: 500ms }
    rate_per_worker: 100000/s
    per_tenant: { concurrency: 40 }
pools:
  default: { from: [jobs], results: results, slots: 64, tenants: { a: { weight: 3 } } }
api: { listen: null }
telemetry: { listen: null }
"#;

/// A plugin by the text of the protocol: writes its start and its end into the ledger; fails at times; the poison kills
/// its worker; nothing can be done while there is a file that says so.
pub const JOB: &str = r#"
import json
import os
import signal
import struct

ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
requests = os.fdopen(3, "rb")


def answer(message):
    frame = json.dumps(message).encode()
    os.write(4, struct.pack(">I", len(frame)) + frame)


answer({"hello": {"protocol": 1, "name": "ledger", "sequential": True}})
while head := requests.read(4):
    request = json.loads(requests.read(struct.unpack(">I", head)[0]))
    if "stop" in request:
        break
    if "run" not in request:
        continue
    run = request["run"]
    job = run["job"]
    os.write(ledger, f"start {job['id']}\n".encode())
    if job["id"] == "poison":
        os.kill(os.getppid(), signal.SIGKILL)
    if os.path.exists(os.environ["LEDGER"] + ".down"):
        answer({"failed": {"id": run["id"], "class": "unavailable", "message": "the target is down"}})
        continue
    if job["data"]["fails"] >= job["attempt"]:
        answer({"failed": {"id": run["id"], "class": "failed", "message": "not yet"}})
        continue
    os.write(ledger, f"end {job['id']}\n".encode())
    answer({"done": {"id": run["id"], "output": {"id": job["id"]}}})
"#;

pub struct World {
    directory: PathBuf,
    _folder: tempfile::TempDir,
    confirmed: Confirmed,
    /// One tick for each life of a worker.
    pub pace: Option<Sender<()>>,
    /// With a file layer that forgets: the library to preload.
    forgetful: Option<PathBuf>,
}

pub type Producer = JoinHandle<()>;

impl World {
    pub fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(&format!("windlass-{name}-")).tempdir().unwrap();
        let directory = folder.path().to_owned();
        std::fs::create_dir(directory.join("data")).unwrap();
        std::fs::write(directory.join("windlass.yaml"), CONFIG).unwrap();
        std::fs::write(directory.join("job.py"), JOB).unwrap();
        World { directory, _folder: folder, confirmed: Confirmed::default(), pace: None, forgetful: None }
    }

    /// A world whose disk keeps only what was synced.
    pub fn forgetful(name: &str) -> Self {
        let mut world = World::new(name);
        let library = world.directory.join("forgetful.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chaos/forgetful.c");
        let built = Command::new("cc").args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(source).arg("-ldl").status();
        assert!(built.unwrap().success(), "the file layer does not compile");
        std::fs::create_dir(world.directory.join("twin")).unwrap();
        world.forgetful = Some(library);
        world
    }

    /// Takes away what every job needs, or gives it back.
    pub fn target_is(&self, down: bool) {
        let file = self.directory.join("ledger.down");
        if down { std::fs::write(file, "").unwrap() } else { std::fs::remove_file(file).unwrap() }
    }

    pub fn database(&self) -> PathBuf {
        self.directory.join("data/windlass.db")
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.display().to_string();
        let mut environment = vec![("LEDGER", text(self.directory.join("ledger")))];
        if let Some(library) = &self.forgetful {
            environment.push(("LD_PRELOAD", text(library.clone())));
            environment.push(("FORGETFUL_DIR", text(self.directory.join("data"))));
            environment.push(("FORGETFUL_TWIN", text(self.directory.join("twin"))));
        }
        environment
    }

    /// Submits jobs in chunks until every one is confirmed, whatever happens to the workers.
    pub fn produce(&self, jobs: usize, seed: u64) -> Producer {
        self.submit(World::jobs(jobs, seed), None)
    }

    /// As [`World::produce`], an equal share in each of `lives`, so that none is idle.
    pub fn produce_over(&mut self, jobs: usize, lives: usize, seed: u64) -> Producer {
        self.produce_jobs_over(World::jobs(jobs, seed), lives)
    }

    pub fn produce_jobs_over(&mut self, jobs: Vec<(String, u32)>, lives: usize) -> Producer {
        let (pace, paced) = channel();
        self.pace = Some(pace);
        let share = jobs.len().div_ceil(lives).div_ceil(CHUNK);
        self.submit(jobs, Some((share, paced)))
    }

    /// Every second one is of one of eight keys, whose jobs are numbered in their order.
    fn jobs(jobs: usize, seed: u64) -> Vec<(String, u32)> {
        let mut dice = fastrand::Rng::with_seed(seed);
        let name = |number: usize| match number % 2 {
            0 => format!("job-{number}"),
            _ => format!("key-{}-{number}", number / 2 % 8),
        };
        (0..jobs).map(|number| (name(number), u32::from(dice.u8(0..20) == 0))).collect()
    }

    pub fn produce_with_poison(&self, innocents: usize) -> Producer {
        let mut jobs: Vec<(String, u32)> = (0..innocents).map(|number| (format!("innocent-{number}"), 0)).collect();
        jobs.insert(innocents / 3, ("poison".into(), 0));
        self.submit(jobs, None)
    }

    /// `pace` is a number of chunks for each tick; all the rest when there are no more ticks.
    fn submit(&self, jobs: Vec<(String, u32)>, pace: Option<(usize, Receiver<()>)>) -> Producer {
        let (socket, confirmed) = (socket_path(&self.database()), self.confirmed.clone());
        std::thread::spawn(move || {
            for (number, chunk) in jobs.chunks(CHUNK).enumerate() {
                if let Some((_, ticks)) = pace.as_ref().filter(|(share, _)| number % share == 0) {
                    let _no_more = ticks.recv();
                }
                let body: Vec<String> = chunk.iter().map(|(id, fails)| line(id, *fails)).collect();
                loop {
                    match request(&socket, "POST /jobs?queue=jobs", &body.join("\n")) {
                        Some((201, _)) => break,
                        Some((503, _)) | None => pause(Duration::from_millis(20)),
                        Some((status, body)) => panic!("{status}: {body}"),
                    }
                }
                confirmed.add(chunk.iter().map(|(id, _)| id.clone()));
            }
        })
    }

    pub fn start(&self, death: Option<&Death>) -> Worker {
        Worker::start(&self.directory, death, &self.environment())
    }

    /// One worker's life; what it had not synced is gone with it where the disk forgets. True when it died at a stop point.
    pub fn live_and_die(&mut self, death: &Death) -> bool {
        if let Some(pace) = &self.pace {
            let _all_submitted = pace.send(());
        }
        let mut worker = self.start(Some(death));
        let stopped = match death {
            Death::After(time) => {
                pause(*time);
                false
            }
            Death::At { .. } => worker.dies_within(Duration::from_millis(1500)),
        };
        drop(worker);
        self.lose_power();
        stopped
    }

    fn lose_power(&self) {
        if self.forgetful.is_none() {
            return;
        }
        let data = self.directory.join("data");
        for name in ["windlass.db", "windlass.db-wal", "windlass.db-shm", "windlass.db.slots"] {
            let (file, twin) = (data.join(name), self.directory.join("twin").join(name));
            drop(std::fs::remove_file(&file));
            if twin.exists() {
                std::fs::copy(twin, file).unwrap();
            }
        }
    }

    /// Starts workers again and again until nothing waits any more; answers how many died.
    pub fn live_until_drained(&mut self, producer: Producer) -> usize {
        for deaths in 0..50 {
            let mut worker = self.start(None);
            while worker.is_alive() {
                if producer.is_finished() && self.is_drained() {
                    producer.join().unwrap();
                    worker.stop();
                    return deaths;
                }
                pause(Duration::from_millis(50));
            }
        }
        panic!("fifty workers died");
    }

    pub fn drain(&mut self, producer: Producer) {
        self.pace = None;
        let worker = self.start(None);
        self.drain_with(worker, producer);
    }

    /// Waits until all is submitted and nothing waits, then stops the worker in order.
    pub fn drain_with(&mut self, worker: Worker, producer: Producer) {
        let end = Instant::now() + Duration::from_secs(300);
        while !(producer.is_finished() && self.is_drained()) {
            assert!(Instant::now() < end, "retry, delay and waiting queues are not empty at the deadline: {:?}", self.queues());
            pause(Duration::from_millis(50));
        }
        producer.join().unwrap();
        worker.stop();
    }

    pub fn freeze(&self, worker: &Worker, time: Duration) {
        pause(Duration::from_millis(700));
        worker.signal(Signal::SIGSTOP);
        pause(time);
        worker.signal(Signal::SIGCONT);
    }

    fn queues(&self) -> Option<(u16, String)> {
        request(&socket_path(&self.database()), "GET /queues", "")
    }

    fn is_drained(&self) -> bool {
        let Some((200, body)) = self.queues() else { return false };
        let queues: serde_json::Value = serde_json::from_str(&body).unwrap();
        let queues = queues.as_array().or(queues["queues"].as_array()).expect("a list of queues").clone();
        let jobs = queues.iter().find(|queue| queue["queue"] == "jobs");
        let count = |key: &str| jobs.map_or(0, |jobs| jobs[key].as_u64().unwrap());
        jobs.is_some() && ["waiting", "delayed", "parked", "running"].iter().all(|key| count(key) == 0)
    }

    /// Nothing confirmed is lost, nobody is dead-lettered, duplicates are bounded, the audit balances.
    pub fn settle_accounts(&self, kills: usize) {
        let (confirmed, completed, runs) = (self.confirmed.ids(), self.completed(), Runs(self.directory.join("ledger")).read());
        let dead: Vec<(String, String)> = self.dead_letters().into_iter().map(|(id, why)| (id, why.reason.to_string())).collect();
        assert!(dead.is_empty(), "innocents in the dead letters: {dead:?}");
        let lost: Vec<&String> = confirmed.iter().filter(|id| !completed.contains_key(*id)).collect();
        assert!(lost.is_empty(), "{} confirmed jobs have no result: {:?}", lost.len(), &lost[..lost.len().min(5)]);
        let unrun: Vec<&String> = confirmed.iter().filter(|id| runs.get(*id).is_none_or(|counts| counts.ends == 0)).collect();
        assert!(unrun.is_empty(), "results without a run: {unrun:?}");
        let wrong = Runs(self.directory.join("ledger")).out_of_order();
        assert!(wrong.is_empty(), "{} runs out of the order of their key: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
        let again: usize = runs.values().map(|counts| counts.ends.saturating_sub(1)).sum();
        assert!(again <= kills * SLOTS, "{again} runs were repeated by {kills} kills of {SLOTS} slots");
        let audit = windlass::queues::embedded::audit(&self.database()).unwrap();
        assert!(audit.ok, "{audit:?}");
        println!(
            "{} confirmed, {} done, 0 lost, 0 dead, {again} runs repeated by {kills} deaths",
            confirmed.len(),
            completed.len()
        );
    }

    fn store<T>(&self, look: impl AsyncFnOnce(&Arc<Store>) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let config = EmbeddedConfig { path: self.database(), ..EmbeddedConfig::default() };
            let store = Store::open(StoreOptions::from(&config)).unwrap();
            let seen = look(&store).await;
            store.close().await;
            seen
        })
    }

    /// The ids of jobs whose result was published, with the number of the run that did it; each exactly once.
    pub fn completed(&self) -> HashMap<String, u64> {
        let mut ids = HashMap::new();
        for event in self.results("windlass.job.completed") {
            let id = event["subject"].as_str().unwrap().to_owned();
            assert_eq!(event["id"], format!("{id}:0:completed"));
            assert!(ids.insert(id, event["attempt"].as_u64().unwrap()).is_none(), "published twice: {event}");
        }
        ids
    }

    /// The events of one type that were published.
    pub fn results(&self, kind: &str) -> Vec<serde_json::Value> {
        self.store(async |store| {
            let mut source = store.queue("results", "results").source(sort(&Decoding::Envelope)).await.unwrap();
            let room = Room { jobs: 1000, bytes: 64 << 20, lease: Duration::from_secs(600) };
            let (mut events, mut held) = (Vec::new(), Vec::new());
            while let Ok(deliveries) = tokio::time::timeout(Duration::from_secs(1), source.next(room)).await {
                for delivery in deliveries.unwrap() {
                    let event: serde_json::Value = serde_json::from_slice(&delivery.message.body).unwrap();
                    if event["type"] == kind {
                        events.push(event);
                    }
                    held.push(delivery);
                }
            }
            events
        })
    }

    pub fn dead_letters(&self) -> Vec<(String, FailureDocument)> {
        let dead = self.browse(State::Dead);
        dead.into_iter().map(|entry| (entry.id.to_string(), entry.failure.unwrap())).collect()
    }

    fn browse(&self, state: State) -> Vec<Entry> {
        self.store(async |store| {
            let filter = Filter { state: Some(state), queue: None, ..Filter::default() };
            let (mut entries, mut cursor) = (Vec::new(), Cursor { after: None, limit: 500 });
            loop {
                let page = store.browse(&filter, &cursor).await.unwrap();
                entries.extend(page.entries);
                match page.next {
                    Some(next) => cursor.after = Some(next),
                    None => return entries,
                }
            }
        })
    }
}

/// A job as its producer writes it. What stands before a dot in its id is its batch.
fn line(id: &str, fails: u32) -> String {
    let key = id.strip_prefix("key-").and_then(|rest| rest.split_once('-')).map(|(key, _)| key);
    // the order of a key goes across types
    let kind = match key {
        _ if fails == ALWAYS => "bad",
        Some(_) if id.ends_with(['1', '3']) => "order.placed",
        Some(_) => "order.paid",
        None => "work",
    };
    let tenant = if key.map_or(fails > 0, |key| key < "4") { "a" } else { "b" };
    let key = key.map_or_else(String::new, |key| format!(r#","key":"{key}""#));
    let (batch, delay) = match id.split_once('.') {
        Some((batch, name)) => {
            let delay = if name == CANCELLED { r#","delay":"1h""# } else { "" };
            (format!(r#","batch":{{"id":"{batch}","size":{BATCH}}}"#), delay)
        }
        None => (String::new(), ""),
    };
    format!(r#"{{"id":"{id}","type":"{kind}","tenant":"{tenant}","data":{{"fails":{fails}}}{key}{batch}{delay}}}"#)
}
