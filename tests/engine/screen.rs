//! What a source asks of its jobs, before they are routed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use windlass::engine::screen::Screen;
use windlass::expression::{Expression, Scope};
use windlass::retry::Policy;
use windlass::telemetry::Telemetry;

use crate::support::{done, executor, route, telemetry};
use crate::world::World;

fn world(wanted: Option<&'static str>, max_age: Option<Duration>) -> (World, Telemetry) {
    let run = executor(|_, _| async { done() }.boxed());
    let mut world = World::new(vec![route("t", run, Policy::default())]);
    let telemetry = telemetry();
    let ours = telemetry.clone();
    world.tune = Box::new(move |pool| {
        let wanted = wanted.map(|wanted| Expression::compile(wanted, Scope::Job).unwrap());
        Arc::get_mut(&mut pool.feeds[0]).unwrap().screen = Screen { wanted, max_age };
        pool.metrics = ours.pool("default");
    });
    (world, telemetry)
}

#[tokio::test(start_paused = true)]
async fn a_job_that_its_source_does_not_want_is_discarded_and_the_others_run() {
    let (world, telemetry) = world(Some("job.tenant != 'test' && data.at('/size') < 10"), None);
    let engine = world.start();
    for (id, tenant, size) in [("a", "test", 1), ("b", "acme", 10), ("c", "acme", 9)] {
        let job = format!(r#"{{"id":"{id}","type":"t","tenant":"{tenant}","data":{{"size":{size}}}}}"#);
        world.send("jobs", &job).await;
    }
    world.holds("jobs", 0).await;
    engine.stop(Duration::ZERO).await;
    let results = world.bodies("results");
    assert_eq!(results.iter().map(|event| event["subject"].as_str().unwrap()).collect::<Vec<_>>(), ["c"]);
    assert_eq!(world.failures(), [serde_json::Value::Null; 0]);
    let metrics = telemetry.render();
    assert!(metrics.contains("windlass_discarded_total{pool=\"default\",by=\"where\"} 2"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_job_about_which_the_expression_has_no_answer_is_kept_as_a_dead_letter() {
    let (world, _) = world(Some("data.size < 10"), None);
    let engine = world.start();
    let body = r#"{"id":"a","type":"t","data":{}}"#;
    world.send("jobs", body).await;
    world.holds("jobs.dead", 1).await;
    engine.stop(Duration::ZERO).await;
    assert_eq!(world.queue("jobs.dead").messages()[0].body, body);
    let failure = world.failures().remove(0);
    assert_eq!((&failure["reason"], &failure["attempts"]), (&"rejected".into(), &0.into()));
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains("where: data.size < 10") && message.contains("no key \"size\""), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_job_older_than_its_source_takes_is_a_dead_letter() {
    let (world, _) = world(None, Some(Duration::from_secs(60)));
    world.send("jobs", r#"{"id":"old","type":"t"}"#).await;
    // what asked to wait is as old as it is overdue
    let later = world.shared.clock.now() + jiff::Span::new().seconds(100);
    world.send("jobs", &format!(r#"{{"id":"later","type":"t","not_before":"{later}"}}"#)).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    world.send("jobs", r#"{"id":"young","type":"t"}"#).await;
    let engine = world.start();
    world.holds("jobs", 0).await;
    engine.stop(Duration::ZERO).await;
    let failure = world.failures().remove(0);
    assert_eq!((&failure["id"], &failure["reason"]), (&"old".into(), &"expired".into()));
    assert!(failure["message"].as_str().unwrap().contains("at most 1m"), "{failure}");
    assert_eq!(world.bodies("results").iter().filter(|event| event["type"] == "windlass.job.completed").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_replayed_job_is_not_too_old() {
    let (world, _) = world(None, Some(Duration::from_secs(60)));
    let mut message = windlass::job::Message::of(r#"{"id":"old","type":"t"}"#);
    message.set_header("windlass-job", r#"{"v":1,"replay":1,"first_seen":"2020-01-01T00:00:00Z"}"#);
    world.send_message("jobs", message).await;
    let engine = world.start();
    world.holds("jobs", 0).await;
    engine.stop(Duration::ZERO).await;
    assert_eq!(world.bodies("results")[0]["type"], "windlass.job.completed");
}

#[tokio::test(start_paused = true)]
async fn a_delay_counts_from_the_first_publishing_however_late_the_job_was_looked_at() {
    let (mut world, _) = world(None, None);
    let slow = executor(|_, _| {
        async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            done()
        }
        .boxed()
    });
    (world.slots, world.routes) = (1, vec![world.routes[0].clone(), route("slow", slow, Policy::default())]);
    let engine = world.start();
    let before = world.shared.clock.now();
    world.send("jobs", r#"{"id":"slow","type":"slow"}"#).await;
    world.send("jobs", r#"{"id":"late","type":"t","delay":"10m"}"#).await;
    world.holds("jobs", 0).await;
    let waited = windlass::clock::between(before, world.shared.clock.now());
    assert!(waited >= Duration::from_secs(600) && waited < Duration::from_secs(900), "{waited:?}");
    assert_eq!(world.bodies("results").len(), 2);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_grows_too_old_while_it_waits_for_its_turn_is_not_run() {
    let (mut world, _) = world(None, Some(Duration::from_secs(30)));
    let slow = executor(|_, _| {
        async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            done()
        }
        .boxed()
    });
    (world.slots, world.routes) = (1, vec![world.routes[0].clone(), route("slow", slow, Policy::default())]);
    let engine = world.start();
    world.send("jobs", r#"{"id":"slow","type":"slow"}"#).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.send("jobs", r#"{"id":"late","type":"t"}"#).await;
    world.holds("jobs", 0).await;
    engine.stop(Duration::ZERO).await;
    let failure = world.failures().remove(0);
    assert_eq!((&failure["id"], &failure["reason"], &failure["attempts"]), (&"late".into(), &"expired".into(), &0.into()));
}
