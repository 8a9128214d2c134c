//! What the client and the server say, as sentences with the fix.

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Error, ErrorKind};

use crate::ports::QueueError;

/// What the server answered, where it did: its code and its own words.
pub(super) fn said(error: &Error) -> Option<(&AMQPErrorKind, &str)> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some((error.kind(), error.get_message().as_str())),
        _ => None,
    }
}

pub(super) fn is(error: &Error, kind: AMQPSoftError) -> bool {
    said(error).is_some_and(|(known, _)| *known == AMQPErrorKind::Soft(kind))
}

/// Of a connection that cannot be made.
pub(super) fn connecting(place: &str, error: &Error) -> QueueError {
    let why = match said(error) {
        Some((AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED), _)) => {
            "the user or the password is wrong: look at \"username\" and \"password\", or at the URL".to_owned()
        }
        Some((AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED), words)) => {
            format!("the virtual host cannot be used ({words}): look at the end of the URL, and at the user's permissions")
        }
        Some((_, words)) => words.to_owned(),
        None => error.to_string(),
    };
    QueueError::Unavailable(format!("cannot connect to {place}: {why}"))
}

/// Of a step on `what`, such as `queue "orders"`.
pub(super) fn doing(what: &str, error: &Error) -> QueueError {
    let why = match said(error) {
        Some((AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND), _)) => {
            "it does not exist: \"windlass queues create\" makes it, or \"topology: declare\" when it is first needed".to_owned()
        }
        Some((AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED), words)) => {
            format!("the user lacks a permission: {words}")
        }
        Some((AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED), words)) => words.to_owned(),
        Some((_, words)) => words.to_owned(),
        None => error.to_string(),
    };
    QueueError::Unavailable(format!("{what}: {why}"))
}
