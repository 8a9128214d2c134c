use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use jiff::tz::TimeZone;

use super::plan::MOST;
use super::*;
use crate::ports::Queue as _;
use crate::queues::memory::Memory;
use crate::state::memory::MemoryState;
use crate::telemetry::Telemetry;

/// A queue in memory, a state store, and workers that come and go; the wall clock is moved by hand.
struct World {
    memory: Arc<Memory>,
    state: Arc<dyn StateStore>,
    rhythm: Rhythm,
    spelled: &'static str,
    catch_up: CatchUp,
    jitter: Option<Duration>,
    wall: Timestamp,
    down: Arc<AtomicBool>,
    seen: AtomicUsize,
}

/// A sink that can be down.
struct Door(Arc<dyn Sink>, Arc<AtomicBool>);

#[async_trait]
impl Sink for Door {
    fn address(&self) -> &str {
        self.0.address()
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), QueueError> {
        if self.1.load(Ordering::SeqCst) {
            return Err(QueueError::Unavailable("down".into()));
        }
        self.0.send(outgoing).await
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl World {
    fn every(seconds: u64, catch_up: CatchUp, now: &str) -> Self {
        World::new(Rhythm::Every(Duration::from_secs(seconds)), "every", catch_up, now)
    }

    fn new(rhythm: Rhythm, spelled: &'static str, catch_up: CatchUp, now: &str) -> Self {
        let clock = Clock::tokio();
        World {
            memory: Memory::new(clock, 100_000),
            state: Arc::new(MemoryState::new(clock)),
            rhythm,
            spelled,
            catch_up,
            jitter: None,
            wall: at(now),
            down: Arc::default(),
            seen: AtomicUsize::new(0),
        }
    }

    /// A worker that starts now, by its own clock.
    fn worker(&self) -> Arc<Schedules> {
        let clock = Clock::Tokio { wall: self.wall, at: tokio::time::Instant::now() };
        let schedule = Schedule {
            name: "s".into(),
            rhythm: self.rhythm.clone(),
            spelled: self.spelled.into(),
            queue: "jobs".into(),
            sink: Arc::new(Door(self.memory.queue("jobs").sink(), self.down.clone())),
            recognised: false,
            job: Template { kind: "t".into(), data: Value::from(1), key: None, tenant: None, priority: Some(7) },
            catch_up: self.catch_up,
            jitter: self.jitter,
            metrics: Telemetry::install().unwrap().schedule("s"),
        };
        Arc::new(Schedules::new(vec![schedule], self.state.clone(), clock))
    }

    /// A worker looks once at this time.
    async fn look(&mut self, now: &str) -> Duration {
        self.wall = at(now);
        self.worker().step().await
    }

    /// What was submitted since the last call.
    fn submitted(&self) -> Vec<String> {
        let messages = self.memory.queue("jobs").messages();
        let seen = self.seen.swap(messages.len(), Ordering::SeqCst);
        let ids = messages[seen..].iter().map(|message| {
            let job: Value = serde_json::from_slice(&message.body).unwrap();
            assert_eq!((&job["type"], &job["data"], &job["priority"]), (&"t".into(), &1.into(), &7.into()));
            job["id"].as_str().unwrap().trim_start_matches("cron:s:").to_owned()
        });
        ids.collect()
    }
}

#[tokio::test(start_paused = true)]
async fn each_due_time_is_submitted_once_by_a_fleet_that_runs_for_hours() {
    let world = World::every(600, CatchUp::Last, "2026-11-21T08:00:01Z");
    let stop = CancellationToken::new();
    let workers: Vec<_> = (0..3).map(|_| tokio::spawn(world.worker().run(stop.clone()))).collect();
    tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
    stop.cancel();
    for worker in workers {
        worker.await.unwrap();
    }
    let ids = world.submitted(); // a queue in memory recognises no repetition
    assert_eq!(ids.len(), 18);
    assert_eq!((&*ids[0], &*ids[17]), ("2026-11-21T08:10:00Z", "2026-11-21T11:00:00Z"));
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_claimed_that_died_is_submitted_by_another_after_a_while() {
    let world = World::every(600, CatchUp::Last, "2026-11-21T08:00:01Z");
    let (first, second) = (world.worker(), world.worker());
    first.step().await;
    second.step().await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    world.down.store(true, Ordering::SeqCst);
    first.step().await; // it has claimed the due time and cannot submit it
    world.down.store(false, Ordering::SeqCst);
    second.step().await;
    assert!(world.submitted().is_empty(), "the first may be about to submit it");
    let stop = CancellationToken::new();
    let running = tokio::spawn(second.run(stop.clone()));
    tokio::time::sleep(Duration::from_secs(30)).await;
    stop.cancel();
    running.await.unwrap();
    assert_eq!(world.submitted(), ["2026-11-21T08:10:00Z"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_alone_submits_each_due_time_once() {
    let world = World::every(1, CatchUp::Last, "2026-11-21T08:00:00Z");
    let stop = CancellationToken::new();
    let worker = tokio::spawn(world.worker().run(stop.clone()));
    tokio::time::sleep(Duration::from_millis(100_500)).await;
    stop.cancel();
    worker.await.unwrap();
    let ids = world.submitted();
    assert_eq!((ids.len(), &*ids[0], &*ids[99]), (100, "2026-11-21T08:00:01Z", "2026-11-21T08:01:40Z"));
}

#[tokio::test(start_paused = true)]
async fn a_new_schedule_makes_up_for_nothing_and_one_written_anew_starts_anew() {
    let mut world = World::every(60, CatchUp::All, "2026-11-21T08:00:30Z");
    assert_eq!(world.look("2026-11-21T08:00:30Z").await, LOOK);
    assert_eq!(world.submitted(), [""; 0]);
    assert_eq!(world.look("2026-11-21T08:00:58Z").await, Duration::from_secs(2), "it wakes in time");
    world.look("2026-11-21T08:01:00Z").await;
    assert_eq!(world.submitted(), ["2026-11-21T08:01:00Z"]);
    (world.rhythm, world.spelled) = (Rhythm::Every(Duration::from_secs(10)), "every 10s");
    world.look("2026-11-21T09:00:00Z").await;
    assert_eq!(world.submitted(), [""; 0]);
    world.look("2026-11-21T09:00:10Z").await;
    assert_eq!(world.submitted(), ["2026-11-21T09:00:10Z"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_of_all_workers_it_catches_up_as_it_was_told() {
    for (catch_up, expected) in [
        (CatchUp::Last, vec!["2026-11-21T12:00:00Z"]),
        (CatchUp::All, vec!["2026-11-21T09:00:00Z", "2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z", "2026-11-21T12:00:00Z"]),
        (CatchUp::None, vec![]),
    ] {
        let mut world = World::every(3600, catch_up, "2026-11-21T08:30:00Z");
        world.look("2026-11-21T08:30:00Z").await;
        world.look("2026-11-21T12:30:00Z").await;
        assert_eq!(world.submitted(), expected, "{catch_up:?}");
        world.look("2026-11-21T12:31:00Z").await;
        assert_eq!(world.submitted(), [""; 0], "{catch_up:?}");
        world.look("2026-11-21T13:00:00Z").await;
        assert_eq!(world.submitted(), ["2026-11-21T13:00:00Z"], "{catch_up:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_due_now_makes_up_for_what_was_missed_and_is_never_passed_over() {
    for catch_up in [CatchUp::Last, CatchUp::None] {
        let mut world = World::every(3600, catch_up, "2026-11-21T08:30:00Z");
        world.look("2026-11-21T08:30:00Z").await;
        world.look("2026-11-21T12:00:03Z").await;
        assert_eq!(world.submitted(), ["2026-11-21T12:00:00Z"], "{catch_up:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn catching_up_with_all_is_bounded_to_the_latest() {
    let mut world = World::every(1, CatchUp::All, "2026-11-21T08:00:00Z");
    world.look("2026-11-21T08:00:00Z").await;
    world.look("2026-11-22T08:00:00Z").await;
    let ids = world.submitted();
    assert_eq!((ids.len(), &*ids[0], &*ids[MOST - 1]), (MOST, "2026-11-22T07:43:21Z", "2026-11-22T08:00:00Z"));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_either_way_runs_nothing_twice() {
    let mut world = World::every(3600, CatchUp::All, "2026-11-21T08:30:00Z");
    world.look("2026-11-21T08:30:00Z").await;
    world.look("2026-11-21T09:00:00Z").await;
    world.look("2026-11-21T07:00:00Z").await;
    assert_eq!(world.submitted(), ["2026-11-21T09:00:00Z"]);
    for back in ["2026-11-21T08:00:00Z", "2026-11-21T09:00:00Z", "2026-11-21T09:59:59Z"] {
        world.look(back).await;
    }
    assert_eq!(world.submitted(), [""; 0]);
    world.look("2026-11-21T12:00:00Z").await;
    world.look("2026-11-21T10:30:00Z").await;
    world.look("2026-11-21T13:00:00Z").await;
    assert_eq!(
        world.submitted(),
        ["2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z", "2026-11-21T12:00:00Z", "2026-11-21T13:00:00Z"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_due_time_whose_queue_is_down_is_tried_again_and_not_forgotten() {
    let world = World::every(3600, CatchUp::Last, "2026-11-21T08:30:00Z");
    let worker = world.worker();
    worker.step().await;
    tokio::time::sleep(Duration::from_secs(1800)).await;
    world.down.store(true, Ordering::SeqCst);
    assert_eq!(worker.step().await, AGAIN);
    assert_eq!(world.submitted(), [""; 0]);
    world.down.store(false, Ordering::SeqCst);
    tokio::time::sleep(AGAIN).await;
    worker.step().await;
    assert_eq!(world.submitted(), ["2026-11-21T09:00:00Z"]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_the_job_and_its_record_repeats_the_same_id() {
    let mut world = World::every(3600, CatchUp::Last, "2026-11-21T08:30:00Z");
    world.look("2026-11-21T08:30:00Z").await;
    let key = key(&["schedule", "s"]);
    let before = world.state.get(&key).await.unwrap().unwrap();
    world.look("2026-11-21T09:00:00Z").await;
    world.state.change(vec![Change::put(&key, When::Always, before.value)]).await.unwrap();
    world.look("2026-11-21T09:00:01Z").await;
    assert_eq!(world.submitted(), ["2026-11-21T09:00:00Z", "2026-11-21T09:00:00Z"]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_clock_of_the_zone_is_followed_over_restarts() {
    let vienna = Rhythm::cron("30 2 * * *", TimeZone::get("Europe/Vienna").unwrap()).unwrap();
    let mut world = World::new(vienna, "30 2 * * * Europe/Vienna", CatchUp::Last, "2026-10-24T12:00:00Z");
    world.look("2026-10-24T12:00:00Z").await;
    for minute in 0..360 {
        let now = at("2026-10-24T23:00:00Z") + jiff::Span::new().minutes(minute);
        world.look(&now.to_string()).await;
    }
    assert_eq!(world.submitted(), ["2026-10-25T00:30:00Z"]);
}

#[tokio::test(start_paused = true)]
async fn a_jittered_job_waits_the_same_whoever_submits_it() {
    let mut world = World::every(3600, CatchUp::Last, "2026-11-21T08:30:00Z");
    world.jitter = Some(Duration::from_secs(600));
    let mut due = Vec::new();
    for _ in 0..2 {
        world.state = Arc::new(MemoryState::new(Clock::tokio()));
        world.look("2026-11-21T08:30:00Z").await;
        world.look("2026-11-21T09:00:00Z").await;
        let message = world.memory.queue("jobs").messages().pop().unwrap();
        let job: Value = serde_json::from_slice(&message.body).unwrap();
        due.push(at(job["not_before"].as_str().unwrap()));
    }
    assert_eq!(due[0], due[1]);
    assert!(between(at("2026-11-21T09:00:00Z"), due[0]) < Duration::from_secs(600));
}

#[tokio::test(start_paused = true)]
async fn operators_see_what_was_and_what_is_due_and_run_it_now() {
    let mut world = World::every(3600, CatchUp::Last, "2026-11-21T08:30:00Z");
    world.look("2026-11-21T08:30:00Z").await;
    world.look("2026-11-21T09:00:00Z").await;
    world.submitted();
    let worker = world.worker();
    let view = worker.view(2).await.unwrap().remove(0);
    assert_eq!(view.fired, Some(at("2026-11-21T09:00:00Z")));
    assert_eq!(view.next, [at("2026-11-21T10:00:00Z"), at("2026-11-21T11:00:00Z")]);
    let (queue, id) = worker.run_now("s").await.unwrap().unwrap();
    assert_eq!((&*queue, &*id), ("jobs", "cron:s:run:2026-11-21T09:00:00Z"));
    assert_eq!(world.submitted(), ["run:2026-11-21T09:00:00Z"]);
    assert!(worker.run_now("nothing").await.unwrap().is_none());
}
