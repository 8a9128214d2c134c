//! The block of one executor: one key that names its kind, with the kind's own keys inside, and its breaker.

use serde::{Deserialize, Serialize};

use super::breaker::Breaker;
use crate::executors::command::config::CommandConfig;
use crate::executors::http::config::HttpConfig;
use crate::executors::lambda::config::LambdaConfig;
use crate::executors::python::config::PythonConfig;

/// `{ command: {...} }`, `{ lambda: {...} }` and so on, and beside the kind what holds for every kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Executor {
    pub kind: ExecutorKind,
    pub breaker: Breaker,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExecutorKind {
    Command(CommandConfig),
    Python(PythonConfig),
    Http(Box<HttpConfig>),
    Lambda(Box<LambdaConfig>),
}

/// The keys as written: a kind per key, as each kind checks its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<CommandConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    python: Option<PythonConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http: Option<Box<HttpConfig>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lambda: Option<Box<LambdaConfig>>,
    #[serde(default)]
    breaker: Breaker,
}

impl TryFrom<Written> for Executor {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { command, python, http, lambda, breaker } = written;
        let kinds = [
            command.map(ExecutorKind::Command),
            python.map(ExecutorKind::Python),
            http.map(ExecutorKind::Http),
            lambda.map(ExecutorKind::Lambda),
        ];
        let mut kinds = kinds.into_iter().flatten();
        match (kinds.next(), kinds.next()) {
            (Some(kind), None) => Ok(Executor { kind, breaker }),
            _ => Err("an executor has exactly one kind: write \"command: { run: [./program] }\", \
                 \"python: { entry: file.py:function }\" or \"http: { url: https://host/path }\""),
        }
    }
}

impl From<Executor> for Written {
    fn from(executor: Executor) -> Self {
        let mut written = Written { command: None, python: None, http: None, lambda: None, breaker: executor.breaker };
        match executor.kind {
            ExecutorKind::Command(command) => written.command = Some(command),
            ExecutorKind::Python(python) => written.python = Some(python),
            ExecutorKind::Http(http) => written.http = Some(http),
            ExecutorKind::Lambda(lambda) => written.lambda = Some(lambda),
        }
        written
    }
}

impl ExecutorKind {
    /// The word for the kind, as configs, folders and metrics spell it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            ExecutorKind::Command(_) => "command",
            ExecutorKind::Python(_) => "python",
            ExecutorKind::Http(_) => "http",
            ExecutorKind::Lambda(_) => "lambda",
        }
    }

    /// What runs the jobs, for operators: the program, the function, the address.
    #[must_use]
    pub fn target(&self) -> String {
        match self {
            ExecutorKind::Command(command) => command.run.join(" "),
            ExecutorKind::Python(python) => python.entry.clone(),
            ExecutorKind::Http(http) => match &http.platform {
                Some(platform) => format!("{} on {}", platform.function, http.url),
                // in a query secrets may stand
                None => format!("{} {}", http.method, http.url.split('?').next().unwrap_or_default()),
            },
            ExecutorKind::Lambda(lambda) => lambda.name(),
        }
    }
}
