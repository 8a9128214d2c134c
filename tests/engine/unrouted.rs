//! Jobs whose route or executor is not there: they lie beside the queue and are matched again.

use std::sync::Arc;
use std::time::Duration;

use windlass::clock::between;
use windlass::job::Message;
use windlass::outcome::Class;
use windlass::ports::{Outgoing, Queue as _};
use windlass::retry::Policy;

use crate::outages::{HOUR, Target, hold, send, world};
use crate::support::{pool, route, routes};
use crate::world::World;

#[tokio::test(start_paused = true)]
async fn jobs_without_a_route_lie_beside_the_queue_until_a_reload_brings_it() {
    let target = Target::default();
    let world = World::new(Vec::new());
    let running = Arc::new(pool(&world.shared, &world.from, 8, Vec::new()));
    let engine = windlass::engine::Engine::start(world.shared.clone(), std::slice::from_ref(&running));
    for kind in ["t", "u"] {
        for id in 0..50 {
            world.send("jobs", &format!(r#"{{"id":"{kind}{id:02}","type":"{kind}"}}"#)).await;
        }
    }
    world.holds("jobs.parked.no-route", 100).await;
    running.reload(routes(vec![route("t", target.executor(Class::Failed), Policy::default())]));
    world.holds("jobs.parked.no-route", 50).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(target.passed().len(), 50);
    assert_eq!(world.queue("jobs.parked.no-route").len(), 50);
    world.holds("jobs.dead", 50).await;
    assert!(world.failures().iter().all(|failure| failure["reason"] == "no_route"));
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn jobs_of_an_executor_that_is_gone_are_matched_again() {
    let target = Target::default();
    let world = world(&target, Class::Failed);
    let parked = world.queue("jobs").parked("gone");
    let until = windlass::clock::after(world.shared.clock.now(), 24 * HOUR);
    let message = Message::of(r#"{"id":"a","type":"t"}"#);
    parked.sink().send(Outgoing { message, due: Some(until), ..Outgoing::default() }).await.unwrap();
    let engine = world.start();
    world.holds("results", 1).await;
    assert!(between(world.shared.clock.now(), until) > 23 * HOUR);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn jobs_whose_route_comes_with_a_shut_executor_move_to_its_place_once() {
    let target = Target::default();
    let world = world(&target, Class::Failed);
    hold(&world);
    let running = Arc::new(pool(&world.shared, &world.from, 8, Vec::new()));
    let engine = windlass::engine::Engine::start(world.shared.clone(), std::slice::from_ref(&running));
    send(&world, 0..20).await;
    world.holds("jobs.parked.no-route", 20).await;
    running.reload(routes(world.routes.clone()));
    world.holds("jobs.parked.t", 20).await;
    world.holds("jobs.parked.no-route", 0).await;
    world.shared.guards.get("t").unwrap().close("ann");
    world.holds("jobs.parked.t", 0).await;
    world.holds("jobs", 0).await;
    assert_eq!((target.passed().len(), target.calls()), (20, 20));
    engine.stop(Duration::ZERO).await;
}
