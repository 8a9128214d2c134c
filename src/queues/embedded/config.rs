//! The block `embedded:` of a queue.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::units::Span;

/// `{ embedded: { path: windlass.db } }`: several queues of one config may share a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedConfig {
    /// The database file, relative to the config file.
    pub path: PathBuf,
    /// The queue's name inside the file; the name of its block when absent.
    pub queue: Option<String>,
    /// How long results are kept.
    pub results_for: Span,
    /// How many results are kept.
    pub results_rows: u64,
    /// How long after a job's end its id is still recognised.
    pub dedupe_for: Span,
    /// How many ended ids are kept.
    pub dedupe_rows: u64,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        let day = std::time::Duration::from_secs(86_400);
        EmbeddedConfig {
            path: "windlass.db".into(),
            queue: None,
            results_for: Span(day * 7),
            results_rows: 100_000,
            dedupe_for: Span(day),
            dedupe_rows: 10_000_000,
        }
    }
}
