//! What comes out: CloudEvents 1.0 whose ids stay the same across retries.

use base64::Engine as _;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::object::Object;
use super::{Header, Job, Message};
use crate::outcome::Output;

/// The media type of an event in structured mode.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// What most events have beside their data, in bytes.
const FRAME_SIZE: usize = 512;

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
    [&*job.id, ":", &job.life.replay.to_string(), ":", suffix].concat()
}

struct Ended<'a> {
    kind: &'static str,
    suffix: &'static str,
    data: Option<&'a RawValue>,
    base64: Option<String>,
    now: Timestamp,
}

fn render(job: &Job, pool: &str, ended: Ended<'_>) -> Message {
    let size = ended.data.map_or(0, |data| data.get().len()) + ended.base64.as_ref().map_or(0, String::len);
    let mut body = Vec::with_capacity(FRAME_SIZE + size);
    let mut event = Object::open(&mut body, b"{");
    event.text("specversion", "1.0");
    event.text("id", &end_id(job, ended.suffix));
    event.text("source", &["/windlass/", pool].concat());
    event.text("type", ended.kind);
    event.text("subject", &job.id);
    event.field("time", &ended.now);
    event.text("jobtype", &job.kind);
    event.field("attempt", &job.run_number());
    event.text("tenant", &job.tenant);
    event.text("traceparent", &job.traceparent());
    if let Some(data) = ended.data {
        event.text("datacontenttype", "application/json");
        event.json("data", data.get().as_bytes());
    } else if let Some(base64) = ended.base64 {
        event.text("datacontenttype", "application/octet-stream");
        event.text("data_base64", &base64);
    }
    body.push(b'}');
    let key = job.key.as_ref().map(|key| Bytes::copy_from_slice(key.as_bytes()));
    Message { body: body.into(), key, headers: vec![Header::new("content-type", CONTENT_TYPE)] }
}
