//! The seams: what a queue kind and an executor kind must be able to do. One page; no kind is named here.

mod context;
mod order;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::job::{FailureDocument, Job, Life, Message, Origin};
use crate::outcome::{Outcome, Reason};

pub use crate::job::decode::facets::{Facets, Sort};
pub use context::{Context, Stopped};
pub use order::Order;

/// A place that holds messages: where jobs are taken from and where what comes out is sent.
#[async_trait]
pub trait Queue: Send + Sync {
    /// The name of its block in the config.
    fn name(&self) -> &str;
    fn capabilities(&self) -> Capabilities;
    /// Starts to take messages; a queue has one source in a process. `sort` tells them apart for a kind that can yield a
    /// backlog in turns.
    async fn source(&self, sort: Sort) -> Result<Box<dyn Source>, QueueError>;
    /// Sends messages into the queue itself.
    fn sink(&self) -> Arc<dyn Sink>;
    /// Sends messages into the queue's dead letters (`<q>.dead`), on the same system.
    fn dead_letters(&self) -> Arc<dyn Sink>;
    /// A place beside the queue (`<q>.parked.<name>`) where jobs wait for what they need, in the order in which they came,
    /// whatever their priority. It is taken from when they may go on. A message with a due time is yielded at once all
    /// the same; one that still lies there when it is due goes back into the queue itself. What is transferred from
    /// there goes where it would go from the queue.
    fn parked(&self, name: &str) -> Arc<dyn Queue>;
    /// The names of the places that have held jobs.
    async fn places(&self) -> Result<Vec<Arc<str>>, QueueError>;
    /// Whether nothing is left here to be taken, but for what somebody holds. Asked of places: newer jobs wait for it, so
    /// that a doubt is a no.
    async fn drained(&self) -> Result<bool, QueueError>;
}

/// What a queue kind can keep; the engine and `check` ask here instead of naming kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The source's receipts move a message in one durable step ([`Receipt::transfer`]).
    pub transfers: bool,
    /// Messages survive the end of the process.
    pub durable: bool,
    /// The ending of a job is kept and can be asked for.
    pub keeps_endings: bool,
    /// Operators see its jobs and act on them: its system is an [`Admin`].
    pub operated: bool,
    /// Attempts and crashes are exact, not an upper bound.
    pub exact_attempts: bool,
    pub honours_priority: bool,
    pub order: Order,
    /// Its source takes turns over the whole backlog and leaves out the strands that were shut.
    pub chooses: bool,
    /// The longest delay a message can be sent with; `None` is any.
    pub longest_delay: Option<Duration>,
    /// The longest lease in all; `None` is any.
    pub longest_lease: Option<Duration>,
    /// The largest message, in bytes.
    pub max_message: usize,
}

/// How much may be taken now.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub jobs: usize,
    /// Deliveries stay within this many bytes in sum, but for a first one that is larger alone.
    pub bytes: usize,
    /// How long the deliveries are leased; they are renewed at a third of it.
    pub lease: Duration,
}

/// Yields the messages of one queue.
#[async_trait]
pub trait Source: Send {
    /// Waits until there is something to do, then yields it. Cancel-safe: a call that is dropped takes nothing.
    async fn next(&mut self, room: Room) -> Result<Vec<Delivery>, QueueError>;

    /// Yields no jobs of this strand until it is opened again. A kind that can only yield in its own order ignores it: the
    /// taker copes with what comes.
    fn shut(&mut self, _strand: &Strand) {}

    fn open(&mut self, _strand: &Strand) {}
}

/// A part of a queue that its taker has enough of for now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Strand {
    Stream { tenant: Arc<str>, kind: Arc<str> },
    Key { tenant: Arc<str>, kind: Arc<str>, key: Arc<str> },
}

/// A message received, with the duty to settle it.
pub struct Delivery {
    pub message: Message,
    pub receipt: Box<dyn Receipt>,
    pub origin: Origin,
    /// When the producer published it, where the queue knows.
    pub published: Option<Timestamp>,
    /// How often it was delivered and neither settled nor given back: suspicion, never proof.
    pub unsettled: u32,
}

/// The duty to settle one delivery. Dropping it gives the message back, uncounted.
#[async_trait]
pub trait Receipt: Send + Sync {
    /// Consumes the message. The last thing that happens to a delivery.
    async fn ack(self: Box<Self>, ending: Ending) -> Result<Settled, Unsettled>;

    /// Puts the rewritten copy where it goes and consumes this one, in one durable step. Called only where
    /// [`Capabilities::transfers`].
    async fn transfer(self: Box<Self>, copy: Transfer) -> Result<Settled, Unsettled>;

    /// Renews the lease for `lease` from now.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`] when it is somebody else's by now.
    async fn extend(&self, lease: Duration) -> Result<(), QueueError>;

    /// Writes `life` over the held message, durably: the start mark of a suspect, or what became of a run that will be
    /// repeated here. Without a start mark in it the deliveries before are held against the job no more.
    async fn mark(&self, life: &Life) -> Result<(), QueueError>;
}

/// A settlement that did not happen; the duty comes back with the reason.
pub struct Unsettled {
    pub receipt: Box<dyn Receipt>,
    pub error: QueueError,
}

/// What became of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Done,
    /// The lease was lost before: nothing has changed, the message is somebody else's.
    Fenced,
}

/// How a job ended, for queues that keep endings.
#[derive(Clone, Debug)]
pub struct Ending {
    pub end: End,
    /// The CloudEvent of the ending, as published or as it would have been.
    pub event: Option<Bytes>,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Completed,
    /// Its dead letter is kept by another queue.
    DeadLettered(Reason),
    Discarded {
        by: Arc<str>,
    },
    /// Its next copy is held by another queue or place.
    Moved,
}

/// A copy of the held message with a new life: same body, key and headers.
#[derive(Clone, Debug)]
pub enum Transfer {
    /// Back into the queue, due at `at`.
    Later { at: Timestamp, life: Life },
    /// To the end of a place of [`Queue::parked`], at the latest until then.
    Park { place: Arc<str>, until: Timestamp, life: Life },
    /// Into the queue's own dead letters, with the failure document.
    Dead { life: Life, document: Bytes, event: Option<Bytes> },
}

/// Sends messages. Many may be in flight.
#[async_trait]
pub trait Sink: Send + Sync {
    /// For logs: the queue's name as its users know it.
    fn address(&self) -> &str;
    /// Resolves when the queue has confirmed that it holds the message.
    async fn send(&self, outgoing: Outgoing) -> Result<(), QueueError>;
}

/// A message to send.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    pub message: Message,
    /// Names the message where the queue recognises repetitions.
    pub id: Option<Arc<str>>,
    pub due: Option<Timestamp>,
    pub priority: Option<u8>,
}

/// What a queue can answer instead of doing what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueueError {
    /// Passes by itself or once somebody helps: down, cut off, disk full. Try again.
    #[error("{0}")]
    Unavailable(String),
    /// Will never work with this message.
    #[error("{0}")]
    Refused(String),
    #[error("the lease was lost")]
    LeaseLost,
}

/// Runs jobs.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Runs one job to its outcome. A panic, a crash and a time-out are outcomes. Waits for a free place first; the
    /// time limit of [`Context::limit`] counts from the start of the run.
    async fn execute(&self, job: &Job, context: &Context) -> Outcome;

    /// Starts what can be started before the first job.
    async fn warm(&self) -> Result<(), String> {
        Ok(())
    }

    /// Starts what a run with this context would wait for first; what cannot be started is told by the run.
    async fn prepare(&self, _context: &Context) {}

    /// A sentence when the executor cannot run jobs now.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Ends what it holds, waiting up to `grace` for it to end by itself.
    async fn stop(&self, grace: Duration);
}

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

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// Where the next page starts; none at the end.
    pub next: Option<String>,
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

/// Counts of one queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueStats {
    pub queue: Arc<str>,
    pub waiting: u64,
    pub delayed: u64,
    pub parked: u64,
    pub running: u64,
    pub dead: u64,
    /// Since the file was made.
    pub completed: u64,
    pub discarded: u64,
    /// Submit time of the oldest job that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    pub paused: bool,
}
