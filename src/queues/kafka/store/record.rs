//! What lies in the topic of a state store: changes that were proposed, and snapshots of what the ones before came to.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::state::{Change, Held, New, When};

/// The version that is written.
const VERSION: u32 = 1;

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub v: u32,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// All of these, if every condition holds where the record lies in the topic; else none.
    Change { by: Arc<str>, number: u64, changes: Vec<Proposed> },
    /// Values as they were before the record at offset `up_to`, when the time of the topic was `time`.
    Snapshot { id: Arc<str>, values: Vec<Kept> },
    /// The snapshot is whole, if it has so many parts.
    SnapshotEnd { id: Arc<str>, up_to: i64, time: i64, parts: usize },
}

/// What one change of a proposal would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    pub key: Arc<str>,
    when: Condition,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Condition {
    Always,
    Absent,
    Version(u64),
}

/// A value as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub key: Arc<str>,
    version: u64,
    #[serde(flatten)]
    value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Value {
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    value: bytes::Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bytes::Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64.decode(text).map(Into::into).map_err(serde::de::Error::custom)
}

impl What {
    pub fn encode(self) -> Vec<u8> {
        // plain values in memory cannot fail to serialise
        serde_json::to_vec(&Record { v: VERSION, what: self }).unwrap_or_default()
    }

    /// None for what is not ours, which everybody passes over.
    ///
    /// # Errors
    /// A sentence when a newer version wrote it: to pass over it would be to remember something else than others.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, String> {
        #[derive(Deserialize)]
        struct Versioned {
            v: u32,
        }
        let Ok(Versioned { v }) = serde_json::from_slice(bytes) else { return Ok(None) };
        match serde_json::from_slice::<Record>(bytes) {
            _ if v > VERSION => {
                Err(format!("it holds records of version {v}, and this windlass reads {VERSION}: use a newer one"))
            }
            Ok(record) => Ok(Some(record.what)),
            Err(_) => Ok(None),
        }
    }
}

impl From<Change> for Proposed {
    fn from(change: Change) -> Self {
        let when = match change.when {
            When::Always => Condition::Always,
            When::Absent => Condition::Absent,
            When::Version(version) => Condition::Version(version),
        };
        Proposed { key: change.key, when, to: change.to.map(|New { value, expires }| Value { value, expires }) }
    }
}

impl Proposed {
    pub fn when(&self) -> When {
        match self.when {
            Condition::Always => When::Always,
            Condition::Absent => When::Absent,
            Condition::Version(version) => When::Version(version),
        }
    }

    /// The key, and its value as of this version; none when it is removed.
    pub fn kept(self, version: u64) -> (Arc<str>, Option<Held>) {
        let held = self.to.map(|Value { value, expires }| Held { value, version, expires });
        (self.key, held)
    }
}

impl From<(&Arc<str>, &Held)> for Kept {
    fn from((key, held): (&Arc<str>, &Held)) -> Self {
        let value = Value { value: held.value.clone(), expires: held.expires };
        Kept { key: key.clone(), version: held.version, value }
    }
}

impl Kept {
    /// About as many bytes as it is long in a record.
    pub fn weight(&self) -> usize {
        self.key.len() + self.value.value.len() * 4 / 3 + 100
    }

    pub fn held(self) -> (Arc<str>, Held) {
        (self.key, Held { value: self.value.value, version: self.version, expires: self.value.expires })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_not_ours_is_passed_over() {
        let key: Arc<str> = "a/b".into();
        let changes = [Change::put(&key, When::Version(7), &b"\x00\xff"[..]).until(Timestamp::UNIX_EPOCH)];
        let changes: Vec<Proposed> = changes.into_iter().chain([Change::remove(&key, When::Always)]).map(Into::into).collect();
        let held = Held { value: "x".into(), version: 3, expires: None };
        for what in [
            What::Change { by: "w".into(), number: 1, changes },
            What::Snapshot { id: "s".into(), values: vec![Kept::from((&key, &held))] },
            What::SnapshotEnd { id: "s".into(), up_to: 9, time: 1, parts: 1 },
        ] {
            assert_eq!(What::decode(&what.clone().encode()), Ok(Some(what)));
        }
        for other in [&b""[..], b"{}", b"{\"v\":1,\"what\":\"tea\"}", b"\xff"] {
            assert_eq!(What::decode(other), Ok(None));
        }
        assert!(What::decode(br#"{"v":2,"what":"tea"}"#).unwrap_err().contains("use a newer one"));
    }
}
