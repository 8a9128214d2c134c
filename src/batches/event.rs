//! The events of a batch: CloudEvents 1.0 whose ids stay the same however often they are published.

use jiff::Timestamp;
use serde::Serialize;

use super::Standing;
use crate::job::event::CONTENT_TYPE;
use crate::job::{Header, Message};

#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    subject: &'a str,
    time: Timestamp,
    datacontenttype: &'static str,
    data: &'a Standing,
}

/// The event `windlass.batch.<kind>` with the id `<batch>:<suffix>`.
pub(super) fn render(batch: &str, kind: &str, suffix: &str, standing: &Standing, now: Timestamp) -> Vec<u8> {
    super::write(&Event {
        specversion: "1.0",
        id: id(batch, suffix),
        source: format!("/windlass/{}", standing.pool),
        kind: format!("windlass.batch.{kind}"),
        subject: batch,
        time: now,
        datacontenttype: "application/json",
        data: standing,
    })
}

pub(super) fn id(batch: &str, suffix: &str) -> String {
    format!("{batch}:{suffix}")
}

pub(super) fn message(event: impl Into<bytes::Bytes>) -> Message {
    Message { body: event.into(), key: None, headers: vec![Header::new("content-type", CONTENT_TYPE)] }
}
