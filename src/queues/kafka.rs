//! Kafka: topics with groups. One thread polls and commits for everybody (`taker.rs`); what is taken, finished and held lies in
//! one state behind a lock (`state.rs`), each partition's progress in `tracker.rs`, and what a group remembers of it in
//! `progress.rs`. Retries wait in delay topics that a forwarder serves (`delays.rs`). `store.rs` is a state store in a topic.

mod assignment;
mod client;
mod commits;
pub mod config;
mod dead;
mod delays;
mod lag;
mod names;
mod progress;
mod queue;
mod receipt;
mod sink;
mod source;
mod state;
mod store;
mod taker;
mod topics;
mod tracker;
mod trim;
mod wire;

use std::path::Path;
use std::sync::Arc;

use crate::ports::Queue;
use config::{KafkaConfig, KafkaStateConfig};
pub use store::TopicStore;

/// The topic of a state store, as a queue that is only sent to: what it needs is made and checked as of one.
///
/// # Errors
/// What is wrong with its block.
pub fn state_topic(config: &KafkaStateConfig, base: &Path) -> Result<Arc<dyn Queue>, String> {
    open("state", &config.client(), base)
}

/// Opens a queue; nothing is connected before it is taken from, sent to or asked.
///
/// # Errors
/// What is wrong with its block.
pub fn open(name: &str, config: &KafkaConfig, base: &Path) -> Result<Arc<dyn Queue>, String> {
    config.fault().map_err(|(key, why)| format!("kafka.{key}: {why}"))?;
    if let Some(pattern) = names::Names::new(name, config).too_wide() {
        let why = "takes the queue's own topics or those beside a queue, such as dead letters: write more of the names";
        return Err(format!("kafka.also: {pattern:?} {why}"));
    }
    let options = client::Options::new(config, base)?;
    Ok(Arc::new(queue::KafkaQueue::new(name, config, options)))
}
