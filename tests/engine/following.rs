//! Keyed jobs of a shut executor: they leave in order, hold up nobody, and come back in order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use windlass::engine::breaker::Phase;
use windlass::engine::budget::Budget;
use windlass::engine::routes::Route;
use windlass::engine::{Engine, Shared};
use windlass::outcome::{Class, Failure};
use windlass::ports::Executor;
use windlass::retry::Policy;

use crate::outages::{HOUR, Target, guarded, hold};
use crate::support::{done, executor, pool, routes, rules};
use crate::world::World;

/// What a target that may be down did with the jobs of each key.
#[derive(Clone, Default)]
struct Keyed {
    down: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    running: HashMap<String, usize>,
    /// The numbers that passed, by key, in order.
    passed: HashMap<String, Vec<usize>>,
    overlaps: usize,
    /// Jobs that had been parked before they passed.
    moved: Vec<bool>,
}

impl Keyed {
    /// Answers after 5 ms. Of the jobs that it can run, one in `bad` fails the first time.
    fn executor(&self, bad: u64) -> Arc<dyn Executor> {
        let target = self.clone();
        executor(move |job, context| {
            let (target, attempt, moved) = (target.clone(), context.attempt, job.life.park.is_some());
            let (key, number) = (job.key.as_deref().unwrap().to_owned(), job.id.parse::<usize>().unwrap());
            async move {
                {
                    let mut seen = target.seen.lock().unwrap();
                    let running = seen.running.entry(key.clone()).or_default();
                    *running += 1;
                    seen.overlaps += usize::from(seen.running[&key] > 1);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
                let mut seen = target.seen.lock().unwrap();
                *seen.running.get_mut(&key).unwrap() -= 1;
                if target.down.load(Ordering::SeqCst) {
                    return Failure::new(Class::Unavailable, "connection refused").into();
                }
                if bad > 0 && (number as u64).is_multiple_of(bad) && attempt == 1 {
                    return Failure::new(Class::Failed, "not yet").into();
                }
                seen.moved.push(moved);
                seen.passed.entry(key).or_default().push(number);
                done()
            }
            .boxed()
        })
    }

    fn is(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    #[track_caller]
    fn kept_order(&self, count: usize) {
        let seen = self.seen.lock().unwrap();
        assert_eq!(seen.overlaps, 0, "two runs of one key at once");
        assert_eq!(seen.passed.values().map(Vec::len).sum::<usize>(), count);
        for (key, passed) in &seen.passed {
            assert!(passed.is_sorted(), "{key}: {passed:?}");
        }
    }
}

fn in_order(world: &World, kind: &str, run: Arc<dyn Executor>) -> Arc<Route> {
    let route = Arc::into_inner(guarded(world, kind, run, Policy::default())).unwrap();
    let mut rules = rules(kind);
    (rules.ordered, rules.guard) = (true, world.shared.guards.get(kind));
    Arc::new(Route { rules: Arc::new(rules), ..route })
}

/// A world with `t`, in order, on the one target and `u` on the other.
fn world(target: &Keyed, bad: u64, other: &Target) -> World {
    let mut world = World::new(Vec::new());
    give_routes(&mut world, target, bad, other);
    world
}

fn give_routes(world: &mut World, target: &Keyed, bad: u64, other: &Target) {
    let routes =
        [in_order(world, "t", target.executor(bad)), guarded(world, "u", other.executor(Class::Unavailable), Policy::default())];
    world.routes = routes.into();
}

async fn send_keyed(world: &World, id: usize, keys: usize) {
    world.send("jobs", &format!(r#"{{"id":"{id:05}","type":"t","key":"k{}"}}"#, id % keys)).await;
}

fn phase(world: &World) -> Option<Phase> {
    world.shared.guards.get("t").unwrap().report().state
}

#[tokio::test(start_paused = true)]
async fn keyed_jobs_of_a_dead_target_hold_up_no_other_route() {
    let (target, other) = (Keyed::default(), Target::default());
    target.is(true);
    let world = world(&target, 0, &other);
    let engine = world.start();
    for id in 0..3000 {
        send_keyed(&world, id, 7).await; // three windows full
    }
    for id in 0..100 {
        world.send("jobs", &format!(r#"{{"id":"u{id}","type":"u"}}"#)).await;
    }
    world.holds("results", 100).await;
    assert_eq!(other.passed().len(), 100);
    assert_ne!(phase(&world), Some(Phase::Closed));
    world.holds("jobs", 0).await;
    world.holds("jobs.parked.t", 3000).await;
    target.is(false);
    world.holds("results", 3100).await;
    target.kept_order(3000);
    assert!(world.failures().is_empty());
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn newer_jobs_follow_until_the_older_ones_of_their_key_have_run_and_no_longer() {
    let (target, other) = (Keyed::default(), Target::default());
    let world = world(&target, 0, &other);
    hold(&world);
    let engine = world.start();
    for id in 0..500 {
        send_keyed(&world, id, 50).await;
    }
    world.holds("jobs.parked.t", 500).await;
    world.shared.guards.get("t").unwrap().close("ann");
    for id in 500..5000 {
        send_keyed(&world, id, 50).await; // without a pause in which nothing is on its way
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    world.holds("results", 5000).await;
    target.kept_order(5000);
    let moved = target.seen.lock().unwrap().moved.iter().rev().take(1000).filter(|moved| **moved).count();
    assert_eq!(moved, 0, "they go straight to their target again");
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn keys_keep_their_order_through_outages_that_come_and_go() {
    for seed in 0..30 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (target, other) = (Keyed::default(), Target::default());
        let mut world = world(&target, 13, &other);
        world.routes.truncate(1 + seed as usize % 2); // with every route shut, nothing is to be taken
        let mut engine = world.start();
        for id in 0..1000 {
            send_keyed(&world, id, 20).await;
            if seed % 2 == 1 && random.u32(..3) == 0 {
                world.send("jobs", &format!(r#"{{"id":"u{id}","type":"u"}}"#)).await;
            }
            tokio::time::sleep(Duration::from_millis(random.u64(..20))).await;
            match random.u32(..150) {
                0 => target.is(true),
                1..=3 => target.is(false),
                4 => hold(&world),
                5..=7 => world.shared.guards.get("t").unwrap().close("ann"),
                8 => engine = start_again(&mut world, engine, (&target, &other)).await,
                9 => tokio::time::sleep(Duration::from_secs(random.u64(..120))).await,
                _ => {}
            }
        }
        target.is(false);
        world.shared.guards.get("t").unwrap().close("ann");
        for queue in ["jobs", "jobs.parked.t"] {
            world.holds(queue, 0).await;
        }
        engine.stop(HOUR).await;
        println!("seed {seed}");
        target.kept_order(1000);
        assert!(world.failures().is_empty());
    }
}

async fn start_again(world: &mut World, engine: Engine, (target, other): (&Keyed, &Target)) -> Engine {
    engine.stop(HOUR).await;
    world.shared = Arc::new(Shared::new("again", world.shared.clock, Budget::new(64 << 20)));
    let routes = world.routes.len();
    give_routes(world, target, 13, other);
    world.routes.truncate(routes);
    world.start()
}

#[tokio::test(start_paused = true)]
async fn jobs_whose_route_has_come_run_before_newer_ones_of_their_key() {
    let target = Keyed::default();
    let world = World::new(Vec::new());
    let running = Arc::new(pool(&world.shared, &world.from, 8, Vec::new()));
    let engine = Engine::start(world.shared.clone(), std::slice::from_ref(&running));
    for id in 0..3000 {
        send_keyed(&world, id, 700).await; // each window of them has nearly every key
    }
    world.holds("jobs.parked.no-route", 3000).await;
    running.reload(routes(vec![in_order(&world, "t", target.executor(0))]));
    for id in 3000..4000 {
        send_keyed(&world, id, 700).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for queue in ["jobs", "jobs.parked.no-route"] {
        world.holds(queue, 0).await;
    }
    target.kept_order(4000);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn jobs_parked_for_an_executor_that_is_gone_run_before_newer_ones_of_their_key() {
    let (target, other) = (Keyed::default(), Target::default());
    let before = world(&target, 0, &other);
    hold(&before);
    let (engine, running) = before.start_pool();
    for id in 0..3000 {
        send_keyed(&before, id, 700).await;
    }
    before.holds("jobs.parked.t", 3000).await;
    let route = Arc::into_inner(in_order(&before, "another", target.executor(0))).unwrap();
    running.reload(routes(vec![Arc::new(Route { name: "t".into(), ..route })]));
    for id in 3000..4000 {
        send_keyed(&before, id, 700).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for queue in ["jobs", "jobs.parked.t"] {
        before.holds(queue, 0).await;
    }
    target.kept_order(4000);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_head_finds_its_executor_shut_leaves_with_it() {
    let (target, other) = (Target::default(), Target::default());
    let slow = executor(|_, _| {
        async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            Failure::new(Class::Unavailable, "no answer").into()
        }
        .boxed()
    });
    let mut world = World::new(Vec::new());
    let routes = [in_order(&world, "t", slow), guarded(&world, "u", other.executor(Class::Unavailable), Policy::default())];
    world.routes = routes.into();
    let engine = world.start();
    send_keyed(&world, 0, 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    hold(&world);
    for id in 1..3000 {
        send_keyed(&world, id, 1).await;
    }
    world.send("jobs", r#"{"id":"u","type":"u"}"#).await;
    tokio::time::timeout(HOUR, world.holds("results", 1)).await.expect("no other route is held up");
    world.holds("jobs.parked.t", 3000).await;
    let ids = world.bodies("jobs.parked.t").iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert!(ids.is_sorted() && target.calls() == 0);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn jobs_of_an_executor_that_is_shut_again_go_back_to_their_place_and_hold_up_nobody() {
    let (target, other) = (Keyed::default(), Target::default());
    let world = world(&target, 0, &other);
    hold(&world);
    let engine = world.start();
    for id in 0..2000 {
        send_keyed(&world, id, 1).await;
    }
    world.holds("jobs.parked.t", 2000).await;
    let guard = world.shared.guards.get("t").unwrap();
    guard.close("ann");
    while target.seen.lock().unwrap().moved.len() < 50 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    hold(&world);
    for id in 2000..5000 {
        send_keyed(&world, id, 1).await;
    }
    world.send("jobs", r#"{"id":"u","type":"u"}"#).await;
    tokio::time::timeout(HOUR, world.holds("jobs", 0)).await.expect("nothing is held up");
    assert_eq!(other.passed(), ["u"]);
    guard.close("ann");
    world.holds("results", 5001).await;
    target.kept_order(5000);
    engine.stop(Duration::ZERO).await;
}
