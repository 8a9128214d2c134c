//! The block `command:` of an executor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::executors::limits::{ProcessLimits, five_seconds, four, one, one_mebibyte};
use crate::outcome::Class;
use crate::units::{Size, Span};

/// `{ command: { run: ["./thumb.sh"] } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// Program and arguments; a program with a slash is relative to the config file.
    pub run: Vec<String>,
    /// Keep the process and send it many jobs over the plugin protocol (`docs/plugin-protocol.md`).
    #[serde(default)]
    pub persistent: bool,
    /// Processes at once (persistent: kept running). Default 4; `slots` bounds it too.
    #[serde(default = "four")]
    pub workers: usize,
    /// Jobs in flight in one persistent process.
    #[serde(default = "one")]
    pub concurrency: usize,
    /// Exit code → failure class, beside the defaults of `docs/plugins.md`.
    #[serde(default)]
    pub exit_codes: BTreeMap<i32, Class>,
    /// The largest output kept from stdout.
    #[serde(default = "one_mebibyte")]
    pub output: Size,
    /// Replace a persistent process after this many jobs.
    #[serde(default)]
    pub recycle_jobs: Option<u64>,
    /// Replace a persistent process when it holds more memory than this after a job.
    #[serde(default)]
    pub recycle_memory: Option<Size>,
    /// How long a process may take to end after SIGTERM before it is killed.
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

impl CommandConfig {
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
