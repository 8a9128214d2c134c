//! What every executor that starts processes can be told about them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::units::{Size, Span};

/// The keys shared by `command:` and `python:`, written beside the kind's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessLimits {
    /// Memory of one process (address space), such as `"512MiB"`.
    pub memory: Option<Size>,
    /// Processor time of one process, such as `"10m"`: the kernel ends it after that.
    pub cpu: Option<Span>,
    /// Names of the worker's environment variables that the process sees, beside `PATH`, `HOME`, `LANG`, `TZ` and `TMPDIR`.
    pub env_allow: Vec<String>,
    /// Variables set for the process; a value may be a secret by reference (`env:NAME`, `file:PATH`).
    pub env: BTreeMap<String, String>,
    /// Working directory, relative to the config file; the config file's own directory when absent.
    pub directory: Option<PathBuf>,
}
