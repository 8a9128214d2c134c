//! What happened to a run, and what we do about it: two types, with `retry.rs` between them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::job::Life;

/// What happened when a job was run.
#[derive(Clone, Debug)]
pub enum Outcome {
    Done(Output),
    Failed(Failure),
    /// Not the job's doing and no attempt: the worker stops, the lease was lost, a neighbour took the host down.
    Interrupted(Interruption),
}

/// What a plugin returned: JSON text, or any bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Output {
    #[default]
    Nothing,
    Json(Bytes),
    Binary(Bytes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// The worker is stopping.
    Stopping,
    /// The lease was lost: somebody else may be running the job by now.
    LeaseLost,
    /// The host process was ended for another job's sake.
    Neighbour,
}

/// The failure classes of the design, in the spelling users see in configs, metrics and dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Timeout,
    Throttled,
    Unavailable,
    Failed,
    Rejected,
    Misconfigured,
    Crashed,
    UnknownOutcome,
    Aborted,
    NoRoute,
    Expired,
}

impl Class {
    pub const ALL: [Class; 11] = [
        Class::Timeout,
        Class::Throttled,
        Class::Unavailable,
        Class::Failed,
        Class::Rejected,
        Class::Misconfigured,
        Class::Crashed,
        Class::UnknownOutcome,
        Class::Aborted,
        Class::NoRoute,
        Class::Expired,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Timeout => "timeout",
            Class::Throttled => "throttled",
            Class::Unavailable => "unavailable",
            Class::Failed => "failed",
            Class::Rejected => "rejected",
            Class::Misconfigured => "misconfigured",
            Class::Crashed => "crashed",
            Class::UnknownOutcome => "unknown_outcome",
            Class::Aborted => "aborted",
            Class::NoRoute => "no_route",
            Class::Expired => "expired",
        }
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A run that did not end well.
#[derive(Clone, Debug)]
pub struct Failure {
    pub class: Class,
    /// A sentence for the operator: what failed, and where there is evidence, why.
    pub message: String,
    /// The plugin's or target's own wish when to try again; wins over the back-off.
    pub retry_after: Option<Duration>,
    /// For `crashed`: other jobs ran in the same host, so that the death proves nothing against this one. It is run
    /// again alone before it is charged.
    pub shared_host: bool,
}

impl Failure {
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Failure { class, message: message.into(), retry_after: None, shared_host: false }
    }

    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Outcome::Failed(failure)
    }
}

/// Why a message lies in a dead-letter queue: a class, or one that no single run can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reason {
    Class(Class),
    Other(OtherReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherReason {
    /// The message could not be decoded.
    Malformed,
    /// It crashed its host up to the limit.
    Poison,
    /// It held its key's lane for too long.
    OrderHold,
    /// Another system gave it up; the message says what that system noted.
    Foreign,
}

impl Reason {
    pub const MALFORMED: Reason = Reason::Other(OtherReason::Malformed);
    pub const POISON: Reason = Reason::Other(OtherReason::Poison);
    pub const ORDER_HOLD: Reason = Reason::Other(OtherReason::OrderHold);

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Class(class) => class.as_str(),
            Reason::Other(OtherReason::Malformed) => "malformed",
            Reason::Other(OtherReason::Poison) => "poison",
            Reason::Other(OtherReason::OrderHold) => "order_hold",
            Reason::Other(OtherReason::Foreign) => "foreign",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What we do about an outcome. Each variant but the first and the last three carries the job's next [`Life`].
#[derive(Clone, Debug)]
pub enum Verdict {
    Complete(Output),
    /// Run again at `at`; an attempt or a crash was counted into `life`.
    Retry {
        at: Timestamp,
        life: Life,
    },
    /// Wait until `at` without spending an attempt, or beside the queue until what it needs is there, at the latest
    /// until `until`.
    Park {
        reason: Class,
        at: Timestamp,
        until: Timestamp,
        life: Life,
    },
    DeadLetter {
        reason: Reason,
        class: Class,
        message: String,
        life: Life,
    },
    /// Back to the queue as it was, at once.
    GiveBack(Interruption),
    /// Ended on purpose by a named operator or filter.
    Discard {
        by: Arc<str>,
    },
}

impl Verdict {
    /// The word for logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Verdict::Complete(_) => "complete",
            Verdict::Retry { .. } => "retry",
            Verdict::Park { .. } => "park",
            Verdict::DeadLetter { .. } => "dead_letter",
            Verdict::GiveBack(_) => "give_back",
            Verdict::Discard { .. } => "discard",
        }
    }
}
