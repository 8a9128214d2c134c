//! Jobs of batches through the engine: each is counted once, however it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use windlass::batches::{Batches, Standing};
use windlass::engine::screen::Screen;
use windlass::engine::then::Then;
use windlass::expression::{Expression, Scope};
use windlass::outcome::{Class, Failure};
use windlass::ports::Queue as _;
use windlass::retry::Policy;
use windlass::state::memory::MemoryState;

use crate::support::{done, executor, plain_route, telemetry};
use crate::world::World;

/// Jobs of type `t`: `flaky` fails twice, `bad` for ever, `slow` takes a minute. Those of type `first` are followed by a `t`.
fn world() -> (World, Arc<Batches>) {
    let flaky = Arc::new(AtomicUsize::new(0));
    let run = executor(move |job, _| {
        let fails = match job.id.split(':').next() {
            Some("bad") => true,
            Some("flaky") => flaky.fetch_add(1, Ordering::SeqCst) < 2,
            _ => false,
        };
        let slow = ["slow", "slowly:then"].contains(&&*job.id);
        async move {
            if slow {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            if fails { Failure::new(Class::Failed, "no").into() } else { done() }
        }
        .boxed()
    });
    let mut world = World::new(Vec::new());
    let batches =
        Arc::new(Batches::new(Arc::new(MemoryState::new(world.shared.clock)), world.shared.clock, telemetry().batches()));
    Arc::get_mut(&mut world.shared).unwrap().batches = Some(batches.clone());
    let mut first = plain_route("first", run.clone(), Policy::default());
    first.then = Some(Then { kind: "t".into(), exit: None, key: None });
    world.routes = vec![Arc::new(plain_route("t", run, Policy::default())), Arc::new(first)];
    world.tune = Box::new(|pool| {
        let wanted = Some(Expression::compile("job.tenant != 'test'", Scope::Job).unwrap());
        Arc::get_mut(&mut pool.feeds[0]).unwrap().screen = Screen { wanted, max_age: None };
    });
    let exits = [("default".into(), world.queue("results").sink())].into();
    tokio::spawn(batches.clone().announce(exits, CancellationToken::new()));
    (world, batches)
}

async fn send(world: &World, id: &str, kind: &str, more: &str) {
    world.send("jobs", &format!(r#"{{"id":"{id}","type":"{kind}","batch":{{"id":"b","size":5}}{more}}}"#)).await;
}

async fn standing_so_far(batches: &Batches) -> Option<Standing> {
    batches.show("b", 0).await.unwrap().map(|batch| batch.standing)
}

async fn standing(batches: &Batches) -> Standing {
    standing_so_far(batches).await.unwrap()
}

fn events(world: &World, kind: &str) -> usize {
    world.bodies("results").iter().filter(|event| event["type"] == format!("windlass.batch.{kind}")).count()
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_complete_once_every_job_of_it_has_ended_in_its_way() {
    let (world, batches) = world();
    let engine = world.start();
    send(&world, "good", "t", "").await;
    send(&world, "flaky", "t", "").await;
    send(&world, "chain", "first", "").await;
    send(&world, "unwanted", "t", r#","tenant":"test""#).await;
    world.holds("jobs", 0).await;
    assert_eq!((standing(&batches).await.completed, events(&world, "completed")), (None, 0));
    send(&world, "bad", "t", "").await;
    world.holds("jobs.dead", 1).await;
    world.holds("jobs", 0).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    engine.stop(Duration::ZERO).await;
    let standing = standing(&batches).await;
    assert_eq!((standing.done, standing.dead, standing.discarded), (3, 1, 1));
    assert!(standing.completed.is_some());
    assert_eq!((events(&world, "opened"), events(&world, "completed")), (1, 1));
    assert!(events(&world, "progress") >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_not_complete_while_a_chain_of_it_goes_on() {
    let (world, batches) = world();
    let engine = world.start();
    for id in ["a", "b", "c", "d"] {
        send(&world, id, "t", "").await;
    }
    send(&world, "slowly", "first", "").await;
    while standing_so_far(&batches).await.is_none_or(|standing| standing.done < 4) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(standing(&batches).await.completed, None);
    world.holds("jobs", 0).await;
    engine.stop(Duration::ZERO).await;
    let standing = standing(&batches).await;
    assert_eq!((standing.done, standing.completed.is_some()), (5, true));
}

#[tokio::test(start_paused = true)]
async fn a_redelivered_job_and_one_that_dies_in_its_chain_count_once() {
    let (world, batches) = world();
    let engine = world.start();
    send(&world, "bad", "first", "").await;
    for _ in 0..3 {
        send(&world, "good", "t", "").await;
        world.holds("jobs", 0).await;
    }
    world.holds("jobs.dead", 1).await;
    let one = standing(&batches).await;
    assert_eq!((one.done, one.dead, one.discarded), (1, 1, 0));
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn the_jobs_of_a_cancelled_batch_are_discarded_in_their_turn_and_what_runs_goes_on() {
    let (mut world, batches) = world();
    world.slots = 1;
    let engine = world.start();
    send(&world, "slow", "t", "").await;
    while batches.show("b", 0).await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for id in ["x", "y", "z"] {
        send(&world, id, "t", "").await;
    }
    send(&world, "bad", "t", r#","delay":"10m""#).await;
    batches.cancel("b", "ann").await.unwrap();
    world.holds("jobs", 0).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    engine.stop(Duration::ZERO).await;
    let standing = standing(&batches).await;
    assert_eq!((standing.done, standing.dead, standing.discarded), (1, 0, 4));
    assert_eq!((standing.cancelled.as_deref(), events(&world, "completed")), (Some("ann"), 1));
    let metrics = world.bodies("results");
    assert_eq!(metrics.iter().filter(|event| event["type"] == "windlass.job.completed").count(), 1);
}
