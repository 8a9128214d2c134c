//! What every kind of executor promises.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use windlass::outcome::{Class, Interruption, Outcome, Output};

use crate::kinds::{Kind, LONG, begin, context, failure_of, json_of, run, run_in, until};

pub async fn json_goes_in_and_comes_out_as_it_was(kind: Kind) {
    let executor = kind.start(json!({}));
    for value in [json!({"a": [1, 2.5, null, true], "ü": "\"quoted\"\n"}), json!(42), json!([]), json!("text")] {
        assert_eq!(json_of(run(&executor, json!({"do": "echo", "value": value})).await), value);
    }
}

pub async fn bytes_come_out_as_they_were(kind: Kind) {
    let executor = kind.start(json!({}));
    let outcome = run(&executor, json!({"do": "bytes", "value": [255, 0, 10, 200]})).await;
    assert!(matches!(&outcome, Outcome::Done(Output::Binary(bytes)) if bytes[..] == [255, 0, 10, 200]), "{outcome:?}");
}

pub async fn a_payload_of_a_mebibyte_passes_both_ways(kind: Kind) {
    let executor = kind.start(json!({"output": "2MiB"}));
    let large = "x".repeat(1 << 20);
    assert_eq!(json_of(run(&executor, json!({"do": "echo", "value": large})).await), large);
}

pub async fn a_failure_keeps_its_class_and_its_message(kind: Kind) {
    let executor = kind.start(json!({}));
    for class in [Class::Timeout, Class::Throttled, Class::Unavailable, Class::Failed, Class::Rejected, Class::Misconfigured] {
        let deed = json!({"do": "fail", "value": {"failure_class": class, "message": "the words of the plugin"}});
        let failure = failure_of(run(&executor, deed).await);
        assert_eq!(failure.class, class);
        assert!(failure.message.contains("the words of the plugin"), "{}", failure.message);
        assert_eq!(failure.retry_after, None);
    }
}

pub async fn the_wish_when_to_retry_is_kept(kind: Kind) {
    let executor = kind.start(json!({}));
    let deed = json!({"do": "fail", "value": {"failure_class": "throttled", "message": "slow down", "after_ms": 1500}});
    let failure = failure_of(run(&executor, deed).await);
    assert_eq!(failure.class, Class::Throttled);
    assert_eq!(failure.retry_after, Some(Duration::from_millis(1500)));
    assert!(failure.message.contains("slow down"));
}

pub async fn a_cancelled_job_is_interrupted(kind: Kind) {
    let executor = kind.start(json!({}));
    let context = Arc::new(context(LONG));
    let running = begin(&executor, json!({"do": "sleep"}), &context);
    until("the job runs", async || kind.sleeps(&context)).await;
    context.cancel.cancel();
    assert!(matches!(running.await.unwrap(), Outcome::Interrupted(Interruption::Stopping)));
    assert_eq!(json_of(run(&executor, json!({"do": "echo", "value": 1})).await), 1);
}

pub async fn an_output_over_the_limit_is_rejected_and_the_next_job_runs(kind: Kind) {
    let executor = kind.start(json!({"output": "64KiB"}));
    let failure = failure_of(run(&executor, json!({"do": "text", "value": 300_000})).await);
    assert_eq!(failure.class, Class::Rejected);
    assert!(failure.message.contains("64KiB"), "{}", failure.message);
    assert_eq!(json_of(run(&executor, json!({"do": "text", "value": 3})).await), "xxx");
}

pub async fn a_deadline_that_passes_in_the_queue_expires_the_job(kind: Kind) {
    let executor = kind.start(kind.places(1));
    let first = Arc::new(context(LONG));
    let running = begin(&executor, json!({"do": "sleep"}), &first);
    until("the first job runs", async || kind.sleeps(&first)).await;
    let mut second = context(LONG);
    second.time_left = Some(tokio::time::Instant::now() + Duration::from_millis(50));
    let failure = failure_of(run_in(&executor, json!({"do": "echo"}), &second).await);
    assert_eq!(failure.class, Class::Expired);
    running.abort();
}

pub async fn stop_waits_for_running_jobs_and_then_interrupts_them(kind: Kind) {
    let executor = kind.start(kind.places(2));
    let (endless, short) = (Arc::new(context(LONG)), Arc::new(context(LONG)));
    let sleeping = begin(&executor, json!({"do": "sleep"}), &endless);
    until("the endless job runs", async || kind.sleeps(&endless)).await;
    let echo = begin(&executor, json!({"do": "echo", "value": 5}), &short);
    assert_eq!(json_of(echo.await.unwrap()), 5);
    executor.stop(Duration::from_millis(50)).await;
    assert!(matches!(sleeping.await.unwrap(), Outcome::Interrupted(Interruption::Stopping)));
    let after = run(&executor, json!({"do": "echo"})).await;
    assert!(matches!(after, Outcome::Interrupted(Interruption::Stopping)), "{after:?}");
}

pub async fn no_more_jobs_run_than_there_are_places(kind: Kind) {
    let executor = kind.start(kind.places(2));
    let contexts: Vec<_> = (0..3).map(|_| Arc::new(context(LONG))).collect();
    let runs: Vec<_> = contexts.iter().map(|context| begin(&executor, json!({"do": "sleep"}), context)).collect();
    let sleeping = || contexts.iter().filter(|context| kind.sleeps(context)).count();
    until("two jobs run", async || sleeping() == 2).await;
    let waiting = contexts.iter().position(|context| !kind.sleeps(context)).unwrap();
    contexts[(waiting + 1) % 3].cancel.cancel();
    until("the third job takes the free place", async || sleeping() == 3).await;
    for run in runs {
        run.abort();
    }
}
