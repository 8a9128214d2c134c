//! What every kind promises whose processes stay.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use windlass::outcome::{Class, Interruption, Outcome};
use windlass::ports::Executor;

use crate::kinds::{Kind, LONG, SHORT, begin, context, failure_of, gone, json_of, logged, run, run_in};

async fn pid(executor: &Arc<dyn Executor>) -> Value {
    json_of(run(executor, json!({"do": "process"})).await)["pid"].clone()
}

pub async fn warm_starts_every_process(kind: Kind) {
    let executor = kind.start(json!({"workers": 2}));
    executor.warm().await.unwrap();
    let busy = Arc::new(context(LONG));
    let sleeping = begin(&executor, json!({"do": "sleep"}), &busy);
    logged(&busy, "sleeping").await;
    assert_eq!(json_of(run(&executor, json!({"do": "process"})).await)["jobs"], 1);
    assert_eq!(executor.trouble(), None);
    sleeping.abort();
}

pub async fn a_process_is_used_again(kind: Kind) {
    let executor = kind.start(json!({}));
    for number in 1..=5 {
        assert_eq!(json_of(run(&executor, json!({"do": "process"})).await)["jobs"], number);
    }
}

pub async fn a_process_is_replaced_after_its_share_of_jobs(kind: Kind) {
    let executor = kind.start(json!({"recycle_jobs": 2}));
    let mut pids = Vec::new();
    for _ in 0..6 {
        pids.push(pid(&executor).await);
    }
    assert_eq!(pids.iter().map(Value::to_string).collect::<HashSet<_>>().len(), 3, "{pids:?}");
    gone(&pids[0].to_string()).await;
}

pub async fn a_process_that_has_grown_is_replaced(kind: Kind) {
    let executor = kind.start(json!({"recycle_memory": "1GiB"}));
    let first = pid(&executor).await;
    assert_eq!(pid(&executor).await, first);
    let small = kind.start(json!({"recycle_memory": "1MiB"}));
    let first = pid(&small).await;
    assert_ne!(pid(&small).await, first);
}

pub async fn a_dead_process_is_replaced(kind: Kind) {
    let executor = kind.start(json!({}));
    let first = pid(&executor).await;
    let context = context(LONG);
    let failure = failure_of(run_in(&executor, json!({"do": "exit", "value": 9}), &context).await);
    assert_eq!(failure.class, Class::Crashed);
    assert!(failure.message.contains("exited with code 9"), "{}", failure.message);
    assert_eq!(context.log_tail(), "no more\n");
    assert_ne!(pid(&executor).await, first);
}

pub async fn jobs_in_a_host_that_crashes_are_not_charged_alone(kind: Kind) {
    let executor = kind.start(kind.together());
    let sleeping = Arc::new(context(LONG));
    let running = begin(&executor, json!({"do": "sleep"}), &sleeping);
    logged(&sleeping, "sleeping").await;
    for failure in
        [failure_of(run(&executor, json!({"do": "die", "value": "SIGSEGV"})).await), failure_of(running.await.unwrap())]
    {
        assert_eq!(failure.class, Class::Crashed);
        assert!(failure.shared_host, "nobody knows whose fault it was");
    }
}

pub async fn a_neighbour_is_interrupted_when_the_host_is_killed(kind: Kind) {
    let executor = kind.start(kind.together());
    let innocent = Arc::new(context(LONG));
    let running = begin(&executor, json!({"do": "sleep"}), &innocent);
    logged(&innocent, "sleeping").await;
    let failure = failure_of(run_in(&executor, json!({"do": "stubborn"}), &context(SHORT)).await);
    assert_eq!(failure.class, Class::Timeout);
    assert!(matches!(running.await.unwrap(), Outcome::Interrupted(Interruption::Neighbour)));
}

pub async fn a_suspect_has_a_host_of_its_own(kind: Kind) {
    let executor = kind.start(kind.together());
    let shared = pid(&executor).await;
    let innocent = Arc::new(context(LONG));
    let running = begin(&executor, json!({"do": "sleep"}), &innocent);
    logged(&innocent, "sleeping").await;
    let mut alone = context(LONG);
    alone.alone = true;
    let failure = failure_of(run_in(&executor, json!({"do": "die", "value": "SIGSEGV"}), &alone).await);
    assert!(failure.class == Class::Crashed && !failure.shared_host, "{failure:?}");
    assert!(!running.is_finished());
    assert_eq!(pid(&executor).await, shared);
    running.abort();
}

pub async fn what_is_prepared_is_what_the_run_gets(kind: Kind) {
    let executor = kind.start(kind.together());
    for alone in [true, true, false] {
        let mut context = context(LONG);
        context.alone = alone;
        executor.prepare(&context).await;
        let prepared = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let process = json_of(run_in(&executor, json!({"do": "process"}), &context).await);
        assert_eq!(process["jobs"], 1, "it is new");
        assert!(process["loaded"].as_f64().unwrap() <= prepared, "it was started by the run: {process}");
    }
}

pub async fn the_clock_of_a_job_starts_when_the_one_before_it_has_ended(kind: Kind) {
    let executor = kind.start(json!({"concurrency": 2}));
    let first = Arc::new(context(LONG));
    let running = begin(&executor, json!({"do": "sleep"}), &first);
    logged(&first, "sleeping").await;
    let mut next = context(Duration::from_millis(300));
    next.attempt = 2;
    let waiting = begin(&executor, json!({"do": "echo", "value": 4}), &Arc::new(next));
    // far longer than the second job's own time limit, none of which has passed
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(!waiting.is_finished());
    first.cancel.cancel();
    assert!(matches!(running.await.unwrap(), Outcome::Interrupted(Interruption::Stopping)));
    assert!(matches!(waiting.await.unwrap(), Outcome::Interrupted(Interruption::Neighbour)));
}

pub async fn stop_lets_the_process_end_by_itself(kind: Kind) {
    let executor = kind.start(json!({}));
    let pid = pid(&executor).await;
    executor.stop(Duration::from_secs(20)).await;
    gone(&pid.to_string()).await;
}
