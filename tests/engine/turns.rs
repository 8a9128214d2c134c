//! Order by key, limits, shares and the window, as a pool keeps them; hours pass in milliseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;
use windlass::engine::limits::Limit;
use windlass::engine::routes::Route;
use windlass::engine::running::Cancelled;
use windlass::engine::turns::Rules;
use windlass::engine::window::{Window, WindowOptions};
use windlass::job::Job;
use windlass::outcome::{Class, Failure, Interruption, Outcome};
use windlass::ports::Executor;
use windlass::retry::Policy;
use windlass::units::parse_rate;

use crate::support::{done, executor, route, routes, rules};
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// What the jobs did: start and end of each run, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<(String, Instant, Instant)>>>);

impl Diary {
    fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(id, ..)| id.clone()).collect()
    }

    /// The most runs that overlapped, of those that `of` picks.
    fn most_at_once(&self, of: impl Fn(&str) -> bool) -> usize {
        let runs = self.0.lock().unwrap();
        let runs: Vec<_> = runs.iter().filter(|(id, ..)| of(id)).collect();
        let at = |moment: Instant| runs.iter().filter(|(_, start, end)| *start <= moment && moment < *end).count();
        runs.iter().map(|(_, start, _)| at(*start)).max().unwrap_or_default()
    }
}

/// Each run takes `took` and ends as `outcome` says.
fn busy(diary: &Diary, took: Duration, outcome: impl Fn(&Job) -> Outcome + Send + Sync + 'static) -> Arc<dyn Executor> {
    let (diary, outcome) = (diary.clone(), Arc::new(outcome));
    executor(move |job, _| {
        let (diary, outcome) = (diary.clone(), outcome.clone());
        async move {
            let start = Instant::now();
            tokio::time::sleep(took).await;
            diary.0.lock().unwrap().push((job.id.to_string(), start, Instant::now()));
            outcome(job)
        }
        .boxed()
    })
}

fn with(route: Arc<Route>, change: impl FnOnce(&mut Route, &mut Rules)) -> Arc<Route> {
    let mut rules = rules(&route.name);
    let mut route = Arc::into_inner(route).unwrap();
    change(&mut route, &mut rules);
    route.rules = Arc::new(rules);
    Arc::new(route)
}

fn ordered(executor: Arc<dyn Executor>) -> Arc<Route> {
    with(route("t", executor, Policy::default()), |_, rules| rules.ordered = true)
}

async fn send(world: &World, id: &str, key: &str) {
    world.send("jobs", &format!(r#"{{"id":"{id}","type":"t","key":"{key}"}}"#)).await;
}

/// The key of an id such as `x-7`.
fn key(id: &str) -> &str {
    id.split('-').next().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_failing_key_waits_alone_and_every_key_keeps_its_order_through_retries() {
    let (diary, failures) = (Diary::default(), Arc::new(Mutex::new(BTreeMap::<String, u32>::new())));
    let run = busy(&diary, SECOND / 100, move |job| {
        let mut failures = failures.lock().unwrap();
        let runs = failures.entry(job.id.to_string()).or_default();
        *runs += 1;
        match (job.id.as_ref(), *runs) {
            ("x-3", 1..=4) => Failure::new(Class::Failed, "not yet").into(),
            ("y-2", 1) => Failure::new(Class::Unavailable, "not yet").into(),
            ("z-5", 1) => Outcome::Interrupted(Interruption::Neighbour),
            _ => done(),
        }
    });
    let world = World::new(vec![ordered(run)]);
    for number in 0..10 {
        for key in ["x", "y", "z", "q"] {
            send(&world, &format!("{key}-{number}"), key).await;
        }
    }
    let engine = world.start();
    world.holds("results", 40).await;
    let ran = diary.ids();
    for name in ["x", "y", "z", "q"] {
        let mut of_key: Vec<&String> = ran.iter().filter(|id| key(id) == name).collect();
        of_key.dedup();
        let expected: Vec<String> = (0..10).map(|number| format!("{name}-{number}")).collect();
        assert_eq!(of_key, expected.iter().collect::<Vec<_>>());
        assert_eq!(diary.most_at_once(|id| key(id) == name), 1);
    }
    assert_eq!(diary.most_at_once(|_| true), 4, "keys run beside each other");
    let last = |name: &str| ran.iter().rposition(|id| key(id) == name).unwrap();
    assert!(last("q") < last("x"), "{ran:?}");
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_head_fails_for_ever_goes_on_after_order_hold() {
    let diary = Diary::default();
    let run =
        busy(&diary, SECOND, |job| if &*job.id == "x-0" { Failure::new(Class::Failed, "it never works").into() } else { done() });
    let (world, start) = (World::new(vec![ordered(run)]), Instant::now());
    send(&world, "x-0", "x").await;
    send(&world, "x-1", "x").await;
    let engine = world.start();
    world.holds("results", 2).await; // one failed, one completed
    assert!(start.elapsed() <= Duration::from_secs(16 * 60), "{:?}", start.elapsed());
    let failure = &world.failures()[0];
    assert_eq!((&failure["id"], &failure["reason"], &failure["class"]), (&"x-0".into(), &"order_hold".into(), &"failed".into()));
    assert!(failure["message"].as_str().unwrap().contains("it never works"), "{failure}");
    assert_eq!(diary.ids().last().unwrap(), "x-1");
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_stops_the_clock_of_order_hold() {
    let (diary, runs) = (Diary::default(), Arc::new(AtomicUsize::new(0)));
    let run = busy(&diary, Duration::ZERO, move |_| match runs.fetch_add(1, Ordering::SeqCst) {
        0..=100 => Failure::new(Class::Unavailable, "down").into(),
        _ => done(),
    });
    let world = World::new(vec![ordered(run)]);
    send(&world, "x-0", "x").await;
    send(&world, "x-1", "x").await;
    let (engine, start) = (world.start(), Instant::now());
    world.holds("results", 2).await;
    assert!(start.elapsed() > Duration::from_secs(3600), "more than order_hold");
    assert!(world.failures().is_empty());
    assert_eq!(world.bodies("results").iter().map(|event| &event["attempt"]).collect::<Vec<_>>(), [1, 1]);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn where_a_key_may_wait_for_ever_its_attempts_end_it() {
    let diary = Diary::default();
    let run = busy(&diary, Duration::ZERO, |_| Failure::new(Class::Failed, "never").into());
    let route = with(route("t", run, Policy::default()), |route, rules| {
        (route.order_hold, rules.ordered) = (None, true);
    });
    let world = World::new(vec![route]);
    send(&world, "x-0", "x").await;
    let engine = world.start();
    world.holds("results", 1).await;
    assert_eq!((&world.failures()[0]["reason"], diary.ids().len()), (&"failed".into(), 20));
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_key_waited_for_is_given_back_by_a_stop_with_its_attempts_and_in_order() {
    let diary = Diary::default();
    let works = Arc::new(AtomicUsize::new(0));
    let working = works.clone();
    let run = busy(&diary, Duration::ZERO, move |_| match working.load(Ordering::SeqCst) {
        0 => Failure::new(Class::Failed, "not yet").into(),
        _ => done(),
    });
    let world = World::new(vec![ordered(run)]);
    for number in 0..5 {
        send(&world, &format!("x-{number}"), "x").await;
    }
    let engine = world.start();
    tokio::time::sleep(SECOND * 30).await;
    engine.stop(Duration::ZERO).await;
    let runs = diary.ids().len();
    assert!(runs > 1 && diary.ids().iter().all(|id| id == "x-0"));
    works.store(1, Ordering::SeqCst);
    let again = World {
        shared: Arc::new(windlass::engine::Shared::new("next", world.shared.clock, world.shared.budget.clone())),
        ..world
    };
    let engine = again.start();
    again.holds("results", 5).await;
    let order: Vec<String> = again.bodies("results").iter().map(|event| event["subject"].as_str().unwrap().to_owned()).collect();
    assert_eq!(order, ["x-0", "x-1", "x-2", "x-3", "x-4"]);
    assert_eq!(again.bodies("results")[0]["attempt"], runs + 1);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn jobs_that_wait_for_hours_keep_their_leases_and_run_once() {
    let diary = Diary::default();
    let route = with(route("t", busy(&diary, SECOND, |_| done()), Policy::default()), |_, rules| {
        rules.limit = Limit { rate: Some(parse_rate("6/h").unwrap()), concurrency: None };
    });
    let world = World::new(vec![route]);
    for number in 0..30 {
        send(&world, &format!("x-{number}"), "x").await;
    }
    let (engine, start) = (world.start(), Instant::now());
    world.holds("results", 30).await;
    assert!(start.elapsed() >= Duration::from_secs(29 * 600), "{:?}", start.elapsed());
    assert_eq!(diary.ids().iter().collect::<BTreeSet<_>>().len(), diary.ids().len(), "each once");
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn limits_hold_at_once_and_in_time_and_bind_nobody_else() {
    let diary = Diary::default();
    let at_once = |most| Limit { rate: None, concurrency: Some(most) };
    let run = || busy(&diary, SECOND, |_| done());
    let few = with(route("few", run(), Policy::default()), |_, rules| rules.limit = at_once(3));
    let shared = with(route("shared", run(), Policy::default()), |_, rules| {
        (rules.per_tenant, rules.per_key) = (at_once(2), at_once(1));
    });
    let mut world = World::new(vec![few, shared, route("free", run(), Policy::default())]);
    world.slots = 30;
    for number in 0..10 {
        world.send("jobs", &format!(r#"{{"id":"few-{number}","type":"few"}}"#)).await;
        world.send("jobs", &format!(r#"{{"id":"free-{number}","type":"free"}}"#)).await;
        for tenant in ["a", "b"] {
            let key = number % 2;
            let body = format!(r#"{{"id":"{tenant}{key}-{number}","type":"shared","tenant":"{tenant}","key":"{tenant}{key}"}}"#);
            world.send("jobs", &body).await;
        }
    }
    let engine = world.start();
    world.holds("results", 40).await;
    assert_eq!(diary.most_at_once(|id| key(id) == "few"), 3);
    assert_eq!(diary.most_at_once(|id| key(id) == "free"), 10);
    assert_eq!(diary.most_at_once(|id| id.starts_with('a')), 2);
    assert_eq!(diary.most_at_once(|id| key(id) == "b1"), 1);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_ten_jobs_beside_a_flood_is_done_within_a_few_rounds() {
    let diary = Diary::default();
    let world = World::new(vec![route("t", busy(&diary, SECOND, |_| done()), Policy::default())]);
    for number in 0..500 {
        world.send("jobs", &format!(r#"{{"id":"flood-{number}","type":"t","tenant":"flood"}}"#)).await;
    }
    let engine = world.start();
    tokio::time::sleep(SECOND * 10).await;
    let before = diary.ids().len();
    for number in 0..10 {
        world.send("jobs", &format!(r#"{{"id":"small-{number}","type":"t","tenant":"small"}}"#)).await;
    }
    world.holds("results", 510).await;
    let last = diary.ids().iter().rposition(|id| key(id) == "small").unwrap();
    // what was taken ahead of them, what ran when they came, and two turns for each of the ten
    assert!(last - before <= 2 * world.slots + 20, "{}", last - before);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_comes_again_finds_a_slot_beside_a_flood_and_a_flood_alone_has_them_all() {
    let diary = Diary::default();
    let long = route("long", busy(&diary, SECOND * 100, |_| done()), Policy::default());
    let moment = route("moment", busy(&diary, SECOND, |_| done()), Policy::default());
    let world = World { slots: 64, ..World::new(vec![long, moment]) };
    let small = async |number: usize| {
        world.send("jobs", &format!(r#"{{"id":"small-{number}","type":"moment","tenant":"small"}}"#)).await;
    };
    small(0).await;
    for number in 0..400 {
        world.send("jobs", &format!(r#"{{"id":"flood-{number}","type":"long","tenant":"flood"}}"#)).await;
    }
    let engine = world.start();
    tokio::time::sleep(SECOND * 30).await;
    assert_eq!(world.shared.running.list().len(), 62, "two are kept for whoever comes");
    let came = Instant::now();
    small(1).await;
    world.holds("results", 2).await;
    assert!(came.elapsed() < SECOND * 2, "{:?}", came.elapsed());
    world.holds("results", 402).await;
    assert_eq!(diary.most_at_once(|id| key(id) == "flood"), 64, "a minute later nobody else counts as present");
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn as_many_slots_are_kept_as_the_pool_says() {
    for (kept, most) in [(Some(3), 4), (Some(0), 7), (None, 7)] {
        let diary = Diary::default();
        let long = route("long", busy(&diary, SECOND * 100, |_| done()), Policy::default());
        let mut world = World::new(vec![long]);
        world.tune = Box::new(move |pool| {
            let options = WindowOptions { kept_free: kept, ..WindowOptions::new(8) };
            pool.window = Arc::new(Window::new(options));
        });
        world.send("jobs", r#"{"id":"small-0","type":"long","tenant":"small"}"#).await;
        for number in 0..40 {
            world.send("jobs", &format!(r#"{{"id":"flood-{number}","type":"long","tenant":"flood"}}"#)).await;
        }
        let engine = world.start();
        tokio::time::sleep(SECOND * 30).await;
        let running = world.shared.running.list().iter().filter(|job| job.id.starts_with("flood")).count();
        assert_eq!(running, most, "beside the one job of the other tenant, {kept:?} kept");
        engine.stop(Duration::ZERO).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_ends_a_job_that_waits_in_the_window() {
    let diary = Diary::default();
    let world = World::new(vec![ordered(busy(&diary, SECOND * 100, |_| done()))]);
    for number in 0..4 {
        send(&world, &format!("x-{number}"), "x").await;
    }
    let engine = world.start();
    tokio::time::sleep(SECOND).await;
    assert_eq!(world.shared.why("jobs", "x-1").map(|why| why.as_str()), Some("key_busy"));
    assert_eq!(world.shared.waiting("jobs"), 3);
    let by = |discard| Cancelled::Operator { by: "ann".into(), discard };
    assert!(world.shared.cancel("jobs", "x-1", &by(false)) && world.shared.cancel("jobs", "x-2", &by(true)));
    assert!(!world.shared.cancel("jobs", "x-9", &by(true)));
    world.holds("results", 3).await; // one aborted, two completed
    assert_eq!(world.failures()[0]["message"], "cancelled by ann");
    assert_eq!(diary.ids(), ["x-0", "x-3"]);
    world.holds("jobs", 0).await;
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn new_routes_are_for_jobs_that_wait_and_running_ones_keep_theirs() {
    let (old, new) = (Diary::default(), Diary::default());
    let fail = busy(&old, SECOND * 10, |_| Failure::new(Class::Failed, "the old one fails").into());
    let last = Policy { attempts: 1, ..Policy::default() };
    let world = World { slots: 1, ..World::new(vec![route("t", fail, last.clone())]) };
    for number in 0..3 {
        send(&world, &format!("x-{number}"), "x").await;
    }
    let (engine, pool) = world.start_pool();
    tokio::time::sleep(SECOND).await;
    pool.reload(routes(vec![route("t", busy(&new, SECOND, |_| done()), last)]));
    world.holds("results", 3).await;
    assert_eq!((old.ids(), new.ids()), (vec!["x-0".to_owned()], vec!["x-1".to_owned(), "x-2".to_owned()]));
    assert_eq!(world.failures()[0]["message"], "the old one fails");
    engine.stop(Duration::ZERO).await;
}
