//! The seams: what a queue kind and an executor kind must be able to do. One page; no kind is named here.

mod context;
mod operators;
mod order;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::job::{Job, Life, Message, Origin};
use crate::outcome::{Failure, Outcome, Reason};

pub use crate::job::decode::facets::{Facets, Sort};
pub use context::{Context, Stopped, Usage};
pub use operators::{
    Acted, Action, Admin, Cursor, Entry, Filter, Looked, NewJob, Page, PartitionLag, QueueStats, State, Submitted,
};
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
    /// Where the sender of a message wants the result of its job, on kinds whose messages can ask for it. A sender that is
    /// gone is [`QueueError::Refused`].
    fn reply_to(&self, _message: &Message) -> Option<Arc<dyn Sink>> {
        None
    }
    /// The names of the places that have held jobs.
    async fn places(&self) -> Result<Vec<Arc<str>>, QueueError>;
    /// Whether nothing is left here to be taken, but for what somebody holds. Asked of places: newer jobs wait for it, so
    /// that a doubt is a no.
    async fn drained(&self) -> Result<bool, QueueError>;
    /// What operators act through, of a kind that is a system by itself; others share one ([`Capabilities::operated`]).
    fn admin(&self) -> Option<Arc<dyn Admin>> {
        None
    }
    /// What must be there on its system before it can be used (topics, queues, exchanges), with these places
    /// beside it; none where it is only sent to.
    async fn parts(&self, _places: Option<&[Arc<str>]>) -> Result<Vec<Part>, QueueError> {
        Ok(Vec::new())
    }
    /// Makes the parts that are missing; changes none that is there.
    async fn create(&self, _places: Option<&[Arc<str>]>) -> Result<(), QueueError> {
        Ok(())
    }
    /// Lets go of what it holds, once nobody takes from it or sends to it any more.
    async fn close(&self) {}
}

/// Something that a queue needs on its system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// As the system calls it.
    pub name: Arc<str>,
    /// What it is, or is to be: `topic of 4 partitions, kept for ever`.
    pub what: String,
    pub found: Found,
}

/// What is there of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    AsWanted,
    Missing,
    /// It works, or does not, but is not what was wanted: a sentence with the fix.
    Differs(String),
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
    /// Its leases run out by themselves; other kinds hold what is taken for as long as the taker lives.
    pub leases: bool,
    /// The id that a message is sent under comes with its delivery.
    pub carries_ids: bool,
    /// A message that is sent again under the same id is known and not kept twice.
    pub recognises: bool,
    /// Its server counts a delivery that ends with the taker's stop like one that is lost: [`Delivery::unsettled`] is one
    /// more then. Others count what was lost only.
    pub counts_stops: bool,
    /// Attempts and crashes are exact, not an upper bound.
    pub exact_attempts: bool,
    pub honours_priority: bool,
    pub order: Order,
    /// Whoever takes from it takes from its places too, and these keep its order, so that keys are in order through them.
    pub parks_in_order: bool,
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

    /// Asks the target about itself, without running a job: a sentence for each thing found.
    ///
    /// # Errors
    /// Why jobs could not run there now.
    async fn examine(&self) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }

    /// A sentence when the executor cannot run jobs now.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Ends what it holds, waiting up to `grace` for it to end by itself.
    async fn stop(&self, grace: Duration);
}
