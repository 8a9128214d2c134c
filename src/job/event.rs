//! What comes out: CloudEvents 1.0 whose ids stay the same across retries.

use base64::Engine as _;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Header, Job, Message};
use crate::outcome::Output;

/// The media type of an event in structured mode.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: &'a str,
    time: Timestamp,
    jobtype: &'a str,
    attempt: u32,
    tenant: &'a str,
    traceparent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

/// The event `windlass.job.completed`; its data is what the plugin returned.
#[must_use]
pub fn completed(job: &Job, pool: &str, output: &Output, now: Timestamp) -> Message {
    let (data, base64) = match output {
        Output::Nothing => (None, None),
        // a plugin's JSON was checked where it came in
        Output::Json(json) => (serde_json::from_slice::<&RawValue>(json).ok(), None),
        Output::Binary(bytes) => (None, Some(base64::engine::general_purpose::STANDARD.encode(bytes))),
    };
    render(job, pool, Ended { kind: "windlass.job.completed", suffix: "completed", data, base64, now })
}

/// The event `windlass.job.failed`; its data is the failure document.
#[must_use]
pub fn failed(job: &Job, pool: &str, document: &[u8], now: Timestamp) -> Message {
    let data = serde_json::from_slice::<&RawValue>(document).ok();
    render(job, pool, Ended { kind: "windlass.job.failed", suffix: "failed", data, base64: None, now })
}

/// The id under which an end of this job is published: the same for every repetition of the same end.
#[must_use]
pub fn end_id(job: &Job, suffix: &str) -> String {
    format!("{}:{}:{suffix}", job.id, job.life.replay)
}

struct Ended<'a> {
    kind: &'static str,
    suffix: &'static str,
    data: Option<&'a RawValue>,
    base64: Option<String>,
    now: Timestamp,
}

fn render(job: &Job, pool: &str, ended: Ended<'_>) -> Message {
    let event = Event {
        specversion: "1.0",
        id: end_id(job, ended.suffix),
        source: format!("/windlass/{pool}"),
        kind: ended.kind,
        subject: &job.id,
        time: ended.now,
        jobtype: &job.kind,
        attempt: job.run_number(),
        tenant: &job.tenant,
        traceparent: &job.traceparent(),
        datacontenttype: match (&ended.data, &ended.base64) {
            (Some(_), _) => Some("application/json"),
            (None, Some(_)) => Some("application/octet-stream"),
            (None, None) => None,
        },
        data: ended.data,
        data_base64: ended.base64,
    };
    // a struct of plain values cannot fail to serialise
    let body = serde_json::to_vec(&event).unwrap_or_default();
    let key = job.key.as_ref().map(|key| Bytes::copy_from_slice(key.as_bytes()));
    Message { body: body.into(), key, headers: vec![Header::new("content-type", CONTENT_TYPE)] }
}
