//! Executors for the endpoints of these tests, and runs on them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use windlass::executors::http::HttpExecutor;
use windlass::executors::http::config::HttpConfig;
use windlass::job::Job;
use windlass::job::decode::{Decoding, Received, decode};
use windlass::job::{Message, Origin};
use windlass::outcome::{Failure, Outcome, Output};
use windlass::ports::{Context, Executor as _};

/// Longer than any test takes.
pub const LONG: Duration = Duration::from_secs(60);
/// For calls whose answer never comes.
pub const SHORT: Duration = Duration::from_millis(500);

pub fn executor(block: Value) -> Arc<HttpExecutor> {
    let config: HttpConfig = serde_json::from_value(block).unwrap();
    HttpExecutor::new(&config, std::path::Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
}

pub fn job(data: &Value) -> Job {
    let body = json!({"id": "job-1", "type": "suite.job", "key": "k", "data": data}).to_string();
    let received = Received { origin: Origin::default(), published: None, now: jiff::Timestamp::now() };
    decode(&Message::of(body), &Decoding::Envelope, &received).unwrap()
}

pub async fn run(executor: &Arc<HttpExecutor>, data: Value) -> Outcome {
    run_for(executor, data, LONG).await
}

pub async fn run_for(executor: &Arc<HttpExecutor>, data: Value, timeout: Duration) -> Outcome {
    let context = Context::new("job-1".into(), "suite".into(), timeout);
    tokio::time::timeout(LONG, executor.execute(&job(&data), &context)).await.expect("no outcome at all")
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
