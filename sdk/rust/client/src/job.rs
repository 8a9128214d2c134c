//! Jobs as they are sent, and what comes back of them.

use std::time::Duration;

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// A job to submit. Its id is a new UUIDv7 unless [`NewJob::id`] sets one.
#[derive(Clone, Debug, Serialize)]
pub struct NewJob {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<Batch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Batch {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

impl NewJob {
    /// A job of a type, such as `image.resize`, which a route of the worker takes.
    #[must_use]
    pub fn new(kind: impl Into<String>) -> Self {
        NewJob {
            id: uuid::Uuid::now_v7().to_string(),
            kind: kind.into(),
            version: None,
            data: None,
            data_base64: None,
            key: None,
            tenant: None,
            priority: None,
            not_before: None,
            delay: None,
            deadline: None,
            batch: None,
            traceparent: None,
        }
    }

    /// An id of your own, at most 300 bytes: while the queue knows it, submitting it again adds nothing.
    #[must_use]
    pub fn id(self, id: impl Into<String>) -> Self {
        NewJob { id: id.into(), ..self }
    }

    /// What it is known by, from its making on.
    #[must_use]
    pub fn known_as(&self) -> &str {
        &self.id
    }

    /// The payload.
    #[must_use]
    pub fn json(self, data: Value) -> Self {
        // a value of JSON always has a spelling
        NewJob { data: serde_json::value::to_raw_value(&data).ok(), data_base64: None, ..self }
    }

    /// The payload, as anything that serialises.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn data(self, data: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(NewJob { data: Some(serde_json::value::to_raw_value(data)?), data_base64: None, ..self })
    }

    /// The payload, as any bytes.
    #[must_use]
    pub fn bytes(self, data: &[u8]) -> Self {
        NewJob { data: None, data_base64: Some(base64::engine::general_purpose::STANDARD.encode(data)), ..self }
    }

    /// The version of the type, for routes that tell versions apart.
    #[must_use]
    pub fn version(self, version: impl Into<String>) -> Self {
        NewJob { version: Some(version.into()), ..self }
    }

    /// The ordering or partition key.
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        NewJob { key: Some(key.into()), ..self }
    }

    /// For whom it is done.
    #[must_use]
    pub fn tenant(self, tenant: impl Into<String>) -> Self {
        NewJob { tenant: Some(tenant.into()), ..self }
    }

    /// 0 to 9, 9 first; 4 when absent.
    #[must_use]
    pub fn priority(self, priority: u8) -> Self {
        NewJob { priority: Some(priority), ..self }
    }

    /// Not to be started before this has passed.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        NewJob { delay: Some(spell(delay)), ..self }
    }

    /// Not to be started before this instant, in RFC 3339, such as `2026-11-21T08:00:00Z`; wins over a delay.
    #[must_use]
    pub fn not_before(self, instant: impl Into<String>) -> Self {
        NewJob { not_before: Some(instant.into()), ..self }
    }

    /// Pointless once this has passed, over all attempts.
    #[must_use]
    pub fn deadline(self, after: Duration) -> Self {
        NewJob { deadline: Some(spell(after)), ..self }
    }

    /// The job batch it belongs to, and how many jobs that has, where it is known.
    #[must_use]
    pub fn batch(self, id: impl Into<String>, size: Option<u64>) -> Self {
        NewJob { batch: Some(Batch { id: id.into(), size }), ..self }
    }

    /// The W3C trace context that it continues.
    #[must_use]
    pub fn traceparent(self, traceparent: impl Into<String>) -> Self {
        NewJob { traceparent: Some(traceparent.into()), ..self }
    }
}

fn spell(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// A job that the worker has taken, durably where its queue is.
#[derive(Clone, Debug, Deserialize)]
pub struct Submitted {
    pub id: String,
    pub queue: String,
    /// The id was known: nothing was added.
    pub existing: bool,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Waiting,
    Delayed,
    /// It waits without spending attempts: its target is down, or no route takes it yet.
    Parked,
    Running,
    /// In the dead letters.
    Dead,
    Completed,
    Discarded,
    /// Another system holds it now.
    Moved,
    /// Of a newer worker.
    #[serde(other)]
    Other,
}

impl State {
    /// Whether the job is over.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, State::Completed | State::Dead | State::Discarded | State::Moved)
    }
}

/// A job as the worker shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct Job {
    pub id: String,
    pub queue: String,
    pub state: State,
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// RFC 3339.
    pub submitted: String,
    /// RFC 3339.
    #[serde(default)]
    pub due: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub ended: Option<String>,
    /// Why it is dead.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// The CloudEvent of its end, where the queue keeps it.
    #[serde(default)]
    pub event: Option<Value>,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub struct Ended {
    pub id: String,
    pub queue: String,
    pub state: State,
    /// What the plugin returned: JSON, or for bytes their Base64 as text.
    pub output: Option<Value>,
    pub failure: Option<Failure>,
}

/// Why a job is dead: the part of the failure document that programs act on.
#[derive(Clone, Debug, Deserialize)]
pub struct Failure {
    /// Its class, or `malformed`, `poison`, `order_hold`, `foreign`.
    pub reason: String,
    pub class: String,
    pub message: String,
    pub attempts: u32,
    pub crashes: u32,
}

impl From<Job> for Ended {
    fn from(mut job: Job) -> Self {
        let mut event = job.event.take().filter(|_| job.state == State::Completed);
        let output = event.as_mut().and_then(|event| {
            let data = event.get_mut("data").map(Value::take);
            data.or_else(|| event.get_mut("data_base64").map(Value::take))
        });
        Ended { id: job.id, queue: job.queue, state: job.state, output, failure: job.failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_written_with_what_was_said_of_it_only() {
        let job = NewJob::new("image.resize").id("a").json(serde_json::json!({"w": 1})).delay(Duration::from_secs(2));
        let text = serde_json::to_string(&job).unwrap();
        assert_eq!(text, r#"{"id":"a","type":"image.resize","data":{"w":1},"delay":"2000ms"}"#);
    }

    #[test]
    fn the_id_is_made_once_and_stays_over_clones() {
        let job = NewJob::new("x");
        assert_eq!(job.clone().known_as(), job.known_as());
        assert_ne!(NewJob::new("x").known_as(), job.known_as());
    }

    #[test]
    fn the_output_is_the_data_of_the_event() {
        let json = r#"{"id":"a","queue":"q","state":"completed","submitted":"2026-11-21T00:00:00Z","event":{"data":[1]}}"#;
        let ended = Ended::from(serde_json::from_str::<Job>(json).unwrap());
        assert_eq!(ended.output, Some(serde_json::json!([1])));
        assert!(ended.state.has_ended());
    }

    #[test]
    fn a_state_of_a_newer_worker_is_read_and_is_no_end() {
        assert!(!serde_json::from_str::<State>(r#""hibernating""#).unwrap().has_ended());
    }
}
