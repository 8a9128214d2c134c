//! What a job looks like where it is sent: its data alone, the whole job, or a CloudEvent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::job::object::Object;
use crate::job::{Data, Job};
use crate::ports::Context;

/// What jobs are sent as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// The data alone, as it came.
    #[default]
    Raw,
    /// The job as JSON, as plugins get it (`docs/plugin-protocol.md`).
    Windlass,
    /// A CloudEvent as one JSON document.
    Cloudevents,
    /// The data alone, the event in headers beside it.
    CloudeventsBinary,
}

/// A job as bytes, and what they are.
#[derive(Clone, Debug)]
pub struct Payload {
    pub content_type: &'static str,
    pub body: Bytes,
}

const JSON: &str = "application/json";

/// The body that a job is sent as; of [`Format::CloudeventsBinary`] the headers are told by [`attributes`].
#[must_use]
pub fn payload(job: &Job, context: &Context, format: Format) -> Payload {
    let mut body = Vec::new();
    match format {
        Format::Raw | Format::CloudeventsBinary => {
            return Payload { content_type: content_type(&job.data), body: job.data.bytes().clone() };
        }
        Format::Windlass => encode_job(&mut body, job, context),
        Format::Cloudevents => encode_event(&mut body, job, context),
    }
    let content_type = if format == Format::Windlass { JSON } else { crate::job::event::CONTENT_TYPE };
    Payload { content_type, body: body.into() }
}

fn content_type(data: &Data) -> &'static str {
    match data {
        Data::Json(_) => JSON,
        Data::Binary(_) => "application/octet-stream",
    }
}

/// Appends the job as a JSON object.
pub fn encode_job(out: &mut Vec<u8>, job: &Job, context: &Context) {
    let mut object = Object::open(out, b"{");
    object.text("id", &job.id);
    object.text("type", &job.kind);
    object.optional_text("version", job.version.as_deref());
    object.optional_text("key", job.key.as_deref());
    object.text("tenant", &job.tenant);
    object.field("priority", &job.priority);
    object.field("attempt", &context.attempt);
    object.optional("deadline", context.deadline.as_ref());
    object.optional("batch", job.batch.as_ref());
    object.text("traceparent", &job.traceparent());
    object.optional_text("tracestate", job.tracestate.as_deref());
    if !job.extensions.is_empty() {
        object.name("extensions");
        let mut extensions = Object::open(object.out, b"{");
        for (name, value) in &job.extensions {
            extensions.json(name, value);
        }
        object.out.push(b'}');
    }
    encode_data(&mut object, job);
    object.out.push(b'}');
}

/// Appends the job as a CloudEvent 1.0 in the JSON format.
fn encode_event(out: &mut Vec<u8>, job: &Job, context: &Context) {
    let mut object = Object::open(out, b"{");
    for (name, value) in attributes(job, context) {
        object.text(name, &value);
    }
    object.text("datacontenttype", content_type(&job.data));
    encode_data(&mut object, job);
    object.out.push(b'}');
}

fn encode_data(object: &mut Object<'_>, job: &Job) {
    match &job.data {
        Data::Json(text) => object.json("data", text),
        Data::Binary(bytes) => object.text("data_base64", &STANDARD.encode(bytes)),
    }
}

/// The attributes of the CloudEvent that a job is sent as, but for the type of its data. Its id is the job's, so that the
/// same event is the same job.
#[must_use]
pub fn attributes(job: &Job, context: &Context) -> Vec<(&'static str, String)> {
    let mut attributes = vec![
        ("specversion", "1.0".to_owned()),
        ("id", job.id.to_string()),
        ("source", source(job)),
        ("type", job.kind.to_string()),
        ("tenant", job.tenant.to_string()),
        ("attempt", context.attempt.to_string()),
        ("traceparent", job.traceparent().to_string()),
    ];
    let optional = [
        ("tracestate", job.tracestate.as_ref().map(ToString::to_string)),
        ("partitionkey", job.key.as_ref().map(ToString::to_string)),
        ("jobversion", job.version.as_ref().map(ToString::to_string)),
        ("deadline", context.deadline.map(|deadline| deadline.to_string())),
        ("batchid", job.batch.as_ref().map(|batch| batch.id.to_string())),
    ];
    attributes.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    attributes
}

/// Of a job that came as a CloudEvent its own.
fn source(job: &Job) -> String {
    let own = job.extensions.iter().find(|(name, _)| &**name == "source");
    own.and_then(|(_, json)| serde_json::from_slice(json).ok()).unwrap_or_else(|| "/windlass".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::executors::fixtures;

    fn context() -> Context {
        Context::new("job-1".into(), "r".into(), Duration::from_secs(1))
    }

    #[test]
    fn a_job_is_an_event_with_its_own_id_and_its_data_untouched() {
        let mut job = fixtures::job(&json!(null));
        job.data = Data::Json(r#"{"n":  1.50}"#.into());
        job.key = Some("k".into());
        job.extensions = vec![("source".into(), "\"/shop\"".into())];
        let Payload { content_type, body } = payload(&job, &context(), Format::Cloudevents);
        assert_eq!(content_type, "application/cloudevents+json");
        assert!(body.windows(20).any(|at| at == br#""data":{"n":  1.50}}"#), "{body:?}");
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&event["id"], &event["source"], &event["partitionkey"]), (&json!("job-1"), &json!("/shop"), &json!("k")));
        assert_eq!(event["datacontenttype"], "application/json");
    }

    #[test]
    fn bytes_are_sent_as_they_are_or_as_base64() {
        let mut job = fixtures::job(&json!(null));
        job.data = Data::Binary(vec![255, 0].into());
        let raw = payload(&job, &context(), Format::Raw);
        assert_eq!((raw.content_type, &raw.body[..]), ("application/octet-stream", &[255, 0][..]));
        for format in [Format::Windlass, Format::Cloudevents] {
            let whole: Value = serde_json::from_slice(&payload(&job, &context(), format).body).unwrap();
            assert_eq!(whole["data_base64"], "/wA=");
        }
    }
}
