//! A job to run in the executors' own tests.

use crate::job::decode::{Decoding, Received, decode};
use crate::job::{Job, Message, Origin};

/// A job of the type `test.job` with this data.
pub fn job(data: serde_json::Value) -> Job {
    let message = Message::of(serde_json::json!({"id": "job-1", "type": "test.job", "data": data}).to_string());
    let received = Received { origin: Origin::default(), published: None, now: jiff::Timestamp::UNIX_EPOCH };
    decode(&message, &Decoding::Envelope, &received).unwrap()
}
