//! What outlives a job, while workers die: a schedule's due times come once each, and a unique key has one job at a time.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use windlass::queues::embedded::socket_path;

use crate::fleet::{Worker, pause, request};
use crate::ledger::Runs;
use crate::world::World;
use crate::{STOP_POINTS, death, measure, seed};

const EVERY: Duration = Duration::from_secs(1);
const SCHEDULES: usize = 8;
/// Past ten seconds a due time was missed, and is made up for.
const AWAY: Duration = Duration::from_secs(12);
const KEYS: usize = 6;

const CONFIG: &str = r#"
worker: { lease: 2s, grace: 10s }
queues:
  jobs: { embedded: { path: data/windlass.db } }
  results: { embedded: { path: data/windlass.db } }
executors:
  ledger: { command: { run: [python3, job.py], persistent: true, workers: 2, concurrency: 16, env_allow: [LEDGER] } }
routes:
  - { type: once, run: ledger, unique: { key: data.key, for: 50ms }, retry: { base: 20ms, cap: 100ms } }
  - { type: tick, run: ledger }
pools:
  default: { from: [jobs], results: results, slots: 64 }
api: { listen: null }
telemetry: { listen: null }
"#;

/// Several, so that more of them are in the making when a worker dies.
fn schedules() -> String {
    let each =
        |name: usize| format!("  tick{name}: {{ every: 1s, catch_up: all, queue: jobs, type: tick, data: {{ fails: 0 }} }}\n");
    format!("{CONFIG}schedules:\n{}", (0..SCHEDULES).map(each).collect::<String>())
}

fn directory(world: &World) -> PathBuf {
    world.database().parent().and_then(Path::parent).unwrap().to_owned()
}

fn configure(world: &World, text: &str) {
    std::fs::write(directory(world).join("windlass.yaml"), text).unwrap();
}

/// In the long form as many as fit into a minute.
fn lives() -> usize {
    measure().kills.min(36)
}

fn live_and_die(world: &mut World, lives: usize) {
    let mut dice = fastrand::Rng::with_seed(seed());
    for number in 0..lives {
        world.live_and_die(&death(number, &STOP_POINTS, &mut dice));
    }
}

/// What `jobs` holds and held, by state.
fn count(world: &World, state: &str) -> Option<u64> {
    let (_, body) = request(&socket_path(&world.database()), "GET /queues", "")?;
    let queues: serde_json::Value = serde_json::from_str(&body).unwrap();
    let queues = queues.as_array().or(queues["queues"].as_array()).expect("a list of queues");
    queues.iter().find(|queue| queue["queue"] == "jobs")?[state].as_u64()
}

fn drain(world: &World) -> Worker {
    let worker = world.start(None);
    let end = Instant::now() + Duration::from_secs(60);
    while !["waiting", "delayed", "parked", "running"].iter().all(|state| count(world, state) == Some(0)) {
        assert!(Instant::now() < end, "something waits for ever");
        pause(Duration::from_millis(20));
    }
    worker
}

#[test]
fn each_due_time_of_a_schedule_is_one_job_and_none_is_skipped_by_kill_9() {
    let mut world = World::new("schedules");
    configure(&world, &schedules());
    live_and_die(&mut world, lives() / 2);
    if measure().kills > 100 {
        pause(AWAY);
    }
    live_and_die(&mut world, lives() / 2);
    let worker = world.start(None);
    pause(Duration::from_secs(1));
    worker.stop();
    configure(&world, CONFIG);
    drain(&world).stop();
    // published twice is found there
    let completed = world.completed();
    let mut due: BTreeMap<&str, Vec<Timestamp>> = BTreeMap::new();
    for id in completed.keys() {
        let (name, at) = id.strip_prefix("cron:").and_then(|rest| rest.split_once(':')).unwrap_or_else(|| panic!("{id}"));
        due.entry(name).or_default().push(at.parse().unwrap());
    }
    assert_eq!(due.len(), SCHEDULES);
    for (name, due) in &mut due {
        due.sort();
        assert!(due.len() > lives() / 4, "{name}: {due:?}");
        let gaps: Vec<_> = due.windows(2).filter(|two| two[1].duration_since(two[0]).unsigned_abs() != EVERY).collect();
        assert!(gaps.is_empty(), "{name}: due times between these were skipped: {gaps:?}");
    }
    assert!(world.dead_letters().is_empty());
    println!("{} due times, each once", completed.len());
}

/// Submits jobs of all keys again and again until it is told to stop; answers how many were confirmed.
fn submit(database: &Path, over: Arc<AtomicBool>) -> JoinHandle<usize> {
    let socket = socket_path(database);
    std::thread::spawn(move || {
        let mut confirmed = 0;
        while !over.load(Ordering::Relaxed) {
            let jobs = (0..KEYS).map(|key| job(key, &(confirmed / KEYS).to_string()));
            let jobs: Vec<String> = jobs.collect();
            match request(&socket, "POST /jobs?queue=jobs", &jobs.join("\n")) {
                Some((201, _)) => confirmed += KEYS,
                Some((503, _)) | None => pause(Duration::from_millis(20)),
                Some((status, body)) => panic!("{status}: {body}"),
            }
        }
        confirmed
    })
}

/// Some fail first, and hold their key while they wait.
fn job(key: usize, name: &str) -> String {
    let fails = u32::from(name.ends_with('7'));
    format!(r#"{{"id":"{key}-{name}","type":"once","data":{{"key":"k{key}","fails":{fails}}}}}"#)
}

/// Runs that started while another job of their key had started and was not over.
pub fn overlaps(ledger: &Path) -> Vec<String> {
    let mut holders: HashMap<String, String> = HashMap::new();
    let mut wrong = Vec::new();
    for line in std::fs::read_to_string(ledger).unwrap_or_default().lines() {
        let (word, id) = line.split_once(' ').unwrap();
        let key = id.split('-').next().unwrap().to_owned();
        match holders.get(&key) {
            Some(holder) if word == "start" && holder != id => wrong.push(format!("{id} started, {holder} was not over")),
            _ if word == "start" => drop(holders.insert(key, id.to_owned())),
            Some(holder) if holder == id => drop(holders.remove(&key)),
            _ => {}
        }
    }
    wrong
}

#[test]
fn a_unique_key_has_one_job_at_a_time_and_is_free_again_after_kill_9() {
    let mut world = World::new("unique");
    configure(&world, CONFIG);
    let over = Arc::new(AtomicBool::new(false));
    let producer = submit(&world.database(), over.clone());
    live_and_die(&mut world, lives());
    over.store(true, Ordering::Relaxed);
    let confirmed = producer.join().unwrap() as u64;
    let worker = drain(&world);
    pause(Duration::from_millis(200)); // `for` is over
    let last: Vec<String> = (0..KEYS).map(|key| job(key, "last")).collect();
    assert!(matches!(request(&socket_path(&world.database()), "POST /jobs?queue=jobs", &last.join("\n")), Some((201, _))));
    worker.stop();
    let worker = drain(&world);
    let (completed, discarded) = (count(&world, "completed").unwrap(), count(&world, "discarded").unwrap());
    worker.stop();
    let ledger = directory(&world).join("ledger");
    let wrong = overlaps(&ledger);
    assert!(wrong.is_empty(), "{} runs beside the holder of their key: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    let by_key = world.completed().into_keys().fold(BTreeMap::<String, Vec<String>>::new(), |mut keys, id| {
        keys.entry(id.split('-').next().unwrap().to_owned()).or_default().push(id);
        keys
    });
    assert!(
        (0..KEYS).all(|key| by_key[&key.to_string()].contains(&format!("{key}-last"))),
        "a key is held by nobody: {by_key:?}"
    );
    // a request that was never answered may have been carried out
    assert!(completed + discarded >= confirmed, "{completed} done and {discarded} discarded of {confirmed}");
    assert!(discarded > 0 && world.dead_letters().is_empty());
    println!("{confirmed} confirmed, {completed} done, {discarded} discarded, {} runs", Runs(ledger).read().len());
}
