//! A job that was done is followed by another one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use windlass::engine::exit::Exit;
use windlass::engine::then::Then;
use windlass::expression::{Expression, Scope};
use windlass::outcome::{Class, Failure, Outcome, Output};
use windlass::ports::Queue as _;
use windlass::retry::Policy;

use crate::support::{executor, plain_route, telemetry};
use crate::world::World;

/// `first` returns its data and one key more, and is followed by `second`, whose result is its data.
fn world(key: Option<&str>, queue: Option<&str>) -> World {
    let run = executor(|job, _| {
        let mut data: serde_json::Value = serde_json::from_slice(job.data.bytes()).unwrap();
        data["by"] = (&*job.kind).into();
        let failed = data["fail"] == *job.kind;
        let output = Output::Json(serde_json::to_vec(&data).unwrap().into());
        async move { if failed { Failure::new(Class::Rejected, "no").into() } else { Outcome::Done(output) } }.boxed()
    });
    let mut world = World::new(Vec::new());
    let mut first = plain_route("first", run.clone(), Policy::default());
    let exit = queue.map(|queue| Arc::new(Exit::new(world.queue(queue).sink(), telemetry().pool("p").exit(queue))));
    let key = key.map(|key| Expression::compile(key, Scope::Result).unwrap());
    first.then = Some(Then { kind: "second".into(), exit, key });
    world.routes = vec![Arc::new(first), Arc::new(plain_route("second", run, Policy::default()))];
    world
}

#[tokio::test(start_paused = true)]
async fn the_next_job_gets_the_result_in_the_same_queue() {
    let world = world(None, None);
    let engine = world.start();
    world.send("jobs", r#"{"id":"a","type":"first","tenant":"acme","data":{"n":1}}"#).await;
    world.holds("results", 2).await;
    world.holds("jobs", 0).await;
    engine.stop(Duration::ZERO).await;
    let events = world.bodies("results");
    let second = events.iter().find(|event| event["subject"] == "a:then").unwrap();
    assert_eq!((&second["jobtype"], &second["tenant"]), (&"second".into(), &"acme".into()));
    assert_eq!(second["data"], serde_json::json!({"n": 1, "by": "second"}));
    let traces: Vec<&str> = events.iter().map(|event| event["traceparent"].as_str().unwrap()).collect();
    assert_eq!(traces[0], traces[1]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_not_done_has_no_next_one() {
    let world = world(None, None);
    let engine = world.start();
    world.send("jobs", r#"{"id":"a","type":"first","data":{"fail":"first"}}"#).await;
    world.holds("jobs.dead", 1).await;
    world.holds("jobs", 0).await;
    engine.stop(Duration::ZERO).await;
    assert_eq!(world.bodies("results").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_next_job_goes_to_the_queue_and_under_the_key_that_are_named() {
    let world = world(Some("job.id + '/' + result.by"), Some("other"));
    let engine = world.start();
    world.send("jobs", r#"{"id":"a","type":"first","key":"k","data":{}}"#).await;
    world.holds("other", 1).await;
    world.holds("jobs", 0).await;
    engine.stop(Duration::ZERO).await;
    let next = &world.bodies("other")[0];
    assert_eq!((&next["id"], &next["type"], &next["key"]), (&"a:then".into(), &"second".into(), &"a/first".into()));
}

#[tokio::test(start_paused = true)]
async fn a_done_job_whose_next_one_cannot_be_is_a_dead_letter_that_says_so() {
    let world = world(Some("result.customer"), None);
    let engine = world.start();
    world.send("jobs", r#"{"id":"a","type":"first","data":{}}"#).await;
    world.holds("jobs.dead", 1).await;
    world.holds("jobs", 0).await;
    engine.stop(Duration::ZERO).await;
    let failure = world.failures().remove(0);
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains("the job was done, but then: result.customer has no answer"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn the_job_is_acknowledged_only_once_the_next_one_is_confirmed() {
    let world = world(None, Some("full"));
    // a full queue refuses for now
    let full = windlass::queues::memory::Memory::new(world.shared.clock, 0);
    let exit = Arc::new(Exit::new(full.queue("full").sink(), telemetry().pool("p").exit("full")));
    let mut world = world;
    let run = executor(|_, _| async { crate::support::done() }.boxed());
    let mut first = plain_route("first", run, Policy::default());
    first.then = Some(Then { kind: "second".into(), exit: Some(exit), key: None });
    world.routes = vec![Arc::new(first)];
    let engine = world.start();
    world.send("jobs", r#"{"id":"a","type":"first","data":{}}"#).await;
    world.holds("results", 1).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.queue("jobs").len(), 1);
    engine.stop(Duration::ZERO).await;
}
