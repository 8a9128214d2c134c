//! What has happened to a job so far, carried by every copy of its message in the header `windlass-job`.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Origin;
use crate::outcome::Class;

/// The latest runs kept in the history of a job; older ones are counted, not listed.
const HISTORY: usize = 20;
/// The longest failure message carried along, in bytes: the header stays under 4 KiB.
const LONGEST_MESSAGE: usize = 300;

/// The content of `windlass-job`. Keys it does not know are kept and written again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Life {
    #[serde(default = "version")]
    pub v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Arc<str>>,
    /// Counts every copy we publish.
    #[serde(default)]
    pub generation: u32,
    /// How often an operator has replayed it from a dead-letter queue.
    #[serde(default)]
    pub replay: u32,
    /// Counted failed runs.
    #[serde(default)]
    pub attempt: u32,
    /// Runs that took their host process with them.
    #[serde(default)]
    pub crashes: u32,
    /// A durable start mark: if the worker dies now, this job did it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspect: bool,
    /// Its next run must share its host process with no other: the last host died with several jobs in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub park: Option<Parked>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastFailure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<Timestamp>,
    /// The latest runs that failed, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Run>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

fn version() -> u32 {
    1
}

/// Why a job waits without spending attempts, and since when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parked {
    pub reason: Class,
    pub since: Timestamp,
    /// How often it was parked in a row for this reason.
    pub count: u32,
    /// The round of tries in which it was parked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastFailure {
    pub class: Class,
    pub message: String,
}

impl LastFailure {
    /// Of a message of any length, its beginning.
    #[must_use]
    pub fn new(class: Class, message: &str) -> Self {
        LastFailure { class, message: shorten(message, LONGEST_MESSAGE).into() }
    }
}

/// One failed run, as the failure document lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub at: Timestamp,
    pub class: Class,
    /// Milliseconds.
    pub took: u64,
    pub worker: Arc<str>,
}

impl Life {
    /// The next life of a job that an operator replays: what is to be counted begins anew.
    #[must_use]
    pub fn replayed(self) -> Self {
        Life {
            generation: self.generation + 1,
            replay: self.replay + 1,
            attempt: 0,
            crashes: 0,
            suspect: false,
            due: None,
            park: None,
            last: None,
            first_failure: None,
            history: Vec::new(),
            ..self
        }
    }

    /// Notes a failed run: what it was last, and one more line of history.
    pub fn note(&mut self, run: Run, message: &str) {
        self.last_was(run.class, message);
        self.first_failure.get_or_insert(run.at);
        self.history.push(run);
        if self.history.len() > HISTORY {
            self.history.remove(0);
        }
    }

    /// Notes why it did not run through, counted or not, for whoever asks what it waits for.
    pub fn last_was(&mut self, class: Class, message: &str) {
        self.last = Some(LastFailure::new(class, message));
    }

    /// The header's value: JSON of at most 4 KiB.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut life = self.clone();
        life.v = 1;
        loop {
            // a struct of plain values cannot fail to serialise
            let json = serde_json::to_vec(&life).unwrap_or_default();
            if json.len() <= 4096 || life.history.is_empty() {
                return json;
            }
            life.history.remove(0);
        }
    }
}

/// The longest prefix of `text` of at most `bytes` bytes that ends at a character.
#[must_use]
pub fn shorten(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_newer_version_survive_a_rewrite() {
        let life: Life = serde_json::from_str(r#"{"v":2,"attempt":3,"colour":"red"}"#).unwrap();
        assert_eq!(life.attempt, 3);
        let again: Value = serde_json::from_slice(&life.to_json()).unwrap();
        assert_eq!(again["colour"], "red");
    }

    #[test]
    fn the_header_stays_under_four_kibibytes_however_long_the_history() {
        let mut life = Life::default();
        for _ in 0..100 {
            let run = Run { at: Timestamp::now(), class: Class::Failed, took: 1_000_000, worker: "w".repeat(200).into() };
            life.note(run, &"é".repeat(5000));
        }
        assert!(life.to_json().len() <= 4096);
        assert!(!life.history.is_empty());
    }
}
