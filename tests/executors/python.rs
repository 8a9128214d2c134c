//! What Python handlers are promised beyond what every kind promises.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use windlass::executors::python::PythonExecutor;
use windlass::job::Data;
use windlass::outcome::{Class, Interruption, Outcome, Output};
use windlass::ports::Executor;

use crate::kinds::{Kind, LONG, SHORT, begin, context, failure_of, fixtures, job, json_of, logged, run, run_in};

async fn rejected(executor: &Arc<dyn Executor>, deed: Value, said: &str) {
    let failure = failure_of(run(executor, deed).await);
    assert_eq!(failure.class, Class::Rejected, "{}", failure.message);
    assert!(failure.message.contains(said), "{}", failure.message);
}

#[tokio::test]
async fn an_exception_nobody_meant_is_a_failure_with_its_traceback_in_the_log() {
    let executor = Kind::Python.start(json!({}));
    let context = context(LONG);
    let failure = failure_of(run_in(&executor, json!({"do": "raise", "value": "bad number"}), &context).await);
    assert_eq!(failure.class, Class::Failed);
    assert_eq!(failure.message, "ValueError: bad number");
    let log = context.log_tail();
    assert!(log.contains("Traceback") && log.contains("handler.py") && !log.contains("host.py"), "{log}");
    let failure = failure_of(run(&executor, json!({"do": "quit", "value": 3})).await);
    assert_eq!((failure.class, failure.message.as_str()), (Class::Failed, "the handler called sys.exit(3)"));
}

#[tokio::test]
async fn what_json_cannot_hold_is_rejected_with_the_reason() {
    let executor = Kind::Python.start(json!({}));
    rejected(&executor, json!({"do": "object"}), "not JSON serializable").await;
    rejected(&executor, json!({"do": "circle"}), "contains itself").await;
    rejected(&executor, json!({"do": "surrogate"}), "UTF-8").await;
    let mut deep = job(&json!(null));
    deep.data = Data::Json(format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)).into());
    let failure = failure_of(executor.execute(&deep, &context(LONG)).await);
    assert_eq!(failure.class, Class::Rejected);
    assert!(failure.message.contains("nested too deeply"), "{}", failure.message);
    assert_eq!(json_of(run(&executor, json!({"do": "echo", "value": 1})).await), 1);
}

#[tokio::test]
async fn a_handler_knows_its_job_and_tells_its_progress() {
    let executor = Kind::Python.start(json!({}));
    let told = json_of(run(&executor, json!({"do": "job"})).await);
    assert_eq!((&told["id"], &told["type"], &told["key"]), (&json!("job-1"), &json!("suite.job"), &json!("k")));
    assert_eq!((&told["tenant"], &told["priority"], &told["attempt"]), (&json!("default"), &json!(4), &json!(1)));
    let context = context(LONG);
    run_in(&executor, json!({"do": "progress", "value": [1, 2]}), &context).await;
    assert_eq!(context.progress().unwrap(), "[1,2]");
}

#[tokio::test]
async fn bytes_reach_the_handler_as_bytes() {
    let executor = Kind::Python.start(json!({}));
    let mut binary = job(&json!(null));
    binary.data = Data::Binary(vec![0, 255, 7].into());
    let outcome = executor.execute(&binary, &context(LONG)).await;
    assert!(matches!(&outcome, Outcome::Done(Output::Binary(bytes)) if bytes[..] == [0, 255, 7]), "{outcome:?}");
}

#[tokio::test]
async fn what_threads_and_programs_print_is_the_jobs_log() {
    let executor = Kind::Python.start(json!({}));
    for deed in ["thread", "system"] {
        let context = context(LONG);
        run_in(&executor, json!({"do": deed, "value": deed}), &context).await;
        logged(&context, &format!("printed {deed}")).await;
    }
    let context = context(LONG);
    assert_eq!(json_of(run_in(&executor, json!({"do": "fork", "value": 1}), &context).await), 0);
    logged(&context, "from a process: 1").await;
}

#[tokio::test]
async fn lines_of_jobs_that_run_together_are_told_apart() {
    let executor = Kind::Python.start(Kind::Python.together());
    let contexts: Vec<_> = (0..4).map(|_| Arc::new(context(LONG))).collect();
    let runs = contexts.iter().enumerate().map(|(number, context)| {
        let mut named = job(&json!({"do": "interleave", "value": 20}));
        named.id = format!("job-{number}").into();
        let (executor, context) = (executor.clone(), context.clone());
        tokio::spawn(async move { executor.execute(&named, &context).await })
    });
    for run in runs.collect::<Vec<_>>() {
        assert!(matches!(run.await.unwrap(), Outcome::Done(_)));
    }
    for (number, context) in contexts.iter().enumerate() {
        assert_eq!(context.log_tail(), format!("line of job-{number}\n").repeat(20));
    }
}

#[tokio::test]
async fn a_time_out_in_an_async_handler_spares_its_neighbours() {
    let executor = Kind::Python.start(Kind::Python.together());
    let neighbour = Arc::new(context(LONG));
    let running = begin(&executor, json!({"do": "sleep"}), &neighbour);
    logged(&neighbour, "sleeping").await;
    let failure = failure_of(run_in(&executor, json!({"do": "sleep"}), &context(SHORT)).await);
    assert_eq!(failure.class, Class::Timeout);
    assert!(!running.is_finished());
    neighbour.cancel.cancel();
    assert!(matches!(running.await.unwrap(), Outcome::Interrupted(Interruption::Stopping)));
}

#[tokio::test]
async fn a_plain_handler_that_looks_sees_that_it_is_cancelled_and_lives_on() {
    let executor = Kind::Python.start(json!({}));
    let before = json_of(run(&executor, json!({"do": "process"})).await);
    let patient = Arc::new(context(LONG));
    let running = begin(&executor, json!({"do": "patient"}), &patient);
    logged(&patient, "waiting").await;
    patient.cancel.cancel();
    assert!(matches!(running.await.unwrap(), Outcome::Interrupted(Interruption::Stopping)));
    assert_eq!(json_of(run(&executor, json!({"do": "process"})).await)["pid"], before["pid"]);
}

#[tokio::test]
async fn an_answer_is_not_held_back_while_the_next_job_takes_long() {
    let executor = Kind::Python.start(json!({"concurrency": 3}));
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("open");
    let contexts: Vec<_> = (0..3).map(|_| Arc::new(context(LONG))).collect();
    let waiting = begin(&executor, json!({"do": "gate", "value": gate}), &contexts[0]);
    logged(&contexts[0], "at the gate").await;
    let echo = begin(&executor, json!({"do": "echo", "value": 1}), &contexts[1]);
    let sleeping = begin(&executor, json!({"do": "sleep"}), &contexts[2]);
    std::fs::write(&gate, "").unwrap();
    assert!(matches!(waiting.await.unwrap(), Outcome::Done(_)));
    logged(&contexts[2], "sleeping").await;
    assert_eq!(json_of(echo.await.unwrap()), 1);
    assert!(!sleeping.is_finished());
    sleeping.abort();
}

#[tokio::test]
async fn a_class_is_made_with_its_options_started_and_closed() {
    let folder = tempfile::tempdir().unwrap();
    let farewell = folder.path().join("farewell");
    let mut keys = Kind::Python.together();
    keys["options"] = json!({"greeting": "ahoy", "farewell": farewell});
    let executor = Kind::Python.start(keys);
    assert_eq!(json_of(run(&executor, json!({"do": "greeting"})).await), json!(["ahoy", true]));
    executor.stop(Duration::from_secs(20)).await;
    assert_eq!(std::fs::read_to_string(farewell).unwrap(), "closed in order");
}

#[tokio::test]
async fn a_plugin_that_cannot_be_loaded_is_misconfigured_and_says_what_is_missing() {
    for (keys, said) in [
        (json!({"entry": "handler.py:Nothing"}), "no function or class 'Nothing'"),
        (json!({"entry": "handler.py:Broken", "options": {"model": "m7"}}), "OSError: the model m7 is not there"),
        (json!({"entry": "handler.py:Broken"}), "missing 1 required positional argument: 'model'"),
        (json!({"entry": "handler.py:plain", "options": {"a": 1}}), "options are for a class"),
        (json!({"entry": "each.py:plain"}), "each.py"),
    ] {
        let executor = Kind::Python.start(keys);
        let failure = failure_of(run(&executor, json!({"do": "echo"})).await);
        assert_eq!(failure.class, Class::Misconfigured, "{}", failure.message);
        assert!(failure.message.contains(said), "{}", failure.message);
    }
}

#[test]
fn a_file_or_an_interpreter_that_is_not_there_is_named() {
    let wrong = |block: Value| {
        let config = serde_json::from_value(block).unwrap();
        let told = PythonExecutor::check(&config, &fixtures());
        assert_eq!(PythonExecutor::new("suite", config, &fixtures()).err().as_ref(), told.first());
        told.join("; ")
    };
    assert!(wrong(json!({"entry": "nowhere.py:f"})).contains("nowhere.py is not there"));
    assert!(wrong(json!({"entry": "handler.py"})).contains("what to call"));
    assert!(wrong(json!({"entry": "handler.py:plain", "python": "python9"})).contains("python9"));
}
