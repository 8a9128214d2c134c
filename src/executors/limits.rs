//! What every executor that starts processes can be told about them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::executors::process::{Recipe, environment};
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

impl ProcessLimits {
    /// How to start `program` within these limits; `base` is the folder of the config file.
    ///
    /// # Errors
    /// A sentence that names the key whose value cannot be used.
    pub fn recipe(&self, program: PathBuf, arguments: Vec<String>, base: &Path) -> Result<Recipe, String> {
        let directory = self.directory.as_ref().map_or_else(|| base.to_path_buf(), |directory| base.join(directory));
        let directory = std::path::absolute(if directory.as_os_str().is_empty() { Path::new(".") } else { &directory })
            .map_err(|error| format!("directory: {error}"))?;
        if !directory.is_dir() {
            return Err(format!("directory: {} is not a folder", directory.display()));
        }
        Ok(Recipe {
            program,
            arguments,
            directory,
            environment: environment::environment(&self.env_allow, &self.env, base)?,
            memory: self.memory.map(|memory| memory.0),
            cpu: self.cpu.map(|cpu| cpu.0),
        })
    }
}

/// A configured size as a length in memory.
#[must_use]
pub fn bytes(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

pub(crate) fn one() -> usize {
    1
}

pub(crate) fn four() -> usize {
    4
}

pub(crate) fn one_mebibyte() -> Size {
    Size(1 << 20)
}

pub(crate) fn five_seconds() -> Span {
    Span(Duration::from_secs(5))
}
