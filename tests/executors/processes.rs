//! What every kind promises that starts processes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use windlass::outcome::{Class, Interruption, Outcome};

use crate::kinds::{Kind, LONG, SHORT, begin, context, failure_of, fixtures, gone, json_of, logged, run, run_in};

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
