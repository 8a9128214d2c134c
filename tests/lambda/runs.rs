//! Executors of functions, and runs on them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use windlass::executors::lambda::LambdaExecutor;
use windlass::job::decode::{Decoding, Received, decode};
use windlass::job::{Job, Message, Origin};
use windlass::outcome::{Failure, Outcome, Output};
use windlass::ports::{Context, Executor as _};

/// Longer than any test takes.
pub const LONG: Duration = Duration::from_secs(60);

/// A client needs credentials, whoever asks for them; those of the tests are nobody's.
pub fn executor(endpoint: &str, keys: &Value) -> Arc<LambdaExecutor> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "test").unwrap();
    let mut block = json!({
        "function": "double", "endpoint": endpoint, "region": "eu-west-1",
        "credentials": {"access_key": "file:key", "secret_key": "file:key"},
    });
    block.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    LambdaExecutor::new(&serde_json::from_value(block).unwrap(), folder.path()).unwrap()
}

pub fn job(data: &Value) -> Job {
    let body = json!({"id": "job-1", "type": "suite.job", "key": "k", "data": data}).to_string();
    let received = Received { origin: Origin::default(), published: None, now: jiff::Timestamp::now() };
    decode(&Message::of(body), &Decoding::Envelope, &received).unwrap()
}

pub async fn run(executor: &Arc<LambdaExecutor>, data: Value) -> Outcome {
    run_in(executor, data, &context(LONG)).await
}

pub fn context(timeout: Duration) -> Context {
    Context::new("job-1".into(), "suite".into(), timeout)
}

pub async fn run_in(executor: &Arc<LambdaExecutor>, data: Value, context: &Context) -> Outcome {
    tokio::time::timeout(LONG, executor.execute(&job(&data), context)).await.expect("no outcome at all")
}

pub fn json_of(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Done(Output::Json(text)) => serde_json::from_slice(&text).unwrap(),
        Outcome::Done(Output::Nothing) => Value::Null,
        other => panic!("not done with JSON: {other:?}"),
    }
}

pub fn failure_of(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("not failed: {other:?}"),
    }
}
