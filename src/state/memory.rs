//! The state store in memory: what it holds ends with the process.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Change, Held, StateError, StateStore, check};
use crate::clock::Clock;

/// What is expired is removed once this many changes were made since.
const SWEEP_EVERY: u64 = 1024;

pub struct MemoryState {
    clock: Clock,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    values: BTreeMap<Arc<str>, Held>,
    /// The last version given out.
    version: u64,
}

impl MemoryState {
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        MemoryState { clock, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lives(&self, held: &Held) -> bool {
        held.expires.is_none_or(|expires| expires > self.clock.now())
    }
}

#[async_trait]
impl StateStore for MemoryState {
    async fn read(&self, keys: &[Arc<str>]) -> Result<Vec<Option<Held>>, StateError> {
        let kept = self.kept();
        Ok(keys.iter().map(|key| kept.values.get(key).filter(|held| self.lives(held)).cloned()).collect())
    }

    async fn change(&self, changes: Vec<Change>) -> Result<bool, StateError> {
        check(&changes)?;
        let mut kept = self.kept();
        let version = |key| kept.values.get(key).filter(|held| self.lives(held)).map(|held| held.version);
        if !changes.iter().all(|change| change.when.holds(version(&change.key))) {
            return Ok(false);
        }
        for Change { key, to, .. } in changes {
            kept.version += 1;
            let version = kept.version;
            match to {
                Some(new) => drop(kept.values.insert(key, Held { value: new.value, version, expires: new.expires })),
                None => drop(kept.values.remove(&key)),
            }
            if version.is_multiple_of(SWEEP_EVERY) {
                kept.values.retain(|_, held| self.lives(held));
            }
        }
        Ok(true)
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(Arc<str>, Held)>, StateError> {
        let kept = self.kept();
        let start = match after.filter(|after| *after >= prefix) {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        let found = kept.values.range::<str, _>((start, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix));
        let living = found.filter(|(_, held)| self.lives(held));
        Ok(living.take(limit).map(|(key, held)| (key.clone(), held.clone())).collect())
    }
}
