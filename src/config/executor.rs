//! The block of one executor: one key that names its kind, with the kind's own keys inside, and its breaker.

use serde::{Deserialize, Serialize};

use super::breaker::Breaker;
use crate::executors::command::config::CommandConfig;
use crate::executors::python::config::PythonConfig;

/// `{ command: {...} }` or `{ python: {...} }`, and beside the kind what holds for every kind.
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
}

/// The keys as written: a kind per key, as each kind checks its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<CommandConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    python: Option<PythonConfig>,
    #[serde(default)]
    breaker: Breaker,
}

impl TryFrom<Written> for Executor {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let kind = match (written.command, written.python) {
            (Some(command), None) => ExecutorKind::Command(command),
            (None, Some(python)) => ExecutorKind::Python(python),
            _ => {
                return Err(
                    "an executor has exactly one kind: write \"command: { run: [./program] }\" or \"python: { entry: file.py:function }\"",
                );
            }
        };
        Ok(Executor { kind, breaker: written.breaker })
    }
}

impl From<Executor> for Written {
    fn from(executor: Executor) -> Self {
        let (command, python) = match executor.kind {
            ExecutorKind::Command(command) => (Some(command), None),
            ExecutorKind::Python(python) => (None, Some(python)),
        };
        Written { command, python, breaker: executor.breaker }
    }
}

impl ExecutorKind {
    /// The word for the kind, as configs, folders and metrics spell it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            ExecutorKind::Command(_) => "command",
            ExecutorKind::Python(_) => "python",
        }
    }
}
