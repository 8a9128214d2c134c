//! What is parked goes first, until nothing is left of it.

use std::time::Duration;

use futures_util::FutureExt as _;
use windlass::clock::after;
use windlass::engine::breaker::Phase;
use windlass::job::Message;
use windlass::outcome::Class;
use windlass::ports::{Outgoing, Queue as _};
use windlass::retry::Policy;

use crate::outages::{HOUR, Target, guarded, hold, send, world};
use crate::support::executor;
use crate::world::World;

/// Puts jobs into the place of `t`, as a worker of before has left them.
async fn park(world: &World, ids: std::ops::Range<usize>) {
    let parked = world.queue("jobs").parked("t");
    let until = after(world.shared.clock.now(), 24 * HOUR);
    for id in ids {
        let message = Message::of(format!(r#"{{"id":"{id:05}","type":"t"}}"#));
        parked.sink().send(Outgoing { message, due: Some(until), ..Outgoing::default() }).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn newer_jobs_follow_until_the_place_is_drained_however_long_it_is_quiet() {
    let target = Target::default();
    let slow = executor({
        let target = target.executor(Class::Failed);
        move |job, context| {
            let target = target.clone();
            async move {
                // far longer than any silence that could be taken for the end
                tokio::time::sleep(Duration::from_secs(60)).await;
                target.execute(job, context).await
            }
            .boxed()
        }
    });
    let mut world = World::new(Vec::new());
    world.slots = 2;
    world.routes = vec![guarded(&world, "t", slow, Policy::default())];
    world.tune = Box::new(|pool| {
        // so few are taken at a time that most of them lie in the place for long
        let mut options = windlass::engine::window::WindowOptions::new(2);
        options.jobs = 4;
        pool.window = std::sync::Arc::new(windlass::engine::window::Window::new(options));
    });
    park(&world, 0..40).await;
    send(&world, 40..60).await;
    let engine = world.start();
    world.holds("results", 60).await;
    let numbers: Vec<usize> = target.passed().iter().map(|id| id.parse().unwrap()).collect();
    let first_newer = numbers.iter().position(|id| *id >= 40).unwrap();
    // what was taken of the place runs beside the first newer ones: two slots and a window of four
    assert!(first_newer >= 40 - 6, "{numbers:?}");
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_emptied_from_outside_holds_up_nobody() {
    let target = Target::default();
    target.is(true);
    let world = world(&target, Class::Unavailable);
    let engine = world.start();
    send(&world, 0..10).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let parked = world.queue("jobs.parked.t");
    let emptied = parked.len();
    assert!(emptied > 0, "nothing was parked");
    let mut source = parked.source(std::sync::Arc::new(|_| unreachable!())).await.unwrap();
    let room = windlass::ports::Room { jobs: 100, bytes: 1 << 20, lease: HOUR };
    let taken = source.next(room).await.unwrap();
    for delivery in taken {
        let ending = windlass::ports::Ending { end: windlass::ports::End::Completed, event: None, at: world.shared.clock.now() };
        assert!(delivery.receipt.ack(ending).await.is_ok());
    }
    target.is(false);
    world.holds("results", 10 - emptied).await;
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_holds_a_breaker_open_and_closes_it() {
    let target = Target::default();
    let world = world(&target, Class::Unavailable);
    hold(&world);
    let engine = world.start();
    send(&world, 0..10).await;
    tokio::time::sleep(HOUR).await;
    let guard = world.shared.guards.get("t").unwrap();
    assert_eq!((target.calls(), guard.report().held_by.as_deref()), (0, Some("ann")));
    guard.close("ann");
    world.holds("results", 10).await;
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_what_was_parked_comes_few_at_first_and_a_dead_target_is_found_by_a_handful() {
    let target = Target::default();
    target.is(true);
    let mut world = World::new(Vec::new());
    world.slots = 64;
    world.routes = vec![guarded(&world, "t", target.executor(Class::Unavailable), Policy::default())];
    park(&world, 0..500).await;
    let engine = world.start();
    let guard = world.shared.guards.get("t").unwrap();
    let mut news = guard.news();
    while guard.report().state == Some(Phase::Closed) {
        news.changed().await.unwrap();
    }
    assert!(target.most() <= 2, "{} at once", target.most());
    assert!(target.calls() <= 6, "{} calls", target.calls());
    target.is(false);
    world.holds("results", 500).await;
    assert!(world.bodies("results").iter().all(|event| event["attempt"] == 1));
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_because_few_run_after_an_outage_say_that_it_is_the_breaker() {
    let long = executor(|_, _| {
        async {
            tokio::time::sleep(HOUR).await;
            windlass::outcome::Outcome::Done(windlass::outcome::Output::Json("1".into()))
        }
        .boxed()
    });
    let mut world = World::new(Vec::new());
    world.routes = vec![guarded(&world, "t", long, Policy { timeout: HOUR * 2, ..Policy::default() })];
    hold(&world);
    let engine = world.start();
    world.shared.guards.get("t").unwrap().close("ann");
    send(&world, 0..3).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.shared.running.len(), 2);
    assert_eq!(world.shared.why("jobs", "00002").map(|why| why.as_str()), Some("breaker_open"));
    world.holds("results", 3).await;
    engine.stop(Duration::ZERO).await;
}
