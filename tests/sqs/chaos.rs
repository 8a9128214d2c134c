//! Three workers, killed one after another, and the server too, while a ledger outside the product knows what was promised.
//!
//! `WINDLASS_CHAOS=long` runs the full measure (100,000 jobs); `WINDLASS_SEED` repeats one.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::QueueAttributeName;
use windlass::job::Message;
use windlass::ports::{Outgoing, Queue, Room};

use crate::world::{Private, World, ack, open, source_of};

/// Jobs at once in a worker.
const SLOTS: usize = 64;
const WORKERS: usize = 3;

const CONFIG: &str = r#"
worker: { grace: 10s, lease: 5s }
queues:
  jobs: { sqs: { endpoint: "ENDPOINT", queue: JOBS, topology: declare } }
  results: { sqs: { endpoint: "ENDPOINT", queue: RESULTS, topology: declare } }
executors:
  ledger: { command: { run: [python3, job.py], persistent: true, workers: 2, concurrency: 16, env_allow: [LEDGER] } }
routes:
  - { type: work, run: ledger, retry: { base: 200ms, cap: 3s }ORDER }
pools:
  default: { from: [jobs], results: results, slots: 64WINDOW }
api: { listen: null }
telemetry: { listen: null }
"#;

/// A plugin by the text of the protocol: writes its end into the ledger, and fails at times.
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
    fn new(world: &World, ending: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = |name: &str| world.config(&format!("{name}{ending}")).queue.unwrap();
        // whatever a worker holds when it dies has one death more to its name, taken ahead for its key or not
        let (order, window) = if ending.is_empty() { ("", "") } else { (", order_by: key", ", window: { jobs: 64 }") };
        let config = CONFIG.replace("ENDPOINT", &world.endpoint).replace("JOBS", &name("jobs"));
        let config = config.replace("RESULTS", &name("results")).replace("ORDER", order).replace("WINDOW", window);
        std::fs::write(folder.path().join("windlass.yaml"), config).unwrap();
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
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_REGION", "us-east-1")])
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

    /// What jobs have ended, in turn.
    fn ends(&self) -> Vec<String> {
        let ledger = std::fs::read_to_string(self.folder.path().join("ledger")).unwrap_or_default();
        ledger.lines().map(|line| line.trim_start_matches("end ").to_owned()).collect()
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

/// Sends each job until it is confirmed, those of one of 32 keys one after another.
async fn produce(queue: Arc<dyn Queue>, jobs: usize, pause: Duration) {
    const KEYS: usize = 32;
    let of_key = |key: usize| {
        let sink = queue.sink();
        tokio::spawn(async move {
            for number in (key..jobs).step_by(KEYS) {
                let fails = u32::from(number.is_multiple_of(20));
                let body = format!(r#"{{"id":"{number}","type":"work","key":"{key}","data":{{"fails":{fails}}}}}"#);
                let message = Message { key: Some(key.to_string().into()), ..Message::of(body) };
                let outgoing = Outgoing { message, id: Some(number.to_string().into()), ..Outgoing::default() };
                while sink.send(outgoing.clone()).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                tokio::time::sleep(pause * KEYS as u32).await;
            }
        })
    };
    for sent in (0..KEYS).map(of_key).collect::<Vec<_>>() {
        sent.await.unwrap();
    }
}

/// Messages in every queue but the results, by name.
async fn waiting(world: &World) -> BTreeMap<String, usize> {
    let client = world.client();
    let Ok(list) = client.list_queues().send().await else { return BTreeMap::from([("the server".into(), 1)]) };
    let mut waiting = BTreeMap::new();
    for url in list.queue_urls.unwrap_or_default().into_iter().filter(|url| !url.contains("-results")) {
        let request = client.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::All);
        let found = request.send().await.map(|answer| answer.attributes.unwrap_or_default()).unwrap_or_default();
        let counts = found.iter().filter(|(name, _)| name.as_str().starts_with("ApproximateNumberOfMessages"));
        let count = counts.map(|(_, count)| count.parse().unwrap_or(1)).sum::<usize>();
        waiting.extend((count > 0).then_some((url, count)));
    }
    waiting
}

async fn results(queue: Arc<dyn Queue>) -> Vec<String> {
    let (mut source, mut subjects) = (source_of(&queue).await, Vec::new());
    let room = Room { jobs: 500, bytes: 64 << 20, lease: Duration::from_secs(60) };
    while let Ok(Ok(deliveries)) = tokio::time::timeout(Duration::from_secs(5), source.next(room)).await {
        for delivery in deliveries {
            let event: serde_json::Value = serde_json::from_slice(&delivery.message.body).unwrap();
            assert_eq!(event["type"], "windlass.job.completed");
            subjects.push(event["subject"].as_str().unwrap().to_owned());
            tokio::spawn(ack(delivery));
        }
    }
    subjects
}

/// First ends that came before those of an earlier job of their key.
fn out_of_order(ends: &[String]) -> Vec<usize> {
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for number in ends.iter().map(|id| id.parse::<usize>().unwrap()) {
        let later = seen.range(number + 1..).any(|other: &usize| other % 32 == number % 32);
        if seen.insert(number) && later {
            wrong.push(number);
        }
    }
    wrong
}

async fn kill_and_check(ending: &str) {
    let long = std::env::var("WINDLASS_CHAOS").is_ok_and(|measure| measure == "long");
    let (jobs, pause) = if long { (100_000, Duration::from_micros(300)) } else { (2000, Duration::from_millis(3)) };
    let mut dice = fastrand::Rng::new();
    if let Some(seed) = std::env::var("WINDLASS_SEED").ok().and_then(|seed| seed.parse().ok()) {
        dice.seed(seed);
    }
    println!("run again with WINDLASS_SEED={}", dice.get_seed());
    let server = Private::up();
    let world = World::at(&server.endpoint);
    let name = |name: &str| world.queue(&format!("{name}{ending}"));
    name("jobs").create(Some(&["ledger".into(), "no-route".into()])).await.unwrap();
    name("results").create(None).await.unwrap();
    let mut fleet = Fleet::new(&world, ending);
    let producer = tokio::spawn(produce(name("jobs"), jobs, pause));
    let (mut kills, mut crashes) = (0, 0);
    while !producer.is_finished() || kills < 5 {
        tokio::time::sleep(Duration::from_millis(dice.u64(500..3000))).await;
        fleet.kill_one();
        kills += 1;
        // an ElasticMQ that was killed hands out FIFO messages behind those that were being handled before these
        if ending.is_empty() && kills % 20 == 4 {
            server.tell(if dice.bool() { "kill" } else { "stop" });
            server.tell("start");
            crashes += 1;
        }
    }
    producer.await.unwrap();
    let end = Instant::now() + Duration::from_secs(if long { 900 } else { 300 });
    loop {
        let left = waiting(&world).await;
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < end, "not empty at the deadline: {left:?}\n{}", fleet.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (ends, done) = (fleet.ends(), results(open(&world.config(&format!("results{ending}")))).await);
    let (ran, distinct): (HashSet<&String>, HashSet<&String>) = (ends.iter().collect(), done.iter().collect());
    let lost: Vec<usize> = (0..jobs).filter(|number| !distinct.contains(&number.to_string())).collect();
    assert!(lost.is_empty(), "{} confirmed jobs have no result: {:?}", lost.len(), &lost[..lost.len().min(5)]);
    assert!((0..jobs).all(|number| ran.contains(&number.to_string())), "a result without a run");
    if !ending.is_empty() {
        assert_eq!(out_of_order(&ends), [0; 0]);
    }
    let (again, twice) = (ends.len() - ran.len(), done.len() - distinct.len());
    let most = (kills + crashes * (WORKERS + 1)) * SLOTS;
    assert!(again <= most && twice <= most, "{again} runs and {twice} results were repeated; {most} are explained");
    println!(
        "{jobs} confirmed, {} done, 0 lost, 0 dead; {kills} workers and {crashes} servers killed; {again} runs and {twice} \
        results repeated",
        distinct.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts an ElasticMQ"]
async fn kill_9_of_workers_and_of_elasticmq_itself_loses_nothing_and_buries_nobody() {
    kill_and_check("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts an ElasticMQ"]
async fn kill_9_of_workers_keeps_the_order_of_fifo_keys_on_elasticmq() {
    kill_and_check(".fifo").await;
}
