//! A job and the message that carries it: what upstream publishes, decoded once, never rewritten.

pub mod decode;
pub mod event;
pub mod failure;
pub mod life;
pub mod next;
pub mod object;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use decode::{Decoding, Malformed};
pub use failure::FailureDocument;
pub use life::Life;

/// The header that carries a job's [`Life`] from copy to copy.
pub const JOB_HEADER: &str = "windlass-job";
/// The one header a dead letter adds: its [`FailureDocument`].
pub const FAILURE_HEADER: &str = "windlass-failure";
/// The longest job id, in bytes.
pub const LONGEST_ID: usize = 300;
/// The priority of a job that names none; 9 goes first, 0 last.
pub const DEFAULT_PRIORITY: u8 = 4;

/// One header of a message. Names may repeat and values need not be text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub name: Arc<str>,
    pub value: Bytes,
}

impl Header {
    pub fn new(name: &str, value: impl Into<Bytes>) -> Self {
        Header { name: name.into(), value: value.into() }
    }
}

/// Bytes, headers and key, as a broker carries them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub body: Bytes,
    pub key: Option<Bytes>,
    pub headers: Vec<Header>,
}

impl Message {
    pub fn of(body: impl Into<Bytes>) -> Self {
        Message { body: body.into(), ..Message::default() }
    }

    /// The value of the first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find(|header| &*header.name == name).map(|header| &header.value)
    }

    /// Replaces every header of this name by one.
    pub fn set_header(&mut self, name: &str, value: impl Into<Bytes>) {
        self.remove_header(name);
        self.headers.push(Header::new(name, value));
    }

    pub fn remove_header(&mut self, name: &str) {
        self.headers.retain(|header| &*header.name != name);
    }

    /// What the message costs of the byte budget: body, key and headers.
    #[must_use]
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
        self.body.len() + self.key.as_ref().map_or(0, Bytes::len) + headers
    }
}

/// Where a message was first taken from; names a job that has no id of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub queue: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Arc<str>>,
}

/// A job's payload: JSON text as it was written, or any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    Json(Bytes),
    Binary(Bytes),
}

impl Data {
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match self {
            Data::Json(bytes) | Data::Binary(bytes) => bytes,
        }
    }
}

/// The job batch a job was submitted in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    pub id: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Which of the batch's jobs this one goes on for, where it comes after another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Arc<str>>,
}

impl Batch {
    /// Under which id the job `id` is counted.
    #[must_use]
    pub fn member(&self, id: &Arc<str>) -> Arc<str> {
        self.member.clone().unwrap_or_else(|| id.clone())
    }
}

/// A decoded message: what is to be done, for whom, until when, and what has happened to it so far.
#[derive(Clone, Debug)]
pub struct Job {
    /// Unique with its source; at most [`LONGEST_ID`] bytes.
    pub id: Arc<str>,
    /// Dotted name that a route matches, such as `image.resize`.
    pub kind: Arc<str>,
    pub version: Option<Arc<str>>,
    pub data: Data,
    pub key: Option<Arc<str>>,
    pub tenant: Arc<str>,
    /// 0 to 9, 9 first.
    pub priority: u8,
    /// Not to be started before this time, as its producer asked.
    pub not_before: Option<Timestamp>,
    /// Absolute, over all attempts.
    pub deadline: Option<Timestamp>,
    pub batch: Option<Batch>,
    pub traceparent: Option<Arc<str>>,
    pub tracestate: Option<Arc<str>>,
    /// Keys of the message that are not ours, as JSON text, handed on to the plugin.
    pub extensions: Vec<(Arc<str>, Bytes)>,
    pub life: Life,
}

/// Appends two lower-case digits for each byte.
fn hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

impl Job {
    /// A stand-in for a message that cannot be decoded, so that its end has a name.
    #[must_use]
    pub fn unreadable(id: Arc<str>) -> Self {
        Job {
            id,
            kind: "".into(),
            version: None,
            data: Data::Binary(Bytes::new()),
            key: None,
            tenant: "default".into(),
            priority: DEFAULT_PRIORITY,
            not_before: None,
            deadline: None,
            batch: None,
            traceparent: None,
            tracestate: None,
            extensions: Vec::new(),
            life: Life::default(),
        }
    }

    /// The number of the run that starts now: 1 for the first.
    #[must_use]
    pub fn run_number(&self) -> u32 {
        self.life.attempt + self.life.crashes + 1
    }

    /// When this job may run: what a retry or an operator said last, else what its producer asked.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.life.due.or(self.not_before)
    }

    /// The W3C trace context to hand on. Without one from upstream it is derived from the job's id, so that every
    /// attempt and every event of the job fall into one trace without storing anything.
    #[must_use]
    pub fn traceparent(&self) -> Arc<str> {
        self.traceparent.clone().unwrap_or_else(|| {
            let trace = xxhash_rust::xxh3::xxh3_128(self.id.as_bytes()).max(1);
            let span = xxhash_rust::xxh3::xxh3_64(self.id.as_bytes()).max(1);
            let mut text = String::with_capacity(55);
            text.push_str("00-");
            hex(&mut text, &trace.to_be_bytes());
            text.push('-');
            hex(&mut text, &span.to_be_bytes());
            text.push_str("-01");
            text.into()
        })
    }
}
