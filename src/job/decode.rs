//! Three spellings of one job (Windlass JSON, CloudEvents, a raw body) read into one [`Job`] without rewriting a byte.

mod cloudevents;
mod envelope;
pub mod facets;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::{Batch, DEFAULT_PRIORITY, Data, JOB_HEADER, Job, LONGEST_ID, Life, Message, Origin};
use crate::clock;
use crate::units::parse_duration;
use envelope::Envelope;

/// Why a message is no job: dead-lettered as `malformed`, bytes untouched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// How a source's bodies are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Decoding {
    /// Windlass JSON or CloudEvents 1.0, told apart by `specversion`.
    #[default]
    Envelope,
    /// Any body is the data; the type comes from elsewhere.
    Raw(RawType),
}

/// Where a raw message's job type stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawType {
    Constant(Arc<str>),
    Header(String),
    /// A JSON pointer (RFC 6901) into the body.
    Pointer(String),
}

/// What is known of a message beside its bytes.
#[derive(Clone, Debug)]
pub struct Received {
    pub origin: Origin,
    /// When the producer published it, as the broker tells; durations count from here.
    pub published: Option<Timestamp>,
    pub now: Timestamp,
}

/// Reads a message as a job.
///
/// # Errors
/// A sentence that names the key and what it should be.
pub fn decode(message: &Message, decoding: &Decoding, received: &Received) -> Result<Job, Malformed> {
    let life = life_of(message)?;
    let envelope = match decoding {
        Decoding::Envelope => match cloudevents::binary(message)? {
            Some(envelope) => envelope,
            None => Envelope::parse(&message.body).map_err(Malformed)?,
        },
        Decoding::Raw(rule) => raw(message, rule)?,
    };
    assemble(envelope, message, life, received)
}

/// The header `windlass-job` of a message, or a new life.
///
/// # Errors
/// When the header is there and cannot be read: its attempts must not be forgotten silently.
pub fn life_of(message: &Message) -> Result<Life, Malformed> {
    match message.header(JOB_HEADER) {
        None => Ok(Life { v: 1, ..Life::default() }),
        Some(json) => serde_json::from_slice(json).map_err(|error| Malformed(format!("header {JOB_HEADER}: {error}"))),
    }
}

fn assemble(envelope: Envelope<'_>, message: &Message, mut life: Life, received: &Received) -> Result<Job, Malformed> {
    let kind = envelope
        .kind
        .filter(|kind| !kind.0.is_empty())
        .ok_or_else(|| Malformed("type: missing: every job names its type, such as \"type\": \"image.resize\"".into()))?;
    // a copy of ours was published later than the job
    let submitted = life.first_seen.or(received.published).unwrap_or(received.now);
    life.first_seen.get_or_insert(submitted);
    life.origin.get_or_insert_with(|| received.origin.clone());
    let not_before = match (&envelope.not_before, &envelope.delay) {
        (Some(text), _) => Some(timestamp("not_before", text)?),
        (None, Some(text)) => Some(clock::after(submitted, duration("delay", text)?)),
        (None, None) => None,
    };
    let named = envelope.id.is_some();
    let id = id_of(envelope.id, &life, received)?;
    if !named {
        life.id.get_or_insert_with(|| id.clone()); // a copy lies elsewhere, and is named as the first was
    }
    let key = match envelope.key {
        Some(key) => Some(key.shared()),
        None => message.key.as_ref().map(|key| String::from_utf8_lossy(key).into()),
    };
    Ok(Job {
        id,
        kind: kind.shared(),
        version: envelope.version.map(|text| text.shared()),
        data: data_of(envelope.data, envelope.data_base64, &message.body)?,
        key,
        tenant: envelope.tenant.map_or_else(|| facets::NO_TENANT.into(), |text| text.shared()),
        priority: priority_of(envelope.priority)?,
        not_before,
        deadline: envelope.deadline.map(|text| deadline(&text, submitted)).transpose()?,
        batch: batch_of(envelope.batch_id, envelope.batch_size, envelope.batch_member)?,
        traceparent: envelope.traceparent.map(|text| text.shared()).or_else(|| text_header(message, "traceparent")),
        tracestate: envelope.tracestate.map(|text| text.shared()).or_else(|| text_header(message, "tracestate")),
        extensions: envelope.extensions.into_iter().map(|(name, raw)| (name.shared(), slice(&message.body, raw))).collect(),
        life,
    })
}

fn id_of(given: Option<envelope::Text<'_>>, life: &Life, received: &Received) -> Result<Arc<str>, Malformed> {
    let id: Arc<str> = match given {
        Some(id) => id.shared(),
        None => match (&life.id, &received.origin) {
            (Some(id), _) => id.clone(),
            (None, Origin { id: Some(id), .. }) => id.clone(),
            (None, Origin { queue, partition: Some(partition), offset: Some(offset), .. }) => {
                format!("{queue}/{partition}/{offset}").into()
            }
            _ => uuid::Uuid::now_v7().to_string().into(),
        },
    };
    match id.len() {
        0 => Err(Malformed("id: empty: leave it out to have one made, or give each job its own".into())),
        1..=LONGEST_ID => Ok(id),
        length => Err(Malformed(format!("id: {length} bytes long; at most {LONGEST_ID} are kept"))),
    }
}

fn priority_of(given: Option<u64>) -> Result<u8, Malformed> {
    match given {
        None => Ok(DEFAULT_PRIORITY),
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked in the pattern")]
        Some(priority @ 0..=9) => Ok(priority as u8),
        Some(other) => Err(Malformed(format!("priority: {other} is outside 0 to 9, 9 first"))),
    }
}

fn batch_of(
    id: Option<envelope::Text<'_>>,
    size: Option<u64>,
    member: Option<envelope::Text<'_>>,
) -> Result<Option<Batch>, Malformed> {
    let Some(id) = id else { return Ok(None) };
    for length in [Some(id.len()), member.as_ref().map(|member| member.len())].into_iter().flatten() {
        if !(1..=LONGEST_ID).contains(&length) {
            return Err(Malformed(format!("batch: an id of {length} bytes; 1 to {LONGEST_ID} are kept")));
        }
    }
    if size == Some(0) {
        return Err(Malformed("batch: a size of 0: this job is in it".into()));
    }
    Ok(Some(Batch { id: id.shared(), size, member: member.map(|member| member.shared()) }))
}

fn data_of(data: Option<&RawValue>, base64: Option<envelope::Text<'_>>, body: &Bytes) -> Result<Data, Malformed> {
    match (data, base64) {
        (Some(_), Some(_)) => Err(Malformed("data and data_base64: give one of them".into())),
        (Some(raw), None) => Ok(Data::Json(slice(body, raw))),
        (None, Some(text)) => base64::engine::general_purpose::STANDARD
            .decode(text.0.as_bytes())
            .map(|bytes| Data::Binary(bytes.into()))
            .map_err(|error| Malformed(format!("data_base64: {error}"))),
        (None, None) => Ok(Data::Json(Bytes::from_static(b"null"))),
    }
}

/// The part of the body that `raw` borrows, shared instead of copied; what was borrowed from elsewhere is copied.
fn slice(body: &Bytes, raw: &RawValue) -> Bytes {
    let text = raw.get().as_bytes();
    let inside = body.as_ptr_range().contains(&text.as_ptr());
    if inside { body.slice_ref(text) } else { Bytes::copy_from_slice(text) }
}

fn text_header(message: &Message, name: &str) -> Option<Arc<str>> {
    let value = message.header(name)?;
    std::str::from_utf8(value).ok().map(Into::into)
}

fn timestamp(key: &str, text: &str) -> Result<Timestamp, Malformed> {
    text.parse().map_err(|_| Malformed(format!("{key}: {text:?} is not an RFC 3339 time, such as \"2026-11-21T08:00:00Z\"")))
}

fn duration(key: &str, text: &str) -> Result<Duration, Malformed> {
    parse_duration(text).map_err(|why| Malformed(format!("{key}: {why}")))
}

fn deadline(text: &str, submitted: Timestamp) -> Result<Timestamp, Malformed> {
    if let Ok(wait) = parse_duration(text) {
        return Ok(clock::after(submitted, wait));
    }
    timestamp("deadline", text).map_err(|Malformed(why)| Malformed(format!("{why}, nor a duration such as \"10m\"")))
}

fn raw<'a>(message: &'a Message, rule: &'a RawType) -> Result<Envelope<'a>, Malformed> {
    let kind = match rule {
        RawType::Constant(kind) => kind.to_string(),
        RawType::Header(name) => {
            let value = message
                .header(name)
                .ok_or_else(|| Malformed(format!("header {name:?}, which holds the job type, is missing")))?;
            String::from_utf8(value.to_vec()).map_err(|_| Malformed(format!("header {name:?} is not UTF-8")))?
        }
        RawType::Pointer(pointer) => {
            let body: serde_json::Value = serde_json::from_slice(&message.body).map_err(|error| Malformed(error.to_string()))?;
            let found = body.pointer(pointer).and_then(serde_json::Value::as_str);
            found.ok_or_else(|| Malformed(format!("no text stands at {pointer:?}, which holds the job type")))?.to_owned()
        }
    };
    let mut envelope = Envelope { kind: Some(envelope::Text(kind.into())), ..Envelope::default() };
    match serde_json::from_slice::<&RawValue>(&message.body) {
        Ok(json) => envelope.data = Some(json),
        Err(_) => {
            let text = base64::engine::general_purpose::STANDARD.encode(&message.body);
            envelope.data_base64 = Some(envelope::Text(text.into()));
        }
    }
    Ok(envelope)
}

#[cfg(test)]
mod tests;
