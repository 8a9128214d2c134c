//! Three workers on Kafka share what they remember in a topic of it, and die: due times, unique keys and batches hold all the same.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use windlass::job::Decoding;
use windlass::job::Message;
use windlass::job::decode::facets::sort;
use windlass::ports::{Outgoing, Room};
use windlass::queues::kafka::config::KafkaStateConfig;
use windlass::queues::kafka::state_topic;

use crate::beyond::overlaps;
use crate::fleet::{Worker, pause};
use crate::kafka::{World, ending};
use crate::server::server;

const CONFIG: &str = r#"
worker: { grace: 10s }
state: { kafka: { brokers: "BROKERS", topic: PREFIX-state } }
queues:
  jobs: { kafka: { brokers: "BROKERS", topic: PREFIX-jobs, group: PREFIX, delays: PREFIX.delay, session: 3s, drain: 5s } }
  results: { kafka: { brokers: "BROKERS", topic: PREFIX-results, group: PREFIX-r, delays: PREFIX.delay } }
executors:
  ledger:
    command: { run: [python3, job.py], persistent: true, workers: 1, concurrency: 16, env_allow: [LEDGER] }
routes:
  - { type: tick, run: ledger }
  - { type: once, run: ledger, unique: { key: data.key, for: 50ms }, retry: { base: 20ms, cap: 100ms } }
  - { type: bad, run: ledger, retry: { attempts: 1 } }
  - { type: part, run: ledger, retry: { base: 20ms, cap: 100ms } }
pools:
  default: { from: [jobs], results: results, slots: 16 }
schedules:
  tick0: { every: 1s, catch_up: all, queue: jobs, type: tick, data: { fails: 0 } }
  tick1: { every: 1s, catch_up: all, queue: jobs, type: tick, data: { fails: 0 } }
api: { listen: null }
telemetry: { listen: null }
"#;

const KILLS: usize = 6;
const SCHEDULES: usize = 2;
const KEYS: usize = 4;
const BATCH: usize = 40;

/// What came out, by the type of the event: how often of each subject, and the data of the last.
type Told = BTreeMap<String, BTreeMap<String, (usize, serde_json::Value)>>;

fn send(world: &World, id: &str, kind: &str, more: &str) {
    let message = Message::of(format!(r#"{{"id":"{id}","type":"{kind}",{more}}}"#));
    world.runtime.block_on(world.jobs.sink().send(Outgoing { message, ..Outgoing::default() })).unwrap();
}

/// Jobs of a round: some of every key, and one batch with a tenth of it dead in the end.
fn send_round(world: &World, round: usize) {
    for number in 0..BATCH {
        let (kind, fails) = if number % 10 == 9 { ("bad", 99) } else { ("part", u32::from(number % 7 == 3)) };
        let more = format!(r#""data":{{"fails":{fails}}},"batch":{{"id":"b{round}","size":{BATCH}}}"#);
        send(world, &format!("b{round}.{number}"), kind, &more);
        let key = number % KEYS;
        let fails = u32::from(number % 11 == 5);
        send(world, &format!("{key}-{round}.{number}"), "once", &format!(r#""data":{{"key":"k{key}","fails":{fails}}}"#));
    }
}

/// Reads what comes out until every batch has ended and every key's last job was done.
fn collect(world: &World, rounds: usize) -> Told {
    let mut told = Told::new();
    world.runtime.block_on(async {
        let mut results = world.results.source(sort(&Decoding::Envelope)).await.unwrap();
        let room = Room { jobs: 500, bytes: 64 << 20, lease: Duration::from_secs(30) };
        let mut since = Instant::now();
        let ended = |told: &Told| {
            let of = |kind: &str| told.get(kind).map_or(0, BTreeMap::len);
            let last =
                |key: usize| told.get("windlass.job.completed").is_some_and(|done| done.contains_key(&format!("{key}-last")));
            of("windlass.batch.completed") == rounds && (0..KEYS).all(last)
        };
        while !ended(&told) {
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "nothing more comes; batches: {:?}",
                told.get("windlass.batch.completed")
            );
            let Ok(came) = tokio::time::timeout(Duration::from_secs(1), results.next(room)).await else { continue };
            for delivery in came.unwrap() {
                let event: serde_json::Value = serde_json::from_slice(&delivery.message.body).unwrap();
                let [kind, subject] = ["type", "subject"].map(|name| event[name].as_str().unwrap().to_owned());
                // schedules go on for ever
                if !subject.starts_with("cron:") {
                    since = Instant::now();
                }
                let known = told.entry(kind).or_default().entry(subject).or_default();
                *known = (known.0 + 1, event["data"].clone());
                drop(delivery.receipt.ack(ending()).await);
            }
        }
    });
    told
}

#[test]
#[ignore = "needs Kafka: ./test brings it"]
fn kill_9_of_workers_that_share_what_they_remember_on_kafka_skips_and_doubles_nothing() {
    let world = World::with(&server("kafka"), CONFIG);
    let topic = format!("{}-state", world.prefix);
    let state = KafkaStateConfig { topic, ..KafkaStateConfig::at(&server("kafka")) };
    world.runtime.block_on(state_topic(&state, Path::new("")).unwrap().create(None)).unwrap();
    let mut dice = fastrand::Rng::with_seed(crate::seed());
    let mut workers: Vec<Worker> = (0..3).map(|_| world.start()).collect();
    for round in 0..KILLS {
        send_round(&world, round);
        pause(Duration::from_millis(dice.u64(500..2500)));
        drop(workers.remove(dice.usize(0..3))); // killed
        workers.push(world.start());
    }
    pause(Duration::from_secs(12)); // what the dead had claimed is seen to
    (0..KEYS).for_each(|key| send(&world, &format!("{key}-last"), "once", &format!(r#""data":{{"key":"k{key}","fails":0}}"#)));
    let told = collect(&world, KILLS);
    workers.into_iter().for_each(Worker::stop);
    let dead = BATCH / 10;
    for (id, (times, data)) in &told["windlass.batch.completed"] {
        let counts = ["done", "dead", "discarded"].map(|end| data[end].as_u64().unwrap());
        assert_eq!(counts, [(BATCH - dead) as u64, dead as u64, 0], "{id}");
        assert!(*times <= 1 + KILLS, "{id} was told {times} times");
    }
    let wrong = overlaps(&world.ledger());
    assert!(wrong.is_empty(), "{} runs beside the holder of their key: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    due_times_are_whole(&told["windlass.job.completed"]);
}

/// None is skipped, and only a death in between submits one again.
fn due_times_are_whole(completed: &BTreeMap<String, (usize, serde_json::Value)>) {
    let (mut due, mut again): (HashMap<&str, Vec<Timestamp>>, usize) = (HashMap::new(), 0);
    for (id, (times, _)) in completed {
        let Some((name, at)) = id.strip_prefix("cron:").and_then(|rest| rest.split_once(':')) else { continue };
        due.entry(name).or_default().push(at.parse().unwrap());
        again += times - 1;
    }
    assert_eq!(due.len(), SCHEDULES);
    for (name, due) in &mut due {
        due.sort();
        assert!(due.len() > KILLS, "{name}: {due:?}");
        // the last few are still on their way
        let seen = &due[..due.len() - 3];
        let gaps: Vec<_> = seen.windows(2).filter(|two| two[1].duration_since(two[0]).as_secs() != 1).collect();
        assert!(gaps.is_empty(), "{name}: due times between these were skipped: {gaps:?}");
    }
    // also what ran as a worker died is told again
    assert!(again <= KILLS * 4 * SCHEDULES, "{again} due times were told again over {KILLS} deaths");
    println!("{} due times, {again} told again", due.values().map(Vec::len).sum::<usize>());
}
