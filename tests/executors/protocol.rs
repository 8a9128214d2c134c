//! A plugin that breaks the protocol harms its own job only, and the operator reads how it broke it.

use std::sync::Arc;

use serde_json::json;
use windlass::executors::command::CommandExecutor;
use windlass::outcome::{Class, Outcome, Output};

use crate::kinds::{Kind, SHORT, begin, context, failure_of, fixtures, json_of, run, run_in};

#[tokio::test]
async fn what_breaks_the_protocol_is_a_crash_that_says_how_and_the_next_job_runs() {
    let executor = Kind::Stays.start(json!({}));
    for (deed, said) in [
        ("garbage", "no frame; it starts with \"oops: debugging"),
        ("no json", "no response"),
        ("close", "descriptor 4"),
        ("another", "not running"),
        ("hello again", "hello twice"),
    ] {
        let failure = failure_of(run(&executor, json!({"do": deed})).await);
        assert_eq!(failure.class, Class::Crashed, "{deed}: {}", failure.message);
        assert!(failure.message.contains(said), "{deed}: {}", failure.message);
        assert_eq!(json_of(run(&executor, json!({"do": "echo", "value": deed})).await), deed);
    }
}

#[tokio::test]
async fn a_second_answer_ends_the_host_but_not_the_job() {
    let executor = Kind::Stays.start(json!({}));
    assert_eq!(json_of(run(&executor, json!({"do": "twice"})).await), "first");
    // the process may be used once more before its second answer is seen
    let next = run(&executor, json!({"do": "echo", "value": 2})).await;
    assert!(matches!(&next, Outcome::Done(_)) || failure_of(next).class == Class::Crashed);
    assert_eq!(json_of(run(&executor, json!({"do": "echo", "value": 3})).await), 3);
}

#[tokio::test]
async fn a_job_that_is_never_answered_times_out() {
    let executor = Kind::Stays.start(json!({}));
    let failure = failure_of(run_in(&executor, json!({"do": "silence"}), &context(SHORT)).await);
    assert_eq!(failure.class, Class::Timeout);
    assert_eq!(json_of(run(&executor, json!({"do": "echo", "value": 1})).await), 1);
}

#[tokio::test]
async fn a_class_nobody_knows_is_a_plain_failure() {
    let executor = Kind::Stays.start(json!({}));
    let failure = failure_of(run(&executor, json!({"do": "odd class"})).await);
    assert_eq!(failure.class, Class::Failed);
    assert!(failure.message.contains("not today") && failure.message.contains("grumpy"), "{}", failure.message);
}

#[tokio::test]
async fn an_answer_too_large_names_its_job_among_many() {
    let mut keys = Kind::Stays.together();
    keys["output"] = json!("64KiB");
    let executor = Kind::Stays.start(keys);
    let innocent = Arc::new(context(crate::kinds::LONG));
    let running = begin(&executor, json!({"do": "sleep"}), &innocent);
    crate::kinds::logged(&innocent, "sleeping").await;
    let failure = failure_of(run(&executor, json!({"do": "too much", "value": 300_000})).await);
    assert_eq!(failure.class, Class::Rejected);
    assert!(matches!(running.await.unwrap(), Outcome::Interrupted(_)));
}

#[tokio::test]
async fn progress_is_kept_for_the_operator() {
    let executor = Kind::Stays.start(json!({}));
    let context = context(SHORT * 20);
    run_in(&executor, json!({"do": "progress", "value": {"percent": 40}}), &context).await;
    assert_eq!(context.progress().unwrap(), r#"{"percent": 40}"#);
}

#[tokio::test]
async fn a_plugin_is_told_the_job_beside_its_data() {
    let executor = Kind::Stays.start(json!({}));
    let told = json_of(run(&executor, json!({"do": "job"})).await);
    assert_eq!(told["id"], "job-1");
    assert_eq!(told["type"], "suite.job");
    assert_eq!(told["key"], "k");
    assert_eq!(told["tenant"], "default");
    assert_eq!(told["attempt"], 1);
    assert!(told["traceparent"].as_str().unwrap().starts_with("00-"));
}

#[tokio::test]
async fn bytes_go_in_as_base64() {
    let executor = Kind::Stays.start(json!({}));
    let mut job = crate::kinds::job(&json!(null));
    job.data = windlass::job::Data::Binary(vec![0, 255, 7].into());
    let outcome = executor.execute(&job, &context(SHORT * 20)).await;
    assert!(matches!(&outcome, Outcome::Done(Output::Binary(bytes)) if bytes[..] == [0, 255, 7]), "{outcome:?}");
}

#[tokio::test]
async fn a_plugin_that_does_not_serve_is_misconfigured_in_its_own_words() {
    for (argument, said) in [("refuse", "the model is not there"), ("mute", "cannot import the thing")] {
        let executor = Kind::Stays.start(json!({"run": ["python3", "stays.py", argument]}));
        let failure = failure_of(run(&executor, json!({"do": "echo"})).await);
        assert_eq!(failure.class, Class::Misconfigured);
        assert!(failure.message.contains(said), "{}", failure.message);
        assert!(executor.trouble().unwrap().contains(said));
        let again = failure_of(run(&executor, json!({"do": "echo"})).await);
        assert!(again.retry_after.is_some(), "it is not started again at once");
        assert!(executor.warm().await.unwrap_err().contains(said));
    }
}

#[tokio::test]
async fn a_plugin_in_another_language_is_as_good() {
    let executor = Kind::Stays.start(json!({"run": ["./plugin.pl"]}));
    let context = context(SHORT * 20);
    let reversed = executor.execute(&crate::kinds::job(&json!("stressed ü")), &context).await;
    assert_eq!(json_of(reversed), "ü desserts");
    assert_eq!(context.log_tail(), "reversing 10 characters\n");
    assert_eq!(failure_of(run(&executor, json!({"no": "text"})).await).class, Class::Rejected);
}

#[test]
fn a_program_that_is_not_there_is_named_with_the_fix() {
    let wrong = |run: serde_json::Value| {
        let config = serde_json::from_value(json!({"run": run})).unwrap();
        let told = CommandExecutor::check(&config, &fixtures());
        assert_eq!(CommandExecutor::new("suite", config, &fixtures()).err().as_ref(), told.first());
        told.join("; ")
    };
    assert!(wrong(json!(["./nowhere.sh"])).contains("nowhere.sh"));
    assert!(wrong(json!(["./each.py"])).contains("chmod +x"));
    assert!(wrong(json!(["no-such-program-anywhere"])).contains("PATH"));
    assert!(wrong(json!([])).contains("run:"));
}
