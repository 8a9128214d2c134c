//! What can go wrong, by what it means for the job.

use std::time::Duration;

use crate::State;

/// Why a call did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address or the job cannot be used; nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// The worker said no: it has taken nothing, and will not take it as it is.
    #[error("the worker refused ({status}): {message}")]
    Refused {
        status: u16,
        message: String,
        /// Of the jobs submitted together, from 0, where one is at fault.
        index: Option<usize>,
    },
    /// The worker could not be reached, or had no room, for as long as was tried: it has taken nothing.
    #[error("not accepted: {0}")]
    NotAccepted(String),
    /// It was sent and no answer came: the worker may have taken it. Submitting the same [`crate::NewJob`] again is safe.
    #[error("unknown whether it was accepted: {0}")]
    Unknown(String),
    /// A question that nobody answered for as long as was tried.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// The worker knows no such job or queue.
    #[error("{0}")]
    NotFound(String),
    /// The time to wait was over; the job goes on.
    #[error("the job has not ended after {waited:?}; it is {state:?}")]
    NotEnded { waited: Duration, state: State },
    /// The worker's answer could not be read.
    #[error("the worker's answer is of another version: {0}")]
    Answer(String),
}

impl Error {
    /// Of a call that only reads, nothing could be accepted.
    pub(crate) fn of_reading(self) -> Self {
        match self {
            Error::NotAccepted(why) | Error::Unknown(why) => Error::Unreachable(why),
            other => other,
        }
    }
}
