//! The block `python:` of an executor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::executors::limits::{ProcessLimits, five_seconds, four, one, one_mebibyte};
use crate::units::{Size, Span};

/// `{ python: { entry: "plugins/thumbs.py:Thumbnails" } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PythonConfig {
    /// `path/to/file.py:Class` or `path/to/file.py:function`, relative to the config file.
    pub entry: String,
    /// The interpreter; default `python3`.
    #[serde(default = "python3")]
    pub python: String,
    /// Interpreter processes.
    #[serde(default = "four")]
    pub workers: usize,
    /// Jobs in flight in one process: an `async` handler runs them together, a plain one takes them one after another.
    #[serde(default = "one")]
    pub concurrency: usize,
    /// Passed to the class's constructor as keyword arguments.
    #[serde(default)]
    pub options: serde_json::Map<String, serde_json::Value>,
    #[serde(default = "one_mebibyte")]
    pub output: Size,
    #[serde(default)]
    pub recycle_jobs: Option<u64>,
    #[serde(default)]
    pub recycle_memory: Option<Size>,
    #[serde(default = "five_seconds")]
    pub stop_grace: Span,
    #[serde(default)]
    pub memory: Option<Size>,
    #[serde(default)]
    pub cpu: Option<Span>,
    #[serde(default)]
    pub env_allow: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub directory: Option<std::path::PathBuf>,
}

fn python3() -> String {
    "python3".into()
}

impl PythonConfig {
    #[must_use]
    pub fn limits(&self) -> ProcessLimits {
        ProcessLimits {
            memory: self.memory,
            cpu: self.cpu,
            env_allow: self.env_allow.clone(),
            env: self.env.clone(),
            directory: self.directory.clone(),
        }
    }
}
