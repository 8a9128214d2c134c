//! Deadlines of jobs that were never taken, because all routes of their queue are shut.

use std::time::Duration;

use windlass::clock::after;
use windlass::engine::screen::Screen;
use windlass::outcome::Class;

use crate::outages::{HOUR, Target, hold, world};
use crate::world::World;

const MINUTE: Duration = Duration::from_secs(60);

/// Ids of the dead letters, all of which must be expired.
fn expired(world: &World) -> usize {
    let failures = world.failures();
    assert!(failures.iter().all(|failure| failure["reason"] == "expired"), "{failures:?}");
    failures.len()
}

async fn send(world: &World, name: &str, count: usize, more: &str) {
    for number in 0..count {
        world.send("jobs", &format!(r#"{{"id":"{name}-{number}","type":"t"{more}}}"#)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_that_were_never_taken_expire_while_every_route_is_shut() {
    for by_operator in [true, false] {
        let target = Target::default();
        let world = world(&target, Class::Unavailable);
        let guard = world.shared.guards.get("t").unwrap();
        target.is(true);
        if by_operator {
            hold(&world);
        }
        let engine = world.start();
        let deadline = after(world.shared.clock.now(), HOUR);
        send(&world, "over", 500, &format!(r#","deadline":"{deadline}""#)).await;
        // the memory queue takes back many at once in no order
        let last = if by_operator { 5 } else { 0 };
        send(&world, "open", last, "").await;
        send(&world, "behind", last, &format!(r#","deadline":"{deadline}""#)).await;
        tokio::time::sleep(HOUR - MINUTE).await;
        assert_eq!(expired(&world), 0);
        tokio::time::sleep(MINUTE * 4).await;
        assert_eq!(expired(&world), 500, "a job behind one that may wait for longer is not seen");
        let calls = target.calls();
        target.is(false);
        guard.close("ann");
        world.holds("jobs.dead", 500 + last).await;
        world.holds("results", 500 + 2 * last).await; // an event for each dead letter, too
        assert_eq!((expired(&world), target.calls() - calls), (500 + last, last), "what has expired is not run");
        engine.stop(Duration::ZERO).await;
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_older_than_max_age_expire_while_every_route_is_shut() {
    let target = Target::default();
    let mut world = world(&target, Class::Unavailable);
    world.tune = Box::new(|pool| {
        let feed = std::sync::Arc::get_mut(&mut pool.feeds[0]).unwrap();
        feed.screen = Screen { wanted: None, max_age: Some(HOUR) };
    });
    hold(&world);
    let engine = world.start();
    send(&world, "old", 100, "").await;
    tokio::time::sleep(HOUR - MINUTE).await;
    assert_eq!(expired(&world), 0);
    tokio::time::sleep(MINUTE * 3).await;
    assert_eq!((expired(&world), target.calls()), (100, 0));
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn jobs_that_were_never_taken_outlast_an_outage_of_days_and_those_that_were_taken_do_not() {
    let target = Target::default();
    let world = world(&target, Class::Unavailable);
    target.is(true);
    let engine = world.start();
    send(&world, "old", 200, "").await;
    tokio::time::sleep(HOUR * 72).await;
    // every probe takes one more; `unavailable_for` is a day from there
    let (dead, waiting) = (world.failures(), world.queue("jobs").len() + world.queue("jobs.parked.t").len());
    assert!(!dead.is_empty() && dead.iter().all(|failure| failure["reason"] == "unavailable"), "{dead:?}");
    assert_eq!(dead.len() + waiting, 200);
    assert!(waiting > 100, "{} are dead, though nobody ever tried them", dead.len());
    target.is(false);
    world.holds("jobs.parked.t", 0).await;
    world.holds("jobs", 0).await;
    assert_eq!(target.passed().len(), waiting);
    engine.stop(Duration::ZERO).await;
}
