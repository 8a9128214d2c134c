use std::path::Path;

use super::*;
use crate::app::{Systems, parts};
use crate::clock::Clock;
use crate::config;
use crate::engine::Engine;
use crate::engine::budget::Budget;
use crate::engine::guard::Hold;
use crate::job::Message;
use crate::ports::{Action, Admin as _, NewJob};

/// The queue `jobs` is called `inside` in its file.
const CONFIG: &str = "\
queues: { jobs: { embedded: { path: windlass.db, queue: inside } } }
executors: { cat: { command: { run: [cat] } } }
routes: [{ type: paced, run: cat, rate_per_worker: 1/h }]
";

/// A worker's parts, of which the pools run once it is started.
struct Bench {
    watch: Watch,
    pools: Vec<Arc<Pool>>,
    systems: Systems,
    shared: Arc<Shared>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("windlass.yaml");
        std::fs::write(&file, CONFIG).unwrap();
        let loaded = config::load(Some(Path::new(&file))).unwrap();
        let (config, base, telemetry) = (&loaded.config, &loaded.source.base, Telemetry::install().unwrap());
        let shared = Arc::new(Shared::new("test", Clock::System, Budget::new(64 << 20)));
        let systems = Systems::open(config, base, Clock::System).unwrap();
        let executors = parts::executors(config, base).unwrap();
        let pools = parts::pools(config, &shared, &systems, &executors, &telemetry).unwrap();
        let desk = Arc::new(systems.desk(config, Some(shared.clone())));
        let watch = Watch::new(shared.clone(), &pools, &desk, &telemetry);
        Bench { watch, pools, systems, shared, _folder: folder }
    }

    async fn submit(&self, kind: &str, count: usize) {
        let job = |number| NewJob {
            id: format!("{kind}-{number}").into(),
            message: Message::of(format!(r#"{{"type":"{kind}"}}"#)),
            due: None,
            priority: 4,
        };
        let store = self.systems.stores().next().unwrap();
        store.submit("inside", (0..count).map(job).collect()).await.unwrap();
        self.watch.refresh().await;
    }

    /// Looks again after two minutes in which nothing has moved.
    async fn later(&self) -> Health {
        self.watch.refresh().await;
        let long_ago = self.shared.clock.now() - Duration::from_secs(120);
        self.watch.seen().backlogs.get_mut("jobs").unwrap().moved = long_ago;
        self.pools[0].feeds[0].state().yielded = Some(long_ago);
        self.watch.refresh().await;
        self.watch.health()
    }

    /// Waits until a metric says so.
    async fn shows(&self, line: &str) {
        let shown = async {
            while !self.watch.telemetry.render().contains(&format!("{line}\n")) {
                self.watch.refresh().await;
                tokio::task::yield_now().await;
            }
        };
        let patience = tokio::time::timeout(Duration::from_secs(60), shown).await;
        assert!(patience.is_ok(), "{line} in\n{}", self.watch.telemetry.render());
    }
}

#[tokio::test]
async fn a_queue_that_nobody_takes_from_is_stuck_until_its_jobs_move() {
    let bench = Bench::new();
    bench.submit("paced", 2).await;
    assert_eq!(bench.watch.health().status, Status::Ok, "they have only come");
    let health = bench.later().await;
    assert_eq!(health.status, Status::Stuck);
    let check = &health.checks[0];
    assert!(check.name == "source jobs" && check.message.starts_with("2 jobs wait") && check.since.is_some(), "{check:?}");
    let store = bench.systems.stores().next().unwrap();
    store.pause("inside", true).await.unwrap();
    assert_eq!(bench.later().await.status, Status::Ok, "an operator wants them to wait");
    bench.shows(r#"windlass_waiting{pool="default",reason="paused"} 2"#).await;
    store.pause("inside", false).await.unwrap();
    bench.watch.refresh().await;
    assert_eq!(bench.watch.health().status, Status::Ok, "they may be taken from now on");
    assert_eq!(bench.later().await.status, Status::Stuck);
    let cancel = Action::Cancel { by: "ann".into(), discard: false };
    store.act("inside", "paced-0", &cancel).await.unwrap();
    bench.watch.refresh().await;
    assert_eq!(bench.watch.health().status, Status::Ok, "one has left");
    bench.shows(r#"windlass_queue_jobs{queue="jobs",state="dead"} 1"#).await;
}

#[tokio::test]
async fn a_queue_that_others_take_from_too_is_not_stuck_when_they_get_it_all() {
    let bench = Bench::new();
    bench.submit("paced", 1).await;
    assert_eq!(bench.later().await.status, Status::Stuck);
    bench.watch.seen().backlogs.get_mut("jobs").unwrap().stats.consumers = Some(2);
    assert_eq!(bench.watch.health().status, Status::Ok, "this worker may have no partition, or not the turn");
}

#[tokio::test]
async fn jobs_that_a_shut_executor_holds_back_are_no_reason_for_a_restart() {
    let bench = Bench::new();
    bench.submit("paced", 1).await;
    assert_eq!(bench.later().await.status, Status::Stuck);
    let hold = Hold { by: "ann".into(), since: Timestamp::now() };
    bench.shared.guards.get("cat").unwrap().hold(&hold);
    assert_eq!(bench.later().await.status, Status::Ok);
}

#[tokio::test]
async fn jobs_that_a_rate_holds_back_are_no_reason_for_a_restart_and_are_counted() {
    let bench = Bench::new();
    let engine = Engine::start(bench.shared.clone(), &bench.pools);
    bench.submit("paced", 400).await;
    bench.shows(r#"windlass_queue_ended_total{queue="jobs",end="completed"} 1"#).await;
    bench.shows(r#"windlass_slots_used{pool="default"} 0"#).await;
    assert_eq!(bench.later().await.status, Status::Ok);
    let backlog = bench.watch.seen().backlogs["jobs"].stats.waiting;
    assert!(backlog > 0, "all are in the window");
    bench.shows(&format!(r#"windlass_waiting{{pool="default",reason="rate"}} {}"#, 399 - backlog)).await;
    engine.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn jobs_without_a_route_are_counted_as_parked() {
    let bench = Bench::new();
    let engine = Engine::start(bench.shared.clone(), &bench.pools);
    bench.submit("unknown", 3).await;
    bench.shows(r#"windlass_waiting{pool="default",reason="parked"} 3"#).await;
    bench.shows(r#"windlass_waits_total{pool="default",reason="parked"} 3"#).await;
    engine.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_source_that_does_not_answer_is_degraded_and_not_stuck() {
    let bench = Bench::new();
    bench.submit("paced", 1).await;
    assert_eq!(bench.later().await.status, Status::Stuck);
    bench.pools[0].feeds[0].state().trouble = Some((bench.shared.clock.now(), "it is down".into()));
    let health = bench.watch.health();
    assert_eq!((health.status, &*health.checks[0].message), (Status::Degraded, "it is down"));
    bench.shows(r#"windlass_waiting{pool="default",reason="source_error"} 1"#).await;
}

#[tokio::test]
async fn a_worker_is_ready_until_the_first_stage_of_its_stop() {
    let bench = Bench::new();
    assert!(bench.watch.ready());
    bench.shared.stop.cancel();
    assert!(!bench.watch.ready());
}
