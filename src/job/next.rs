//! The job that comes after one that was done: it has the result as its data.

use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{Batch, Job, LONGEST_ID, Message};
use crate::outcome::Output;

/// What the id of the next job ends with.
const SUFFIX: &str = ":then";

#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    tenant: &'a str,
    priority: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<Batch>,
    traceparent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<&'a str>,
}

/// The id of the job after this one: the same for every repetition of the same end.
#[must_use]
pub fn id(job: &Job) -> Arc<str> {
    if job.id.len() + SUFFIX.len() <= LONGEST_ID {
        return format!("{}{SUFFIX}", job.id).into();
    }
    let digest: String = Sha256::digest(job.id.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digest}{SUFFIX}").into()
}

/// The job after this one as Windlass JSON: tenant, priority, batch and trace are those of the one before.
#[must_use]
pub fn message(job: &Job, kind: &str, key: Option<&str>, output: &Output) -> Message {
    let (data, data_base64) = match output {
        Output::Nothing => (None, None),
        // a plugin's JSON was checked where it came in
        Output::Json(json) => (serde_json::from_slice::<&RawValue>(json).ok(), None),
        Output::Binary(bytes) => (None, Some(base64::engine::general_purpose::STANDARD.encode(bytes))),
    };
    let batch = job.batch.clone().map(|batch| Batch { member: Some(batch.member(&job.id)), ..batch });
    let written = Written {
        v: 1,
        id: &id(job),
        kind,
        data,
        data_base64,
        key,
        tenant: &job.tenant,
        priority: job.priority,
        batch,
        traceparent: &job.traceparent(),
        tracestate: job.tracestate.as_deref(),
    };
    // a struct of plain values cannot fail to serialise
    let body = serde_json::to_vec(&written).unwrap_or_default();
    Message { body: body.into(), key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())), headers: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::decode::{Decoding, Received, decode};
    use crate::job::{Data, Origin};

    fn read(message: &Message) -> Job {
        let received = Received { origin: Origin::default(), published: None, now: jiff::Timestamp::UNIX_EPOCH };
        decode(message, &Decoding::Envelope, &received).unwrap()
    }

    #[test]
    fn the_next_job_carries_on_what_belongs_to_the_whole_chain() {
        let first = read(&Message::of(
            r#"{"id":"a","type":"t","tenant":"acme","key":"k","priority":9,"batch":{"id":"b","size":2},"data":1}"#,
        ));
        let output = Output::Json(Bytes::from_static(br#"{"x":1}"#));
        let second = read(&message(&first, "u", first.key.as_deref(), &output));
        assert_eq!((&*second.id, &*second.kind, &*second.tenant, second.priority), ("a:then", "u", "acme", 9));
        assert_eq!((second.key.as_deref(), second.traceparent()), (Some("k"), first.traceparent()));
        assert_eq!(second.data, Data::Json(Bytes::from_static(br#"{"x":1}"#)));
        let third = read(&message(&second, "v", None, &Output::Binary(Bytes::from_static(b"\xff"))));
        assert_eq!((&*third.id, third.key.as_deref()), ("a:then:then", None));
        assert_eq!(third.data, Data::Binary(Bytes::from_static(b"\xff")));
        let batch = third.batch.unwrap();
        assert_eq!((&*batch.id, batch.size, batch.member.as_deref()), ("b", Some(2), Some("a")));
        assert_eq!(third.traceparent.unwrap(), first.traceparent());
    }

    #[test]
    fn however_long_a_chain_is_its_ids_fit() {
        let mut job = Job::unreadable("x".repeat(290).into());
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            job.id = id(&job);
            assert!(job.id.len() <= LONGEST_ID && seen.insert(job.id.clone()), "{}", job.id);
        }
    }
}
