//! Three workers, killed one after another, and the server too, while a ledger outside the product knows what was promised.
//!
//! `WINDLASS_CHAOS=long` runs the full measure (100,000 jobs); `WINDLASS_SEED` repeats one.

use std::collections::{BTreeMap, HashSet};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

use crate::server::Server;

/// Jobs at once in a worker.
const SLOTS: usize = 64;
const WORKERS: usize = 3;

const CONFIG: &str = r#"
worker: { grace: 10s }
queues:
  jobs: { rabbitmq: { url: "URL", topology: declare } }
  results: { rabbitmq: { url: "URL", topology: declare } }
executors:
  ledger: { command: { run: [python3, job.py], persistent: true, workers: 2, concurrency: 16, env_allow: [LEDGER] } }
routes:
  - { type: work, run: ledger, retry: { base: 200ms, cap: 3s } }
pools:
  default: { from: [jobs], results: results, slots: 64 }
api: { listen: null }
telemetry: { listen: null }
"#;

/// A plugin by the text of the protocol: writes its start and its end into the ledger, and fails at times.
const JOB: &str = r#"
import json
import os
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
    if job["data"]["fails"] >= job["attempt"]:
        answer({"failed": {"id": run["id"], "class": "failed", "message": "not yet"}})
        continue
    os.write(ledger, f"end {job['id']}\n".encode())
    answer({"done": {"id": run["id"], "output": {"id": job["id"]}}})
"#;

struct Fleet {
    folder: tempfile::TempDir,
    workers: Vec<Child>,
}

impl Fleet {
    fn new(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("windlass.yaml"), CONFIG.replace("URL", url)).unwrap();
        std::fs::write(folder.path().join("job.py"), JOB).unwrap();
        let mut fleet = Fleet { folder, workers: Vec::new() };
        (0..WORKERS).for_each(|_| fleet.start());
        fleet
    }

    fn start(&mut self) {
        let log = std::fs::File::options().append(true).create(true).open(self.folder.path().join("log")).unwrap();
        let worker = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(["run", "--config", "windlass.yaml"])
            .current_dir(self.folder.path())
            .env("LEDGER", self.folder.path().join("ledger"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.workers.push(worker.unwrap());
    }

    /// Kills the oldest, and starts another.
    fn kill_one(&mut self) {
        let mut worker = self.workers.remove(0);
        worker.kill().unwrap();
        worker.wait().unwrap();
        self.start();
    }

    fn ends(&self) -> BTreeMap<String, usize> {
        let mut ends = BTreeMap::new();
        for line in std::fs::read_to_string(self.folder.path().join("ledger")).unwrap_or_default().lines() {
            *ends.entry(line.trim_start_matches("end ").to_owned()).or_default() += 1;
        }
        ends
    }

    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            let _gone_already = worker.kill();
            let _gone_already = worker.wait();
        }
    }
}

async fn channel(url: &str) -> Option<(Connection, Channel)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.ok()?;
    let channel = connection.create_channel().await.ok()?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.ok()?;
    Some((connection, channel))
}

/// Publishes each job until it is confirmed; a time without an answer is a time without a promise.
async fn produce(url: String, jobs: usize, pause: Duration) {
    let mut open = None;
    for number in 0..jobs {
        let body = format!(r#"{{"id":"{number}","type":"work","data":{{"fails":{}}}}}"#, u32::from(number % 20 == 0));
        while !publish(&url, &mut open, &body).await {
            open = None;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(pause).await;
    }
}

async fn publish(url: &str, open: &mut Option<(Connection, Channel)>, body: &str) -> bool {
    if open.is_none() {
        *open = channel(url).await;
    }
    let Some((_, channel)) = open else { return false };
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_delivery_mode(2);
    let Ok(confirm) = channel.basic_publish("".into(), "jobs".into(), options, body.as_bytes(), properties).await else {
        return false;
    };
    matches!(confirm.await, Ok(Confirmation::Ack(None)))
}

/// Messages in every queue but the results, by name.
fn waiting(server: &Server) -> BTreeMap<String, u64> {
    let list = server.ask(&["list_queues", "--no-table-headers", "name", "messages"]);
    let line = |line: &str| line.split_once('\t').map(|(name, count)| (name.to_owned(), count.trim().parse().unwrap()));
    list.lines().filter_map(line).filter(|(name, count)| name != "results" && *count > 0).collect()
}

async fn results(url: &str) -> Vec<String> {
    let (_connection, channel) = channel(url).await.unwrap();
    let mut subjects = Vec::new();
    while let Some(got) = channel.basic_get("results".into(), BasicGetOptions { no_ack: true }).await.unwrap() {
        let event: serde_json::Value = serde_json::from_slice(&got.data).unwrap();
        assert_eq!(event["type"], "windlass.job.completed");
        subjects.push(event["subject"].as_str().unwrap().to_owned());
    }
    subjects
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn kill_9_of_workers_and_of_rabbitmq_itself_loses_nothing_and_buries_nobody() {
    let long = std::env::var("WINDLASS_CHAOS").is_ok_and(|measure| measure == "long");
    let (jobs, pause) = if long { (100_000, Duration::from_micros(100)) } else { (3000, Duration::from_millis(2)) };
    let mut dice = fastrand::Rng::new();
    if let Some(seed) = std::env::var("WINDLASS_SEED").ok().and_then(|seed| seed.parse().ok()) {
        dice.seed(seed);
    }
    println!("run again with WINDLASS_SEED={}", dice.get_seed());
    let server = Server::up();
    let mut fleet = Fleet::new(&server.url);
    let producer = tokio::spawn(produce(server.url.clone(), jobs, pause));
    let (mut kills, mut crashes) = (0, 0);
    while !producer.is_finished() || kills < 6 {
        tokio::time::sleep(Duration::from_millis(dice.u64(500..3000))).await;
        fleet.kill_one();
        kills += 1;
        if kills % 20 == 4 {
            server.tell("kill");
            server.tell("start");
            crashes += 1;
        }
    }
    producer.await.unwrap();
    let end = Instant::now() + Duration::from_secs(300);
    while !waiting(&server).is_empty() {
        assert!(Instant::now() < end, "not empty at the deadline: {:?}\n{}", waiting(&server), fleet.log());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let (ends, done) = (fleet.ends(), results(&server.url).await);
    let distinct: HashSet<&String> = done.iter().collect();
    let lost: Vec<usize> = (0..jobs).filter(|number| !distinct.contains(&number.to_string())).collect();
    assert!(lost.is_empty(), "{} confirmed jobs have no result: {:?}", lost.len(), &lost[..lost.len().min(5)]);
    assert!((0..jobs).all(|number| ends.contains_key(&number.to_string())), "a result without a run");
    let (again, twice) = (ends.values().sum::<usize>() - ends.len(), done.len() - distinct.len());
    let most = (kills + crashes * WORKERS) * SLOTS;
    assert!(again <= most && twice <= most, "{again} runs and {twice} results were repeated; {most} are explained");
    println!(
        "{jobs} confirmed, {} done, 0 lost, 0 dead; {kills} workers and {crashes} servers killed; {again} runs and {twice} \
        results repeated",
        distinct.len()
    );
}
