//! A message as SQS carries it, and back: body, key and headers to the byte, at most three attributes of our own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{Message as Received, MessageAttributeValue, MessageSystemAttributeName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::carried;
use super::group;
use crate::job::{FAILURE_HEADER, Header, JOB_HEADER, Message};
use crate::ports::{Outgoing, QueueError};

/// What there is to say of a message beside its headers.
const META: &str = "windlass-meta";
/// Of attributes that are no strings, what they were, as long as the message is in our hands.
const TYPES: &str = "sqs-types";
/// The message group of a message in a standard queue, where its producer set one.
pub(super) const GROUP: &str = "sqs-group";
/// The most attributes of a message.
const MOST: usize = 10;
/// The largest message: body and attributes.
pub(super) const LARGEST: usize = 1 << 20;

/// Our notes on a message.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Meta {
    /// The id that it was sent under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Arc<str>>,
    /// In milliseconds since 1970, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The key in base64, where it is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Spelling>,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Spelling {
    Base64,
    Empty,
}

/// A message that came, and what is known of it.
pub(super) struct Came {
    pub message: Message,
    /// Of the message in the server: the same at each delivery.
    pub message_id: Arc<str>,
    /// The id that it was sent under, or that of the server.
    pub id: Arc<str>,
    pub handle: Arc<str>,
    pub published: Option<Timestamp>,
    pub due: Option<Timestamp>,
    /// How often it was delivered before.
    pub deliveries: u32,
}

/// Reads what was delivered; none when it has no body or no handle, which no server sends.
pub(super) fn read(received: Received, fifo: bool) -> Option<Came> {
    let system = |name: &MessageSystemAttributeName| received.attributes.as_ref()?.get(name).cloned();
    let number = |name| system(&name).and_then(|text| text.parse::<i64>().ok());
    let group = system(&MessageSystemAttributeName::MessageGroupId);
    let deliveries = number(MessageSystemAttributeName::ApproximateReceiveCount).unwrap_or(1).saturating_sub(1);
    let published = number(MessageSystemAttributeName::SentTimestamp).and_then(|at| Timestamp::from_millisecond(at).ok());
    let message_id: Arc<str> = received.message_id?.into();
    let (meta, headers) = headers(received.message_attributes.unwrap_or_default());
    let mut message = Message { headers, key: meta.key(), ..Message::default() };
    let body = received.body?;
    message.body = match meta.body {
        None => body.into(),
        Some(Spelling::Empty) => Bytes::new(),
        // not of our making after all
        Some(Spelling::Base64) => STANDARD.decode(&body).map_or_else(|_| body.clone().into(), Bytes::from),
    };
    match group {
        Some(group) if fifo && !group::is_ours(&group) => drop(message.key.get_or_insert_with(|| group.into())),
        Some(group) if !fifo && group::of_tenant(&message.body).as_ref() != Some(&group) => {
            message.headers.push(Header::new(GROUP, group));
        }
        _ => {}
    }
    Some(Came {
        message,
        id: meta.id.unwrap_or_else(|| message_id.clone()),
        message_id,
        handle: received.receipt_handle?.into(),
        published,
        due: meta.due.and_then(|due| Timestamp::from_millisecond(due).ok()),
        deliveries: deliveries.try_into().unwrap_or_default(),
    })
}

impl Meta {
    fn key(&self) -> Option<Bytes> {
        let binary = self.key_base64.as_ref().and_then(|key| STANDARD.decode(key).ok());
        binary.map(Bytes::from).or_else(|| self.key.clone().map(Bytes::from))
    }
}

fn headers(attributes: HashMap<String, MessageAttributeValue>) -> (Meta, Vec<Header>) {
    let (mut meta, mut headers, mut types, mut before) = (Meta::default(), Vec::new(), BTreeMap::new(), None);
    for (name, value) in attributes.into_iter().collect::<BTreeMap<_, _>>() {
        let bytes = match (value.string_value, value.binary_value) {
            (Some(text), _) => Bytes::from(text),
            (None, Some(blob)) => blob.into_inner().into(),
            (None, None) => Bytes::new(),
        };
        match &*name {
            META => meta = serde_json::from_slice(&bytes).unwrap_or_default(),
            carried::HEADER => before = carried::read(&bytes),
            _ => {
                if value.data_type != "String" {
                    types.insert(name.clone(), value.data_type);
                }
                headers.push(Header::new(&name, bytes));
            }
        }
    }
    if let Some(mut carried) = before {
        carried.append(&mut headers);
        headers = carried;
    }
    if !types.is_empty() {
        // texts cannot fail to be written
        headers.push(Header::new(TYPES, serde_json::to_vec(&types).unwrap_or_default()));
    }
    (meta, headers)
}

/// A message to send.
#[derive(Clone)]
pub(super) struct Written {
    pub body: String,
    pub attributes: HashMap<String, MessageAttributeValue>,
    pub group: Option<String>,
    pub deduplication: Option<String>,
    /// As the service counts: the body, and the names, types and values of all attributes.
    pub size: usize,
}

/// Spells a message; `due` where it is to be kept to the millisecond.
///
/// # Errors
/// When it is too large.
pub(super) fn write(outgoing: &Outgoing, due: Option<Timestamp>, fifo: bool) -> Result<Written, QueueError> {
    let message = &outgoing.message;
    let mut meta = Meta { id: outgoing.id.clone(), due: due.map(|due| due.as_millisecond() + 1), ..Meta::default() };
    let body = match std::str::from_utf8(&message.body) {
        Ok("") => {
            meta.body = Some(Spelling::Empty);
            "-".to_owned()
        }
        Ok(text) if carries(text) => text.to_owned(),
        _ => {
            meta.body = Some(Spelling::Base64);
            STANDARD.encode(&message.body)
        }
    };
    let group = group::of(message, fifo);
    // a key that is the group need not be said twice
    if let Some(key) = message.key.as_ref().filter(|key| !fifo || group.as_deref().map(str::as_bytes) != Some(key)) {
        match std::str::from_utf8(key) {
            Ok(text) if carries(text) => meta.key = Some(text.to_owned()),
            _ => meta.key_base64 = Some(STANDARD.encode(key)),
        }
    }
    let mut attributes = attributes(message);
    if meta != Meta::default() {
        // plain values cannot fail to be written
        let notes = serde_json::to_string(&meta).unwrap_or_default();
        attributes.extend(string(&notes).map(|notes| (META.to_owned(), notes)));
    }
    let size = body.len() + attributes.iter().map(|(name, value)| name.len() + size_of(value)).sum::<usize>();
    let deduplication = fifo.then(|| group::deduplication(outgoing));
    if size > LARGEST {
        let spelled = if meta.body == Some(Spelling::Base64) { " (its body is no text, and goes as base64)" } else { "" };
        return Err(QueueError::Refused(format!(
            "the message has {size} bytes with its headers{spelled}; SQS takes {LARGEST}: send a reference to what is larger"
        )));
    }
    Ok(Written { body, attributes, group, deduplication, size })
}

/// The headers as attributes, or those that cannot be in one of them.
fn attributes(message: &Message) -> HashMap<String, MessageAttributeValue> {
    let types: BTreeMap<String, String> =
        message.header(TYPES).and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default();
    let headers = message.headers.iter().filter(|header| &*header.name != GROUP);
    let (ours, mut theirs): (Vec<_>, Vec<_>) = headers.partition(|header| apart(header));
    let mut names = BTreeSet::new();
    let mut single = theirs.iter().filter(|header| &*header.name != TYPES);
    let whole = single.clone().count() + ours.len() < MOST // one more for our notes
        && single.all(|header| names.insert(&*header.name) && attribute(header, &types).is_some());
    let text = |header: &&Header| string(std::str::from_utf8(&header.value).ok()?);
    let mut attributes: HashMap<_, _> = ours.iter().filter_map(|header| Some((header.name.to_string(), text(header)?))).collect();
    if whole {
        theirs.retain(|header| &*header.name != TYPES);
        attributes.extend(theirs.iter().filter_map(|header| Some((header.name.to_string(), attribute(header, &types)?))));
    } else {
        let list = String::from_utf8(carried::write(theirs.iter())).ok();
        attributes.extend(list.and_then(|list| Some((carried::HEADER.to_owned(), string(&list)?))));
    }
    attributes
}

/// Read by people and by other programs, so they stay attributes of their own.
fn apart(header: &Header) -> bool {
    (*header.name == *JOB_HEADER || *header.name == *FAILURE_HEADER) && std::str::from_utf8(&header.value).is_ok()
}

/// None when it cannot be one.
fn attribute(header: &Header, types: &BTreeMap<String, String>) -> Option<MessageAttributeValue> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let (name, lower) = (&*header.name, header.name.to_ascii_lowercase());
    let named = (1..=256).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && !lower.starts_with("aws.")
        && !lower.starts_with("amazon.")
        && ![META, carried::HEADER].contains(&name);
    if !named || header.value.is_empty() {
        return None;
    }
    let data_type = types.get(name).map_or("String", String::as_str);
    let value = MessageAttributeValue::builder().data_type(data_type);
    if data_type.starts_with("Binary") {
        return value.binary_value(Blob::new(header.value.to_vec())).build().ok();
    }
    let text = std::str::from_utf8(&header.value).ok().filter(|text| carries(text))?;
    value.string_value(text).build().ok()
}

/// A string attribute of JSON, which has escaped all but two characters.
fn string(json: &str) -> Option<MessageAttributeValue> {
    let text = json.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff");
    MessageAttributeValue::builder().data_type("String").string_value(text).build().ok()
}

fn size_of(value: &MessageAttributeValue) -> usize {
    let text = value.string_value.as_ref().map_or(0, String::len);
    value.data_type.len() + text + value.binary_value.as_ref().map_or(0, |blob| blob.as_ref().len())
}

/// Whether SQS carries each character of a text.
fn carries(text: &str) -> bool {
    text.chars()
        .all(|character| !matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}'))
}

#[cfg(test)]
mod tests;
