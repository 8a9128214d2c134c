//! What operators see and do on the queues of one system; the desk, the CLI and the API stand on it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::QueueError;
use crate::job::{FailureDocument, Life, Message};

/// What operators see and do on the queues of one system; the desk, the CLI and the API stand on it.
#[async_trait]
pub trait Admin: Send + Sync {
    /// Puts jobs into a queue, all or none, durably where the queue is. An id that is known there already changes
    /// nothing and answers the job that has it.
    async fn submit(&self, queue: &str, jobs: Vec<NewJob>) -> Result<Vec<Submitted>, QueueError>;
    /// One line per queue that exists, dead letters included.
    async fn stats(&self) -> Result<Vec<QueueStats>, QueueError>;
    /// Jobs that match, oldest first, in short reads.
    async fn browse(&self, filter: &Filter, page: &Cursor) -> Result<Page, QueueError>;
    /// One job with its message; searched in every queue when `queue` is none.
    async fn find(&self, queue: Option<&str>, id: &str) -> Result<Option<Entry>, QueueError>;
    /// Returns once the job has ended (completed, dead or discarded), or `wait` is over.
    async fn ended(&self, queue: &str, id: &str, wait: Duration) -> Result<Option<Entry>, QueueError>;
    /// Acts on one job; what it answers tells whether there was anything to do.
    async fn act(&self, queue: &str, id: &str, action: &Action) -> Result<Acted, QueueError>;
    /// Stops or resumes handing out a queue's jobs; survives a restart where the queue is durable.
    async fn pause(&self, queue: &str, paused: bool) -> Result<(), QueueError>;
}

/// A job to submit.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub id: Arc<str>,
    pub message: Message,
    pub due: Option<Timestamp>,
    pub priority: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    pub id: Arc<str>,
    /// The id was known: nothing was added.
    pub existing: bool,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Waiting,
    /// Its producer or a retry wants it later.
    Delayed,
    /// It waits without spending attempts.
    Parked,
    Running,
    /// In the dead letters.
    Dead,
    Completed,
    Discarded,
    /// Its dead letter or its next copy is held by another system.
    Moved,
}

/// A job as operators see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The queue it was submitted to.
    pub queue: Arc<str>,
    pub id: Arc<str>,
    pub state: State,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Arc<str>>,
    pub priority: u8,
    pub submitted: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    pub life: Life,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureDocument>,
    /// The CloudEvent of its ending, where it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<serde_json::value::RawValue>>,
    /// Of the message, in bytes.
    pub size: usize,
    /// The message itself: only from [`Admin::find`].
    #[serde(skip)]
    pub message: Option<Message>,
}

/// Which jobs; an absent key matches all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    pub queue: Option<String>,
    pub state: Option<State>,
    pub reason: Option<String>,
    pub class: Option<String>,
    /// A job type, or a glob such as `image.*`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub route: Option<String>,
    pub tenant: Option<String>,
    /// Submitted (dead letters: died) at least this long ago.
    pub older_than: Option<crate::units::Span>,
    /// Submitted (dead letters: died) at most this long ago.
    pub newer_than: Option<crate::units::Span>,
    /// Stands in the body or the failure message.
    pub text: Option<String>,
}

/// Where a listing goes on, and how much of it is wanted.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// What [`Page::next`] said; none for the start.
    pub after: Option<String>,
    pub limit: usize,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// Where the next page starts; none at the end.
    pub next: Option<String>,
    /// Where not everything can be looked at, how much was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked: Option<Looked>,
}

/// How many of a queue's dead letters could be looked at: those that are taken out for it, and put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    pub queue: Arc<str>,
    pub at: u64,
    pub of: u64,
    /// Others receive from there too, and may hold some.
    pub others: bool,
}

/// What an operator does to a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Action {
    /// End a job that waits: into the dead letters as `aborted`, or gone with `discard`.
    Cancel { by: String, discard: bool },
    /// Run a delayed or parked job now.
    RunNow,
    /// Put a dead letter back into the queue it came from, its attempts and crashes at zero.
    Replay,
    /// End a dead letter.
    Discard { by: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acted {
    Done,
    NotFound,
    /// The job is not in a state for this action.
    NotNow(State),
}

/// Counts of one queue. What its system does not tell is none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct QueueStats {
    pub queue: Arc<str>,
    pub waiting: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delayed: Option<u64>,
    pub parked: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<u64>,
    pub dead: u64,
    /// Since the file was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discarded: Option<u64>,
    /// When the oldest job that waits was submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// How many take from it, of all workers and of other programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumers: Option<u64>,
    /// How far the consumers are behind, where a queue has partitions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lag: Vec<PartitionLag>,
    pub paused: bool,
}

/// How far the consumers of a partition are behind its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionLag {
    pub topic: Arc<str>,
    pub partition: i32,
    /// By offsets: some of them may hold no message.
    pub lag: u64,
}
