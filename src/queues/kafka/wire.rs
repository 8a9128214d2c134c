//! A record of Kafka as a message and back: key, body and headers to the byte, and three headers that never leave this kind.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Header as Pair, Headers as _, OwnedHeaders};

use crate::job::{Header, Message};

/// When a delayed or parked record is due, in milliseconds.
const DUE: &str = "windlass-due";
/// The topic a delayed record goes to.
const TO: &str = "windlass-to";
/// The record has no value at all, which is another thing than an empty one: a tombstone.
const NULL: &str = "windlass-null";

/// What a record says beside its message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    pub due: Option<Timestamp>,
    pub to: Option<Arc<str>>,
}

/// Reads a record. A header without a value is read as one with an empty value.
pub fn read(record: &BorrowedMessage<'_>) -> (Message, Beside) {
    let (mut message, mut beside) = (Message::default(), Beside::default());
    message.key = record.key().map(Bytes::copy_from_slice);
    for pair in record.headers().iter().flat_map(|headers| headers.iter()) {
        let value = pair.value.unwrap_or_default();
        match pair.key {
            DUE => beside.due = std::str::from_utf8(value).ok().and_then(millis),
            TO => beside.to = std::str::from_utf8(value).ok().map(Into::into),
            name => message.headers.push(Header::new(name, Bytes::copy_from_slice(value))),
        }
    }
    match record.payload() {
        Some(body) => message.body = Bytes::copy_from_slice(body),
        None => message.set_header(NULL, &b""[..]),
    }
    (message, beside)
}

fn millis(text: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(text.parse().ok()?).ok()
}

/// The headers of a record, and its value.
pub fn write<'m>(message: &'m Message, beside: &Beside) -> (OwnedHeaders, Option<&'m [u8]>) {
    let mut headers = OwnedHeaders::new_with_capacity(message.headers.len() + 2);
    let mut body = Some(&message.body[..]);
    for header in &message.headers {
        if &*header.name == NULL && message.body.is_empty() {
            body = None;
        } else {
            headers = headers.insert(Pair { key: &header.name, value: Some(&header.value[..]) });
        }
    }
    if let Some(due) = beside.due {
        // a part of one counts as a whole one: never too early
        let due = due.as_millisecond() + i64::from(due.subsec_nanosecond() % 1_000_000 > 0);
        headers = headers.insert(Pair { key: DUE, value: Some(&due.to_string()) });
    }
    if let Some(to) = &beside.to {
        headers = headers.insert(Pair { key: TO, value: Some(&**to) });
    }
    (headers, body)
}

/// When the producer published a record, where it says so.
pub fn published(record: &BorrowedMessage<'_>) -> Option<Timestamp> {
    Timestamp::from_millisecond(record.timestamp().to_millis()?).ok()
}
