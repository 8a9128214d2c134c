//! The block of one executor: one key that names its kind, with the kind's own keys inside.

use serde::{Deserialize, Serialize};

use crate::executors::command::config::CommandConfig;
use crate::executors::python::config::PythonConfig;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Executor {
    Command(CommandConfig),
    Python(PythonConfig),
}

impl Executor {
    /// The word for its kind, as configs, folders and metrics spell it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Executor::Command(_) => "command",
            Executor::Python(_) => "python",
        }
    }
}
