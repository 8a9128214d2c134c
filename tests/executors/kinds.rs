//! The kinds under test, and how a case starts one and runs jobs on it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};
use serde_json::{Value, json};
use windlass::executors::command::CommandExecutor;
use windlass::executors::python::PythonExecutor;
use windlass::job::decode::{Decoding, Received, decode};
use windlass::job::{Job, Message, Origin};
use windlass::outcome::{Failure, Outcome, Output};
use windlass::ports::{Context, Executor};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    EachJob,
    Stays,
    Python,
    #[cfg(feature = "http")]
    Http,
}

/// Longer than any case takes; a case that reaches it has failed.
pub const LONG: Duration = Duration::from_secs(60);
/// A time limit for jobs that never end by themselves.
pub const SHORT: Duration = Duration::from_millis(700);

/// The interpreter itself: a shim in front of it would take longer than most cases.
pub static PYTHON: LazyLock<String> = LazyLock::new(|| {
    let told = std::process::Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
});

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/executors")
}

impl Kind {
    /// An executor of this kind, with these keys set in its block.
    pub fn start(self, keys: Value) -> Arc<dyn Executor> {
        let mut block = match self {
            Kind::EachJob => json!({"run": [*PYTHON, "each.py"], "exit_codes": {"42": "throttled"}}),
            Kind::Stays => json!({"run": [*PYTHON, "stays.py"], "persistent": true, "workers": 1}),
            Kind::Python => json!({"entry": "handler.py:plain", "python": *PYTHON, "workers": 1}),
            #[cfg(feature = "http")]
            Kind::Http => json!({"url": crate::endpoint::start()}),
        };
        for (key, value) in keys.as_object().unwrap() {
            block[key] = value.clone();
        }
        match self {
            Kind::Python => PythonExecutor::new("suite", serde_json::from_value(block).unwrap(), &fixtures()).unwrap(),
            #[cfg(feature = "http")]
            Kind::Http => {
                let config = serde_json::from_value(block).unwrap();
                windlass::executors::http::HttpExecutor::new(&config, &fixtures()).unwrap()
            }
            _ => CommandExecutor::new("suite", serde_json::from_value(block).unwrap(), &fixtures()).unwrap(),
        }
    }

    /// The keys under which so many jobs run at once.
    pub fn places(self, count: usize) -> Value {
        match self {
            #[cfg(feature = "http")]
            Kind::Http => json!({"concurrency": count}),
            _ => json!({"workers": count, "stop_grace": "100ms"}),
        }
    }

    /// Whether a job that sleeps has got so far. An endpoint has no log.
    pub fn sleeps(self, context: &Context) -> bool {
        match self {
            #[cfg(feature = "http")]
            Kind::Http => context.started(),
            _ => context.log_tail().contains("sleeping"),
        }
    }

    /// Jobs share a process that stays.
    pub fn stays(self) -> bool {
        self != Kind::EachJob
    }

    /// The keys under which several jobs run in one process at once.
    pub fn together(self) -> Value {
        match self {
            Kind::Python => json!({"entry": "handler.py:Together", "workers": 1, "concurrency": 4}),
            _ => json!({"run": [*PYTHON, "stays.py", "together"], "workers": 1, "concurrency": 4}),
        }
    }
}

pub fn job(data: &Value) -> Job {
    let body = json!({"id": "job-1", "type": "suite.job", "key": "k", "data": data}).to_string();
    let received = Received { origin: Origin::default(), published: None, now: jiff::Timestamp::now() };
    decode(&Message::of(body), &Decoding::Envelope, &received).unwrap()
}

pub fn context(timeout: Duration) -> Context {
    Context::new("job-1".into(), "suite".into(), timeout)
}

/// Runs one deed.
pub async fn run(executor: &Arc<dyn Executor>, deed: Value) -> Outcome {
    run_in(executor, deed, &context(LONG)).await
}

pub async fn run_in(executor: &Arc<dyn Executor>, deed: Value, context: &Context) -> Outcome {
    tokio::time::timeout(LONG * 2, executor.execute(&job(&deed), context)).await.expect("no outcome at all")
}

/// Runs one deed in the background.
pub fn begin(executor: &Arc<dyn Executor>, deed: Value, context: &Arc<Context>) -> tokio::task::JoinHandle<Outcome> {
    let (executor, context) = (executor.clone(), context.clone());
    tokio::spawn(async move { run_in(&executor, deed, &context).await })
}

/// The JSON a deed returned.
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

/// Waits until `seen` says so.
pub async fn until(what: &str, mut seen: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !seen().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits until the job has logged a line with this start, and returns the rest of it.
pub async fn logged(context: &Context, start: &str) -> String {
    let mut rest = None;
    until(start, async || {
        rest = context.log_tail().lines().find_map(|line| line.strip_prefix(start).map(str::to_owned));
        rest.is_some()
    })
    .await;
    rest.unwrap()
}

/// A process is gone when it is reaped too: zombies count as alive.
pub async fn gone(pid: &str) {
    let process = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    until(&format!("the end of process {pid}"), async || test_kill_process(process).is_err()).await;
}
