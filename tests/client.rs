//! The Rust client against the API of a real store, and against servers that fail as networks and brokers do.

#[path = "client/failing.rs"]
mod failing;
#[path = "client/serving.rs"]
mod serving;

use std::time::Duration;

use serde_json::json;
use serving::Served;
use windlass::batches::JobEnd;
use windlass::outcome::Class;
use windlass_client::{Client, Error, NewJob, State};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_job_is_submitted_and_its_result_awaited() {
    let served = Served::start(None).await;
    served.work(|job| Ok(json!({ "twice": job["data"].as_i64().unwrap_or_default() * 2 })));
    let ended = served.client().submit_and_wait(&NewJob::new("double").json(json!(21)), MINUTE).await.unwrap();
    assert_eq!((ended.state, ended.output), (State::Completed, Some(json!({ "twice": 42 }))));
}

#[tokio::test]
async fn a_job_that_dies_brings_its_reason() {
    let served = Served::start(None).await;
    served.work(|_| Err(Class::Rejected));
    let ended = served.client().submit_and_wait(&NewJob::new("x").id("a"), MINUTE).await.unwrap();
    assert_eq!(ended.state, State::Dead);
    assert_eq!(ended.failure.unwrap().reason, "rejected");
}

#[tokio::test]
async fn submitting_the_same_job_again_adds_nothing() {
    let served = Served::start(None).await;
    let (client, job) = (served.client(), NewJob::new("x"));
    assert!(!client.submit(&job).await.unwrap().existing);
    assert!(client.submit(&job).await.unwrap().existing);
    assert_eq!(client.job(job.known_as()).await.unwrap().state, State::Waiting);
}

#[tokio::test]
async fn every_part_of_a_job_is_understood_by_the_worker() {
    let served = Served::start(None).await;
    let job = NewJob::new("x").id("a/b ?").bytes(&[0xff]).version("2").key("k").tenant("t").priority(9).batch("b", Some(3));
    let job = job.not_before("2100-01-01T00:00:00Z").deadline(MINUTE);
    served.client().submit(&job).await.unwrap();
    let seen = served.client().job("a/b ?").await.unwrap();
    assert_eq!((seen.id.as_str(), seen.queue.as_str(), seen.state), ("a/b ?", "jobs", State::Delayed));
}

#[tokio::test]
async fn many_are_taken_together_or_not_at_all_and_the_bad_one_is_named() {
    let served = Served::start(None).await;
    let client = served.client();
    let jobs = [NewJob::new("x").id("a"), NewJob::new("x").id("b").priority(12)];
    match client.submit_many(&jobs).await.unwrap_err() {
        Error::Refused { status: 400, message, index: Some(1) } => assert!(message.starts_with("priority:"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(client.job("a").await, Err(Error::NotFound(_))));
    assert_eq!(client.submit_many(&jobs[..1]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_batch_is_followed_and_cancelled() {
    let served = Served::start(None).await;
    let client = served.client().queue("jobs");
    assert!(matches!(client.batch("b/1").await, Err(Error::NotFound(_))));
    let batch = windlass::job::Batch { id: "b/1".into(), size: Some(2), member: None };
    served.batches.count(&batch, &"default".into(), &"x".into(), JobEnd::Dead).await.unwrap();
    client.cancel_batch("b/1", "ann").await.unwrap();
    let seen = client.batch("b/1").await.unwrap();
    assert_eq!((seen.size, seen.done, seen.dead, seen.cancelled.as_deref()), (Some(2), 0, 1, Some("ann")));
    assert_eq!((seen.dead_jobs, seen.completed), (vec!["x".to_owned()], None));
    served.batches.count(&batch, &"default".into(), &"y".into(), JobEnd::Done).await.unwrap();
    assert!(client.batch("b/1").await.unwrap().completed.is_some());
    assert!(matches!(client.cancel_batch("b/1", "ann").await, Err(Error::Refused { status: 409, .. })));
}

#[tokio::test]
async fn the_token_opens_the_door_and_nothing_else_does() {
    let served = Served::start(Some("s3cret")).await;
    served.client().token("s3cret").submit(&NewJob::new("x")).await.unwrap();
    for client in [served.client(), served.client().token("secret")] {
        assert!(matches!(client.submit(&NewJob::new("x")).await, Err(Error::Refused { status: 401, .. })));
    }
}

#[tokio::test]
async fn a_wait_that_is_over_says_where_the_job_stands() {
    let served = Served::start(None).await;
    let client = served.client();
    let submitted = client.submit(&NewJob::new("x")).await.unwrap();
    let error = client.wait(&submitted.id, Duration::from_millis(1)).await.unwrap_err();
    assert!(matches!(error, Error::NotEnded { state: State::Waiting, .. }), "{error:?}");
    assert!(matches!(client.wait("nope", MINUTE).await, Err(Error::NotFound(_))));
}

#[test]
fn an_address_that_cannot_be_used_is_refused_at_once() {
    for address in ["nonsense", "ftp://localhost", "localhost:7780"] {
        assert!(matches!(Client::new(address), Err(Error::Invalid(_))), "{address}");
    }
}
