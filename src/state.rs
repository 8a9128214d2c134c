//! The port of the state store: small durable values by key, for what must be remembered beyond one job.

pub mod memory;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

/// The longest key, in bytes.
pub const LONGEST_KEY: usize = 4096;
/// The largest value, in bytes.
pub const LARGEST_VALUE: usize = 1 << 20;
/// The most keys that one call reads or changes.
pub const MOST_AT_ONCE: usize = 1000;

/// A value as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub value: Bytes,
    /// Differs from every other version that this key has had.
    pub version: u64,
    /// When it is forgotten.
    pub expires: Option<Timestamp>,
}

/// What is to become of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: Arc<str>,
    pub when: When,
    /// None removes the key.
    pub to: Option<New>,
}

/// Under which condition a key is changed. An expired value is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    Absent,
    /// Nobody has changed it since it was read.
    Version(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    pub value: Bytes,
    pub expires: Option<Timestamp>,
}

/// The store is down, cut off or full: try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StateError(pub String);

/// Keeps values by key. Keys are compared by their bytes.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// The values of at most [`MOST_AT_ONCE`] keys, in their order, all of one moment.
    async fn read(&self, keys: &[Arc<str>]) -> Result<Vec<Option<Held>>, StateError>;

    /// Makes at most [`MOST_AT_ONCE`] changes, all or none, durably where the store is. False, and nothing is changed,
    /// when a condition does not hold.
    async fn change(&self, changes: Vec<Change>) -> Result<bool, StateError>;

    /// At most `limit` keys that start with `prefix`, in order, after the key `after`.
    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(Arc<str>, Held)>, StateError>;
}

impl dyn StateStore {
    /// The value of one key.
    ///
    /// # Errors
    /// When the store cannot be asked now.
    pub async fn get(&self, key: &Arc<str>) -> Result<Option<Held>, StateError> {
        Ok(self.read(std::slice::from_ref(key)).await?.pop().flatten())
    }
}

impl Change {
    /// Writes a value under a condition.
    pub fn put(key: &Arc<str>, when: When, value: impl Into<Bytes>) -> Self {
        Change { key: key.clone(), when, to: Some(New { value: value.into(), expires: None }) }
    }

    #[must_use]
    pub fn remove(key: &Arc<str>, when: When) -> Self {
        Change { key: key.clone(), when, to: None }
    }

    /// Has the new value forgotten at `at`.
    #[must_use]
    pub fn until(mut self, at: Timestamp) -> Self {
        if let Some(new) = &mut self.to {
            new.expires = Some(at);
        }
        self
    }

    /// Has the new value forgotten `span` after `now`.
    #[must_use]
    pub fn for_the_next(self, span: Duration, now: Timestamp) -> Self {
        self.until(crate::clock::after(now, span))
    }
}

impl When {
    /// The condition that nothing has changed since `held` was read.
    #[must_use]
    pub fn unchanged(held: Option<&Held>) -> Self {
        held.map_or(When::Absent, |held| When::Version(held.version))
    }

    #[must_use]
    pub fn holds(self, version: Option<u64>) -> bool {
        match self {
            When::Always => true,
            When::Absent => version.is_none(),
            When::Version(expected) => version == Some(expected),
        }
    }
}

/// A key of several parts; whatever stands in a part, no two lists of parts make the same key.
#[must_use]
pub fn key(parts: &[&str]) -> Arc<str> {
    let mut key = String::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            key.push('/');
        }
        for c in part.chars() {
            match c {
                '%' => key.push_str("%25"),
                '/' => key.push_str("%2F"),
                c => key.push(c),
            }
        }
    }
    key.into()
}

/// What [`key`] made a part of.
#[must_use]
pub fn part(escaped: &str) -> String {
    escaped.replace("%2F", "/").replace("%25", "%")
}

/// Refuses what no store keeps.
///
/// # Errors
/// The sentence that says what is too large.
pub fn check(changes: &[Change]) -> Result<(), StateError> {
    if changes.len() > MOST_AT_ONCE {
        return Err(StateError(format!("{} changes at once; at most {MOST_AT_ONCE} are made", changes.len())));
    }
    for Change { key, to, .. } in changes {
        let size = to.as_ref().map_or(0, |new| new.value.len());
        if key.len() > LONGEST_KEY || size > LARGEST_VALUE {
            let (long, large) = (key.len(), size);
            return Err(StateError(format!(
                "a key of {long} and a value of {large} bytes: at most {LONGEST_KEY} and {LARGEST_VALUE}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_key_stay_apart_whatever_stands_in_them() {
        assert_eq!(&*key(&["batch", "a/b%", "x"]), "batch/a%2Fb%25/x");
        assert_ne!(key(&["a/b", "c"]), key(&["a", "b/c"]));
        for text in ["a/b%2F%", "%25", "%%2F2F"] {
            assert_eq!(part(&key(&[text])), text);
        }
    }
}
