//! Job batches while their workers die: each is complete once, with the counts of what became of its jobs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use windlass::queues::embedded::socket_path;

use crate::fleet::{pause, request};
use crate::world::{ALWAYS, BATCH, CANCELLED, World};
use crate::{death, measure, seed};

/// Where a worker dies in between, beside random times.
const STOP_POINTS: [&str; 6] = ["counting", "counted", "announced", "committed", "published", "settling"];

/// The jobs of a batch: most pass, some after a failure, some never, and one is cancelled while it waits.
fn jobs(batches: usize, dice: &mut fastrand::Rng) -> Vec<(String, u32)> {
    let mut jobs = Vec::new();
    for batch in 0..batches {
        jobs.push((format!("b{batch}.{CANCELLED}"), 0));
        jobs.extend((1..BATCH).map(|number| {
            let fails = if number % 8 == 0 { ALWAYS } else { u32::from(dice.u8(0..20) == 0) };
            (format!("b{batch}.{number}"), fails)
        }));
    }
    jobs
}

/// Cancels one job after another, each as soon as it is there, whatever happens to the workers.
fn cancel(database: PathBuf, batches: usize) -> std::thread::JoinHandle<()> {
    let socket = socket_path(&database);
    std::thread::spawn(move || {
        for batch in 0..batches {
            let head = format!("POST /jobs/b{batch}.{CANCELLED}/cancel");
            let mut unknown = false;
            loop {
                match request(&socket, &head, "") {
                    Some((200, _)) => break,
                    // an earlier try was done, and its answer lost
                    Some((409, _)) if unknown => break,
                    answer => unknown |= answer.is_none(),
                }
                pause(Duration::from_millis(20));
            }
        }
    })
}

fn batches_left(world: &World) -> Option<usize> {
    let (status, body) = request(&socket_path(&world.database()), "GET /batches?limit=1000", "")?;
    assert_eq!(status, 200, "{body}");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let open = body["batches"].as_array().unwrap().iter().filter(|batch| batch["completed"].is_null());
    Some(open.count())
}

#[test]
fn kill_9_in_between_completes_each_batch_once_with_the_right_counts() {
    let (measure, mut world) = (measure(), World::new("batches"));
    let mut dice = fastrand::Rng::with_seed(seed());
    let batches = measure.jobs / BATCH;
    let producer = world.produce_jobs_over(jobs(batches, &mut dice), measure.kills);
    let canceller = cancel(world.database(), batches);
    for number in 0..measure.kills {
        world.live_and_die(&death(number, &STOP_POINTS, &mut dice));
    }
    world.pace = None;
    let worker = world.start(None);
    let end = Instant::now() + Duration::from_secs(300);
    while !(producer.is_finished() && canceller.is_finished() && batches_left(&world) == Some(0)) {
        assert!(Instant::now() < end, "batches are still open: {:?}", batches_left(&world));
        pause(Duration::from_millis(50));
    }
    producer.join().unwrap();
    canceller.join().unwrap();
    pause(Duration::from_secs(2)); // the last events are on their way
    worker.stop();
    let dead = (1..BATCH).filter(|number| number % 8 == 0).count() + 1;
    for kind in ["opened", "completed"] {
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        for event in world.results(&format!("windlass.batch.{kind}")) {
            let id = event["subject"].as_str().unwrap();
            assert_eq!(event["id"], format!("{id}:{kind}"));
            *told.entry(id.to_owned()).or_default() += 1;
            if kind == "completed" {
                let counts = ["done", "dead", "discarded"].map(|end| event["data"][end].as_u64().unwrap());
                assert_eq!(counts, [(BATCH - dead) as u64, dead as u64, 0], "{event}");
            }
        }
        let all: BTreeMap<String, usize> = (0..batches).map(|batch| (format!("b{batch}"), 1)).collect();
        assert_eq!(told, all, "{kind}");
    }
    let audit = windlass::queues::embedded::audit(&world.database()).unwrap();
    assert!(audit.ok, "{audit:?}");
    println!("{batches} batches of {BATCH} jobs complete once each over {} deaths", measure.kills);
}
