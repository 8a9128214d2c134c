//! The block `state:`: where is kept what must be remembered beyond one job.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::queue::MemoryConfig;
use crate::queues::kafka::config::KafkaStateConfig;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// In a file of the embedded queue.
    Embedded(EmbeddedState),
    /// In a topic, shared by all workers.
    Kafka(Box<KafkaStateConfig>),
    /// Forgotten at the end of the process.
    Memory(MemoryConfig),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedState {
    /// The database file, relative to the config file; queues may lie in it too.
    pub path: PathBuf,
}

impl State {
    #[must_use]
    pub fn in_file(path: impl Into<PathBuf>) -> Self {
        State::Embedded(EmbeddedState { path: path.into() })
    }

    /// Whether it outlives the process.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        !matches!(self, State::Memory(_))
    }

    /// The file it lies in.
    #[must_use]
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            State::Embedded(embedded) => Some(&embedded.path),
            State::Kafka(_) | State::Memory(_) => None,
        }
    }
}
