//! Job batches as the worker counts them.

use serde::Deserialize;

/// How far a batch has come. Each of its jobs counts once, by its last end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Batch {
    pub id: String,
    /// How many jobs it has; none until one of them has said so.
    #[serde(default)]
    pub size: Option<u64>,
    pub done: u64,
    pub dead: u64,
    pub discarded: u64,
    /// When its first job was taken, in RFC 3339.
    pub opened: String,
    /// When all of its jobs had ended, in RFC 3339.
    #[serde(default)]
    pub completed: Option<String>,
    /// Who wants the rest of its jobs discarded.
    #[serde(default)]
    pub cancelled: Option<String>,
    /// Some of its jobs that are dead.
    #[serde(default)]
    pub dead_jobs: Vec<String>,
}
