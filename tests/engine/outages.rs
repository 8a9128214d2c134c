//! Targets that do not answer: nothing is charged, nothing is lost, and the backlog drains by age afterwards.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use windlass::clock::between;
use windlass::engine::breaker::{Phase, Settings};
use windlass::engine::guard::{Guard, Hold};
use windlass::engine::routes::Route;
use windlass::job::Message;
use windlass::outcome::{Class, Failure};
use windlass::ports::Executor;
use windlass::retry::Policy;

use crate::support::{done, executor, route, rules, telemetry};
use crate::world::World;

/// A target that may be down, and what was asked of it.
#[derive(Clone, Default)]
pub struct Target {
    down: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    at_once: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    /// The ids that passed, in order.
    passed: Arc<Mutex<Vec<String>>>,
}

impl Target {
    pub fn is(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// The most that it was asked at once.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    pub fn passed(&self) -> Vec<String> {
        self.passed.lock().unwrap().clone()
    }

    /// Answers after 10 ms; down, it fails with `class`.
    pub fn executor(&self, class: Class) -> Arc<dyn Executor> {
        let target = self.clone();
        executor(move |job, _| {
            let (target, id) = (target.clone(), job.id.to_string());
            async move {
                target.calls.fetch_add(1, Ordering::SeqCst);
                let running = target.at_once.fetch_add(1, Ordering::SeqCst) + 1;
                target.most.fetch_max(running, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                target.at_once.fetch_sub(1, Ordering::SeqCst);
                if target.down.load(Ordering::SeqCst) {
                    return Failure::new(class, "connection refused").into();
                }
                target.passed.lock().unwrap().push(id);
                done()
            }
            .boxed()
        })
    }
}

pub fn guarded(world: &World, kind: &str, run: Arc<dyn Executor>, policy: Policy) -> Arc<Route> {
    let shared = &world.shared;
    let known = shared.guards.all().into_iter().map(|guard| (guard.name.clone(), Some(Settings::default())));
    let guards: Vec<_> = known.chain([(kind.into(), Some(Settings::default()))]).collect();
    shared.guards.set(guards, |name, settings| Guard::new(name, settings, shared.clock, telemetry().guard(name)));
    let route = Arc::into_inner(route(kind, run, policy)).unwrap();
    let mut rules = rules(kind);
    rules.guard = shared.guards.get(kind);
    Arc::new(Route { rules: Arc::new(rules), executor_name: kind.into(), ..route })
}

/// A world with one route `t` on the target.
pub fn world(target: &Target, class: Class) -> World {
    let mut world = World::new(Vec::new());
    world.routes = vec![guarded(&world, "t", target.executor(class), Policy::default())];
    world
}

fn phase(world: &World) -> Option<Phase> {
    world.shared.guards.get("t").unwrap().report().state
}

/// Ann holds the breaker of `t` open.
pub fn hold(world: &World) {
    world.shared.guards.get("t").unwrap().hold(&Hold { by: "ann".into(), since: world.shared.clock.now() });
}

pub async fn send(world: &World, ids: std::ops::Range<usize>) {
    for id in ids {
        world.send("jobs", &format!(r#"{{"id":"{id:05}","type":"t"}}"#)).await;
    }
}

pub const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn an_hour_of_outage_spends_no_attempt_and_the_backlog_drains_by_age() {
    for class in [Class::Unavailable, Class::Misconfigured] {
        let target = Target::default();
        target.is(true);
        let world = world(&target, class);
        let engine = world.start();
        for minute in 0..60 {
            send(&world, minute * 5..minute * 5 + 5).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_ne!(phase(&world), Some(Phase::Closed));
        assert!(target.calls() < 100, "{} calls of a dead target in an hour", target.calls());
        assert!(world.failures().is_empty());
        let probed = target.calls();
        target.is(false);
        world.holds("results", 300).await;
        assert_eq!(phase(&world), Some(Phase::Closed));
        assert_eq!(target.calls() - probed, 300, "each ran once");
        assert!(world.bodies("results").iter().all(|event| event["attempt"] == 1));
        for queue in ["jobs", "jobs.dead", "jobs.parked.t"] {
            world.holds(queue, 0).await;
        }
        // those that were probes have lost their turn; of the others, jobs that run at once may overtake each other
        let passed = target.passed();
        let numbers: Vec<usize> = passed.iter().map(|id| id.parse().unwrap()).collect();
        let late = numbers.windows(2).filter(|two| two[1] + 8 < two[0]).count();
        assert!(late <= 8, "{late} out of order: {numbers:?}");
        engine.stop(Duration::ZERO).await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_every_route_is_shut_nothing_is_moved() {
    let target = Target::default();
    target.is(true);
    let world = world(&target, Class::Unavailable);
    let engine = world.start();
    send(&world, 0..1000).await;
    tokio::time::sleep(HOUR).await;
    let moved = world.queue("jobs.parked.t").len();
    assert!(moved < 100, "{moved} of 1000 jobs were moved");
    assert_eq!(moved + world.queue("jobs").len(), 1000);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_shut_route_moves_its_jobs_once_and_holds_up_no_other() {
    let (target, other) = (Target::default(), Target::default());
    target.is(true);
    let mut world = world(&target, Class::Unavailable);
    world.routes.push(guarded(&world, "u", other.executor(Class::Unavailable), Policy::default()));
    let engine = world.start();
    for id in 0..2000 {
        world.send("jobs", &format!(r#"{{"id":"{id:05}","type":"{}"}}"#, if id % 2 == 0 { "t" } else { "u" })).await;
    }
    world.holds("results", 1000).await;
    assert_eq!(other.passed().len(), 1000);
    tokio::time::sleep(Duration::from_secs(70)).await;
    world.holds("jobs.parked.t", 1000).await;
    let lives = world.queue("jobs.parked.t").messages();
    let generation = |message: &Message| {
        let life: serde_json::Value = serde_json::from_slice(message.header("windlass-job").unwrap()).unwrap();
        life["generation"].as_u64().unwrap()
    };
    assert!(lives.iter().filter(|message| generation(message) > 1).count() < 20);
    target.is(false);
    world.holds("results", 2000).await;
    assert!(world.failures().is_empty());
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_jobs_after_an_outage_come_few_at_a_time() {
    let target = Target::default();
    target.is(true);
    let mut world = world(&target, Class::Unavailable);
    world.slots = 64;
    let engine = world.start();
    send(&world, 0..500).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    target.most.store(0, Ordering::SeqCst);
    target.is(false);
    let guard = world.shared.guards.get("t").unwrap();
    let mut news = guard.news();
    while phase(&world) != Some(Phase::Closed) {
        news.changed().await.unwrap();
    }
    assert!(target.most.load(Ordering::SeqCst) <= 2, "a probe, and what may follow it");
    let mut allowed = Vec::new();
    while let Some(limit) = guard.report().limit {
        assert!(guard.report().running <= limit);
        if allowed.last() != Some(&limit) {
            allowed.push(limit);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(allowed.starts_with(&[2, 4, 8, 16]), "{allowed:?}");
    world.holds("results", 500).await;
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn one_bad_message_never_shuts_a_target() {
    let target = Target::default();
    let bad = executor({
        let good = target.executor(Class::Unavailable);
        move |job, context| {
            let good = good.clone();
            async move {
                if &*job.id == "bad" { Failure::new(Class::Unavailable, "502").into() } else { good.execute(job, context).await }
            }
            .boxed()
        }
    });
    let mut world = World::new(Vec::new());
    world.routes = vec![guarded(&world, "t", bad, Policy::default())];
    let engine = world.start();
    world.send("jobs", r#"{"id":"bad","type":"t"}"#).await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(phase(&world), Some(Phase::Closed));
    }
    // it is dead-lettered as what it says, once it has waited for a day
    world.holds("jobs.dead", 1).await;
    assert_eq!(world.failures()[0]["reason"], "unavailable");
    assert_eq!(world.failures()[0]["attempts"], 0);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_itself_bad_does_not_keep_a_good_target_shut() {
    let target = Target::default();
    target.is(true);
    let run = executor({
        let good = target.executor(Class::Unavailable);
        move |job, context| {
            let good = good.clone();
            async move {
                if &*job.id == "00000" {
                    Failure::new(Class::Unavailable, "502").into()
                } else {
                    good.execute(job, context).await
                }
            }
            .boxed()
        }
    });
    let mut world = World::new(Vec::new());
    world.routes = vec![guarded(&world, "t", run, Policy::default())];
    let engine = world.start();
    send(&world, 0..20).await;
    tokio::time::sleep(HOUR).await;
    target.is(false);
    world.holds("results", 19).await;
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn parked_jobs_expire_in_time_by_their_deadline_or_by_unavailable_for() {
    let target = Target::default();
    target.is(true);
    let mut world = world(&target, Class::Unavailable);
    world.routes.push(guarded(&world, "u", Target::default().executor(Class::Failed), Policy::default()));
    let engine = world.start();
    let start = world.shared.clock.now();
    send(&world, 0..20).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let deadline = windlass::clock::after(start, HOUR);
    for id in 0..5 {
        world.send("jobs", &format!(r#"{{"id":"d{id}","type":"t","deadline":"{deadline}"}}"#)).await;
    }
    world.holds("jobs.dead", 25).await;
    let took = between(start, world.shared.clock.now());
    assert!((24 * HOUR..26 * HOUR).contains(&took), "{took:?}");
    for failure in world.failures() {
        let expired = failure["id"].as_str().unwrap().starts_with('d');
        assert_eq!(failure["reason"], if expired { "expired" } else { "unavailable" }, "{failure}");
        assert_eq!(failure["attempts"], 0);
    }
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn flapping_loses_nothing_and_charges_nothing() {
    let target = Target::default();
    let world = world(&target, Class::Unavailable);
    let engine = world.start();
    let flap = {
        let target = target.clone();
        tokio::spawn(async move {
            for second in 0.. {
                target.is(second % 3 != 0);
                tokio::time::sleep(Duration::from_millis(7000 + 900 * (second % 7))).await;
            }
        })
    };
    for batch in 0..100 {
        send(&world, batch * 10..batch * 10 + 10).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    world.holds("results", 1000).await;
    flap.abort();
    let openings = world.shared.guards.get("t").unwrap().report().openings;
    assert!(openings >= 3, "opened {openings} times only");
    assert!(world.failures().is_empty());
    assert!(world.bodies("results").iter().all(|event| event["attempt"] == 1));
    let mut passed = target.passed();
    passed.sort();
    passed.dedup();
    assert_eq!(passed.len(), 1000);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_throttles_for_ever_ends_its_jobs_as_throttled_after_unavailable_for() {
    let target = Target::default();
    target.is(true);
    let world = world(&target, Class::Throttled);
    let engine = world.start();
    let start = world.shared.clock.now();
    send(&world, 0..50).await;
    world.holds("jobs.dead", 50).await;
    assert!(between(start, world.shared.clock.now()) >= 24 * HOUR);
    assert!(world.failures().iter().all(|failure| failure["reason"] == "throttled" && failure["attempts"] == 0));
    let report = world.shared.guards.get("t").unwrap().report();
    assert_eq!((report.openings, report.limit), (0, Some(1)), "throttled opens nothing");
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_throttling_target_gets_as_many_at_once_as_it_bears_and_none_before_it_wants_any() {
    let target = Target::default();
    let throttles = executor({
        let good = target.executor(Class::Failed);
        let target = target.clone();
        move |job, context| {
            let (good, target) = (good.clone(), target.clone());
            async move {
                if target.at_once.load(Ordering::SeqCst) >= 4 {
                    return Failure::new(Class::Throttled, "429").after(Duration::from_secs(30)).into();
                }
                good.execute(job, context).await
            }
            .boxed()
        }
    });
    let mut world = World::new(Vec::new());
    world.slots = 32;
    world.routes = vec![guarded(&world, "t", throttles, Policy::default())];
    let engine = world.start();
    send(&world, 0..300).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = target.calls();
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(target.calls(), before, "nothing starts before Retry-After");
    world.holds("results", 300).await;
    assert!(target.most.load(Ordering::SeqCst) <= 4);
    assert!(world.bodies("results").iter().all(|event| event["attempt"] == 1));
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn keys_keep_their_order_through_an_outage() {
    let target = Target::default();
    target.is(true);
    let mut world = World::new(Vec::new());
    let ordered = Arc::into_inner(guarded(&world, "t", target.executor(Class::Unavailable), Policy::default())).unwrap();
    let mut rules = rules("t");
    (rules.ordered, rules.guard) = (true, world.shared.guards.get("t"));
    world.routes = vec![Arc::new(Route { rules: Arc::new(rules), ..ordered })];
    let engine = world.start();
    for id in 0..100 {
        world.send("jobs", &format!(r#"{{"id":"{id:05}","type":"t","key":"k{}"}}"#, id % 10)).await;
    }
    tokio::time::sleep(HOUR).await;
    assert_ne!(phase(&world), Some(Phase::Closed));
    target.is(false);
    world.holds("results", 100).await;
    for key in 0..10 {
        let passed: Vec<usize> = target.passed().iter().map(|id| id.parse().unwrap()).filter(|id| id % 10 == key).collect();
        assert!(passed.is_sorted(), "{passed:?}");
    }
    assert!(world.failures().is_empty());
    engine.stop(Duration::ZERO).await;
}
