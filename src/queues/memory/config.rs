//! The block `memory:` of a queue.

use serde::{Deserialize, Serialize};

/// `{ memory: {} }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryConfig {
    /// Messages that the queue holds; a full one makes its senders wait.
    pub capacity: usize,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        MemoryConfig { capacity: 100_000 }
    }
}
