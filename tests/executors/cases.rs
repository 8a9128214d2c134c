//! What every kind of executor promises.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use windlass::outcome::{Class, Interruption, Outcome, Output};

use crate::kinds::{Kind, LONG, SHORT, begin, context, failure_of, fixtures, gone, json_of, logged, run, run_in, until};

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

pub async fn log_lines_belong_to_the_job(kind: Kind) {
    let executor = kind.start(json!({}));
    let (first, second) = (context(LONG), context(LONG));
    run_in(&executor, json!({"do": "log", "value": ["one", "two ü"]}), &first).await;
    run_in(&executor, json!({"do": "log", "value": ["three"]}), &second).await;
    assert_eq!(first.log_tail(), "one\ntwo ü\n");
    assert_eq!(second.log_tail(), "three\n");
}

pub async fn printing_harms_nothing(kind: Kind) {
    let executor = kind.start(json!({}));
    let context = context(LONG);
    let deed = json!({"do": "print", "value": 7, "stderr": !kind.stays()});
    assert_eq!(json_of(run_in(&executor, deed, &context).await), 7);
    if kind.stays() {
        // what is printed comes another way than the answer, and may come later
        run_in(&executor, json!({"do": "echo", "value": 8}), &context).await;
    }
    logged(&context, "printed 7").await;
}

pub async fn a_timeout_ends_the_whole_family(kind: Kind) {
    let executor = kind.start(json!({"stop_grace": "100ms"}));
    let context = context(SHORT);
    let failure = failure_of(run_in(&executor, json!({"do": "family"}), &context).await);
    assert_eq!(failure.class, Class::Timeout);
    assert!(failure.message.contains("700ms"), "{}", failure.message);
    for pid in logged(&context, "pids ").await.split(' ') {
        gone(pid).await;
    }
    assert_eq!(json_of(run(&executor, json!({"do": "echo", "value": 1})).await), 1);
}

pub async fn a_cancelled_job_is_interrupted_with_its_whole_family(kind: Kind) {
    let executor = kind.start(json!({"stop_grace": "100ms"}));
    let context = Arc::new(context(LONG));
    let running = begin(&executor, json!({"do": "family"}), &context);
    let pids = logged(&context, "pids ").await;
    context.cancel.cancel();
    assert!(matches!(running.await.unwrap(), Outcome::Interrupted(Interruption::Stopping)));
    for pid in pids.split(' ') {
        gone(pid).await;
    }
}

pub async fn a_dropped_run_is_ended_with_its_whole_family(kind: Kind) {
    let executor = kind.start(json!({}));
    let context = Arc::new(context(LONG));
    let running = begin(&executor, json!({"do": "family"}), &context);
    let pids = logged(&context, "pids ").await;
    running.abort();
    for pid in pids.split(' ') {
        gone(pid).await;
    }
}

pub async fn a_crash_names_its_signal(kind: Kind) {
    let executor = kind.start(json!({}));
    for (signal, named) in [("SIGSEGV", "signal 11 (SIGSEGV)"), ("SIGKILL", "signal 9 (SIGKILL)")] {
        let context = context(LONG);
        let failure = failure_of(run_in(&executor, json!({"do": "die", "value": signal}), &context).await);
        assert_eq!(failure.class, Class::Crashed);
        assert!(failure.message.contains(named), "{}", failure.message);
        assert!(!failure.message.contains("memory"), "nothing says so: {}", failure.message);
        assert!(!failure.shared_host);
        assert!(context.log_tail().contains("dying\n"), "{}", context.log_tail());
    }
}

pub async fn memory_over_the_limit_is_a_crash_that_says_so(kind: Kind) {
    let executor = kind.start(json!({"memory": "512MiB"}));
    let failure = failure_of(run(&executor, json!({"do": "allocate", "value": 1_u64 << 30})).await);
    assert_eq!(failure.class, Class::Crashed);
    assert!(failure.message.contains("512MiB"), "{}", failure.message);
    assert_eq!(json_of(run(&executor, json!({"do": "allocate", "value": 1 << 20})).await), 1 << 20);
}

pub async fn processor_time_over_the_limit_is_a_crash_that_says_so(kind: Kind) {
    let executor = kind.start(json!({"cpu": "1s"}));
    let failure = failure_of(run(&executor, json!({"do": "spin"})).await);
    assert_eq!(failure.class, Class::Crashed);
    assert!(failure.message.contains("SIGXCPU") && failure.message.contains("1s"), "{}", failure.message);
}

pub async fn a_daemon_does_not_outlive_what_started_it(kind: Kind) {
    outlives_nothing(kind, "daemon").await;
}

pub async fn a_background_process_does_not_outlive_what_started_it(kind: Kind) {
    outlives_nothing(kind, "background").await;
}

async fn outlives_nothing(kind: Kind, deed: &str) {
    let executor = kind.start(json!({}));
    let pids = json_of(run(&executor, json!({"do": deed})).await);
    if kind.stays() {
        executor.stop(Duration::from_secs(5)).await;
    }
    gone(&pids[0].to_string()).await;
}

pub async fn the_workers_environment_is_not_seen(kind: Kind) {
    let executor = kind.start(json!({"env_allow": ["CARGO_PKG_NAME"], "env": {"COLOR": "red"}}));
    let seen = json_of(run(&executor, json!({"do": "environment"})).await);
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "the case proves something only where there is more to see");
    assert_eq!(seen["CARGO_MANIFEST_DIR"], Value::Null);
    assert_eq!(seen["CARGO_PKG_NAME"], "windlass");
    assert_eq!(seen["COLOR"], "red");
    assert_eq!(seen["PATH"], std::env::var("PATH").unwrap());
    if kind == Kind::EachJob {
        assert_eq!(seen["WINDLASS_JOB_ID"], "job-1");
        assert_eq!(seen["WINDLASS_JOB_TYPE"], "suite.job");
        assert_eq!(seen["WINDLASS_KEY"], "k");
        assert_eq!(seen["WINDLASS_ATTEMPT"], "1");
    }
}

pub async fn it_runs_in_the_folder_of_the_config(kind: Kind) {
    let executor = kind.start(json!({}));
    let folder = json_of(run(&executor, json!({"do": "directory"})).await);
    assert_eq!(folder, fixtures().canonicalize().unwrap().to_str().unwrap());
}

pub async fn an_output_over_the_limit_is_rejected_and_the_next_job_runs(kind: Kind) {
    let executor = kind.start(json!({"output": "64KiB"}));
    let failure = failure_of(run(&executor, json!({"do": "text", "value": 300_000})).await);
    assert_eq!(failure.class, Class::Rejected);
    assert!(failure.message.contains("64KiB"), "{}", failure.message);
    assert_eq!(json_of(run(&executor, json!({"do": "text", "value": 3})).await), "xxx");
}

pub async fn a_deadline_that_passes_in_the_queue_expires_the_job(kind: Kind) {
    let executor = kind.start(json!({"workers": 1}));
    let first = Arc::new(context(LONG));
    let running = begin(&executor, json!({"do": "sleep"}), &first);
    logged(&first, "sleeping").await;
    let mut second = context(LONG);
    second.time_left = Some(tokio::time::Instant::now() + Duration::from_millis(50));
    let failure = failure_of(run_in(&executor, json!({"do": "echo"}), &second).await);
    assert_eq!(failure.class, Class::Expired);
    running.abort();
}

pub async fn stop_waits_for_running_jobs_and_then_interrupts_them(kind: Kind) {
    let executor = kind.start(json!({"workers": 2}));
    let (endless, short) = (Arc::new(context(LONG)), Arc::new(context(LONG)));
    let sleeping = begin(&executor, json!({"do": "sleep"}), &endless);
    logged(&endless, "sleeping").await;
    let echo = begin(&executor, json!({"do": "echo", "value": 5}), &short);
    assert_eq!(json_of(echo.await.unwrap()), 5);
    executor.stop(Duration::from_millis(50)).await;
    assert!(matches!(sleeping.await.unwrap(), Outcome::Interrupted(Interruption::Stopping)));
    let after = run(&executor, json!({"do": "echo"})).await;
    assert!(matches!(after, Outcome::Interrupted(Interruption::Stopping)), "{after:?}");
}

pub async fn no_more_jobs_run_than_there_are_places(kind: Kind) {
    let executor = kind.start(json!({"workers": 2, "stop_grace": "100ms"}));
    let contexts: Vec<_> = (0..3).map(|_| Arc::new(context(LONG))).collect();
    let runs: Vec<_> = contexts.iter().map(|context| begin(&executor, json!({"do": "sleep"}), context)).collect();
    let sleeping = || contexts.iter().filter(|context| context.log_tail().contains("sleeping")).count();
    until("two jobs run", async || sleeping() == 2).await;
    let waiting = contexts.iter().position(|context| context.log_tail().is_empty()).unwrap();
    contexts[(waiting + 1) % 3].cancel.cancel();
    until("the third job takes the free place", async || sleeping() == 3).await;
    for run in runs {
        run.abort();
    }
}
