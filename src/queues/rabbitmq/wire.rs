//! A message as AMQP carries it, and back: body, headers and properties to the byte, the bookkeeping of brokers left out.

pub(super) mod death;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde::Deserialize;

use super::super::carried;
use super::config::Key;
use crate::job::{FAILURE_HEADER, Header, JOB_HEADER, Message};
use crate::ports::{Outgoing, QueueError};

/// The key of a message, where it does not stand elsewhere.
const KEY: &str = "windlass-key";
/// When the message is due, in milliseconds since 1970: to the millisecond, where the delay queues keep whole seconds.
const DUE: &str = "windlass-due";
/// Of headers that are no text, what they were, as long as the message is in our hands.
const TYPES: &str = "amqp-types";
/// Where the sender of a message wants its result, and what it calls it.
pub(super) const REPLY_TO: &str = "amqp-reply-to";
pub(super) const CORRELATION_ID: &str = "amqp-correlation-id";
/// What the properties are called among the headers.
const PROPERTY: &str = "amqp-";
/// The server adds its own frame around; one frame must hold all headers.
const MOST_HEADERS: usize = 120 << 10;
const PERSISTENT: u8 = 2;
/// The longest name of a header that AMQP takes, in bytes.
const LONGEST_NAME: usize = 255;

/// A message that came, and what is known of it.
pub(super) struct Came {
    pub message: Message,
    pub id: Option<Arc<str>>,
    pub published: Option<Timestamp>,
    pub due: Option<Timestamp>,
    /// How often it was delivered before.
    pub deliveries: u32,
}

/// Reads what was delivered.
pub(super) fn read(delivery: lapin::message::Delivery, key: Option<&Key>) -> Came {
    let properties = &delivery.properties;
    let mut came = Came {
        message: Message { body: delivery.data.into(), ..Message::default() },
        id: properties.message_id().as_ref().map(|id| id.as_str().into()),
        published: properties.timestamp().and_then(|seconds| Timestamp::from_second(i64::try_from(seconds).ok()?).ok()),
        due: None,
        deliveries: u32::from(delivery.redelivered),
    };
    let (mut carried, mut types) = (None, BTreeMap::new());
    let table = properties.headers().as_ref().map(FieldTable::inner);
    for (name, value) in table.into_iter().flatten() {
        match name.as_str() {
            "x-delivery-count" => came.deliveries = values::number(value).and_then(|count| count.try_into().ok()).unwrap_or(1),
            DUE => came.due = values::number(value).and_then(|millis| Timestamp::from_millisecond(millis).ok()),
            KEY => came.message.key = Some(values::bytes(value)),
            carried::HEADER => carried = carried::read(&values::bytes(value)),
            name if bookkeeping(name) => {}
            name => {
                came.message.headers.push(Header::new(name, values::bytes(value)));
                if !matches!(value, AMQPValue::LongString(_)) {
                    types.insert(name.to_owned(), value.clone());
                }
            }
        }
    }
    if let Some(mut headers) = carried {
        headers.append(&mut came.message.headers);
        came.message.headers = headers;
    }
    came.message.headers.extend(from_properties(properties));
    if !types.is_empty() {
        // values that were read cannot fail to be written
        came.message.headers.push(Header::new(TYPES, serde_json::to_vec(&types).unwrap_or_default()));
    }
    if came.message.key.is_none() {
        came.message.key = match key {
            Some(Key::RoutingKey) => Some(Bytes::copy_from_slice(delivery.routing_key.as_str().as_bytes())),
            Some(Key::Header(name)) => came.message.header(name).cloned(),
            None => None,
        };
    }
    came
}

/// What brokers note on a message's way. It is never sent again: RabbitMQ reads it back, and drops a second delayed retry
/// as a cycle.
fn bookkeeping(name: &str) -> bool {
    name == "x-death"
        || name == "x-delivery-count"
        || name == "x-acquired-count"
        || name.starts_with("x-first-death-")
        || name.starts_with("x-last-death-")
}

/// The properties that have no place in a [`Message`], as headers. Those that would act again on a copy (`expiration`,
/// `user-id`) stay headers.
fn from_properties(properties: &BasicProperties) -> Vec<Header> {
    let texts = [
        ("content-type", properties.content_type()),
        ("content-encoding", properties.content_encoding()),
        ("correlation-id", properties.correlation_id()),
        ("reply-to", properties.reply_to()),
        ("expiration", properties.expiration()),
        ("type", properties.kind()),
        ("user-id", properties.user_id()),
        ("app-id", properties.app_id()),
    ];
    let header = |name: &str, value: &str| Header::new(&format!("{PROPERTY}{name}"), value.to_owned());
    let texts = texts.into_iter().filter_map(|(name, value)| Some(header(name, value.as_ref()?.as_str())));
    texts.chain(properties.priority().map(|priority| header("priority", &priority.to_string()))).collect()
}

/// Puts a header back where it came from; false when it is no property.
fn to_property(properties: &mut BasicProperties, name: &str, value: &[u8]) -> bool {
    let Some(text) = std::str::from_utf8(value).ok().and_then(|text| ShortString::try_new(text).ok()) else { return false };
    let old = std::mem::take(properties);
    let (new, done) = match name.strip_prefix(PROPERTY) {
        Some("content-type") => (old.with_content_type(text), true),
        Some("content-encoding") => (old.with_content_encoding(text), true),
        Some("correlation-id") => (old.with_correlation_id(text), true),
        Some("reply-to") => (old.with_reply_to(text), true),
        Some("type") => (old.with_type(text), true),
        Some("app-id") => (old.with_app_id(text), true),
        Some("priority") => match text.as_str().parse() {
            Ok(priority) => (old.with_priority(priority), true),
            Err(_) => (old, false),
        },
        _ => (old, false),
    };
    *properties = new;
    done
}

/// The properties of a message to send; `due` where it is to be kept to the millisecond.
///
/// # Errors
/// When no frame could hold them.
pub(super) fn write(outgoing: &Outgoing, due: Option<Timestamp>, key: Option<&Key>) -> Result<BasicProperties, QueueError> {
    let message = &outgoing.message;
    let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let id = outgoing.id.clone().or_else(|| id_of_copy(message));
    if let Some(id) = id.and_then(|id| ShortString::try_new(&*id).ok()) {
        properties = properties.with_message_id(id);
    }
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
    properties = properties.with_timestamp(now);
    let mut table = FieldTable::default();
    let types: BTreeMap<String, AMQPValue> =
        message.header(TYPES).and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default();
    let plain: Vec<&Header> = message
        .headers
        .iter()
        .filter(|header| &*header.name != TYPES && !bookkeeping(&header.name))
        .filter(|header| !to_property(&mut properties, &header.name, &header.value))
        .collect();
    let whole = fits(&plain);
    for header in plain.iter().filter(|header| whole || apart(&header.name)) {
        let typed = types.get(&*header.name).filter(|value| values::bytes(value) == header.value);
        let value = typed.cloned().unwrap_or_else(|| values::text(&header.value));
        table.insert(short(&header.name)?, value);
    }
    if !whole {
        let carried = plain.iter().filter(|header| !apart(&header.name));
        table.insert(short(carried::HEADER)?, values::text(&carried::write(carried)));
    }
    if let Some(bytes) = message.key.as_ref().filter(|bytes| !stands_in(bytes, key, message)) {
        table.insert(short(KEY)?, values::text(bytes));
    }
    if let Some(due) = due {
        // never before its time: rounded up
        table.insert(short(DUE)?, AMQPValue::LongLongInt(due.as_millisecond() + 1));
    }
    let size: usize = table.inner().iter().map(|(name, value)| name.as_str().len() + values::size(value) + 6).sum();
    if size > MOST_HEADERS {
        return Err(QueueError::Refused(format!("its headers have {size} bytes; RabbitMQ takes {MOST_HEADERS} at most")));
    }
    if let Some(priority) = outgoing.priority {
        properties = properties.with_priority(priority);
    }
    Ok(properties.with_headers(table))
}

/// Whether AMQP carries these as they are: each name once.
fn fits(headers: &[&Header]) -> bool {
    let mut names = BTreeSet::new();
    headers.iter().all(|header| !header.name.is_empty() && header.name.len() <= LONGEST_NAME && names.insert(&*header.name))
}

/// Read by people and by other programs, so they stay headers of their own.
fn apart(name: &str) -> bool {
    name == JOB_HEADER || name == FAILURE_HEADER
}

fn short(name: &str) -> Result<ShortString, QueueError> {
    ShortString::try_new(name).map_err(|_| QueueError::Refused(format!("{name:?} is too long for the name of a header")))
}

fn stands_in(bytes: &Bytes, key: Option<&Key>, message: &Message) -> bool {
    matches!(key, Some(Key::Header(name)) if message.header(name) == Some(bytes))
}

/// The id under which a message came first, of a copy that we send.
fn id_of_copy(message: &Message) -> Option<Arc<str>> {
    #[derive(Deserialize)]
    struct Job {
        #[serde(default)]
        origin: Option<Origin>,
    }
    #[derive(Deserialize)]
    struct Origin {
        #[serde(default)]
        id: Option<Arc<str>>,
    }
    serde_json::from_slice::<Job>(message.header(JOB_HEADER)?).ok()?.origin?.id
}

#[cfg(test)]
mod tests;
