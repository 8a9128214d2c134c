//! The documents of the API, as it writes them and as the CLI reads them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::engine::running::RunningJob;
use crate::job::Message;
use crate::ports::Entry;

/// One job: the keys of [`Entry`], and beside them its message and, while it runs here, its run.
#[derive(Debug, Serialize)]
pub struct JobView {
    #[serde(flatten)]
    pub entry: Entry,
    #[serde(flatten)]
    pub beside: Beside,
}

/// What is shown of a job beside its [`Entry`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Beside {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageView>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningJob>,
    /// What a job waits for that a worker has taken: the reasons of `windlass_waiting`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// A message: what is text as text, what is not in Base64.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_base64: Option<String>,
    pub headers: Vec<HeaderView>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderView {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
}

impl From<&Message> for MessageView {
    fn from(message: &Message) -> Self {
        let (body, body_base64) = text_or_base64(&message.body);
        let (key, key_base64) = message.key.as_ref().map_or((None, None), |key| text_or_base64(key));
        let header = |header: &crate::job::Header| {
            let (value, value_base64) = text_or_base64(&header.value);
            HeaderView { name: header.name.to_string(), value, value_base64 }
        };
        MessageView { body, body_base64, key, key_base64, headers: message.headers.iter().map(header).collect() }
    }
}

fn text_or_base64(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

impl JobView {
    #[must_use]
    pub fn new(entry: Entry, running: Option<RunningJob>) -> Self {
        let message = entry.message.as_ref().map(MessageView::from);
        JobView { entry, beside: Beside { message, running, waits_for: None } }
    }
}
