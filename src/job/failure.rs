//! The failure document: why a message is dead, in one JSON document of at most 16 KiB beside its untouched bytes.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::life::{LastFailure, Run, shorten};
use super::{Life, Origin};
use crate::outcome::{Class, Reason};

/// The largest failure document, in bytes.
pub const LARGEST: usize = 16 * 1024;
/// The longest failure message kept in it, in bytes; the digest tells longer ones apart.
const LONGEST_MESSAGE: usize = 4096;

/// The value of the header `windlass-failure`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureDocument {
    pub v: u32,
    pub id: Arc<str>,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Arc<str>>,
    pub reason: Reason,
    pub class: Class,
    pub message: String,
    /// SHA-256 of the whole message, in hex, when it was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_digest: Option<String>,
    /// The end of what the last run logged, at most 4 KiB.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_tail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<Arc<str>>,
    pub attempts: u32,
    pub crashes: u32,
    /// The latest failed runs, oldest first.
    pub history: Vec<Run>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<Timestamp>,
    pub last_failure: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    pub replay: u32,
    pub generation: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Timestamp>,
}

/// What ended the job, for [`FailureDocument::new`].
pub struct Death<'a> {
    pub reason: Reason,
    pub class: Class,
    pub message: &'a str,
    pub log_tail: String,
    pub now: Timestamp,
}

impl FailureDocument {
    /// Folds a job's life and its end into one document.
    #[must_use]
    pub fn new(id: &Arc<str>, life: &Life, death: Death<'_>) -> Self {
        let kept = shorten(death.message, LONGEST_MESSAGE);
        let cut = kept.len() < death.message.len();
        FailureDocument {
            v: 1,
            id: id.clone(),
            kind: None,
            tenant: None,
            reason: death.reason,
            class: death.class,
            message: kept.to_owned(),
            message_digest: cut.then(|| hex(&Sha256::digest(death.message.as_bytes()))),
            log_tail: death.log_tail,
            route: None,
            executor: None,
            attempts: life.attempt,
            crashes: life.crashes,
            history: life.history.clone(),
            first_failure: life.first_failure,
            last_failure: death.now,
            origin: life.origin.clone(),
            trace_id: None,
            replay: life.replay,
            generation: life.generation,
            first_seen: life.first_seen,
        }
    }

    /// What it knows of the life that it ended.
    #[must_use]
    pub fn life(&self) -> Life {
        Life {
            v: 1,
            id: Some(self.id.clone()),
            generation: self.generation,
            replay: self.replay,
            attempt: self.attempts,
            crashes: self.crashes,
            first_seen: self.first_seen,
            origin: self.origin.clone(),
            last: Some(LastFailure::new(self.class, &self.message)),
            first_failure: self.first_failure,
            history: self.history.clone(),
            ..Life::default()
        }
    }

    /// The header's value, trimmed to [`LARGEST`]: history first, then the log tail, then the message.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut document = self.clone();
        loop {
            // a struct of plain values cannot fail to serialise
            let json = serde_json::to_vec(&document).unwrap_or_default();
            if json.len() <= LARGEST {
                return json;
            }
            if document.history.len() > 1 {
                document.history.remove(0);
            } else if !document.log_tail.is_empty() {
                let start = document.log_tail.len() / 2;
                let start = (start..=document.log_tail.len()).find(|at| document.log_tail.is_char_boundary(*at));
                document.log_tail.drain(..start.unwrap_or_default().max(1).min(document.log_tail.len()));
            } else {
                document.message = shorten(&document.message, document.message.len() / 2).to_owned();
            }
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(message: &str, log_tail: String) -> FailureDocument {
        let mut life = Life { attempt: 2, ..Life::default() };
        for _ in 0..20 {
            life.note(Run { at: Timestamp::now(), class: Class::Failed, took: 5, worker: "w".repeat(250).into() }, message);
        }
        let death =
            Death { reason: Reason::Class(Class::Failed), class: Class::Failed, message, log_tail, now: Timestamp::now() };
        FailureDocument::new(&"id".into(), &life, death)
    }

    #[test]
    fn the_document_stays_under_sixteen_kibibytes_whatever_it_is_made_of() {
        // control characters grow six-fold in JSON
        let json = document(&"\u{1}".repeat(100_000), "\u{2}é".repeat(1365)).to_json();
        assert!(json.len() <= LARGEST, "{}", json.len());
        let back: FailureDocument = serde_json::from_slice(&json).unwrap();
        assert_eq!((back.attempts, back.reason), (2, Reason::Class(Class::Failed)));
    }

    #[test]
    fn a_cut_message_keeps_a_digest_of_the_whole() {
        assert!(document("short", String::new()).message_digest.is_none());
        let digest = document(&"x".repeat(5000), String::new()).message_digest.unwrap();
        assert_eq!(digest, hex(&Sha256::digest("x".repeat(5000).as_bytes())));
    }
}
