//! The guards of a process, by executor, and what operators hold open beyond its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::breaker::Settings;
use super::guard::{Guard, GuardReport, Hold};
use crate::state::{Change, StateError, StateStore, When, key, part};

/// The prefix of the keys in the store.
const HOLD: &str = "breaker-hold";

/// The guards of a process.
#[derive(Default)]
pub struct Guards {
    known: Mutex<Known>,
    /// Where holds are remembered; none where nothing outlives the process.
    state: Option<Arc<dyn StateStore>>,
    /// Held while a breaker is turned: the store and the guard are told of the same turn last.
    turning: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    guards: BTreeMap<Arc<str>, Arc<Guard>>,
    holds: BTreeMap<Arc<str>, Hold>,
}

/// Why a breaker was not turned, or not for good.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotTurned {
    #[error("there is no executor {name:?}; there are: {}", .there.join(", "))]
    Unknown { name: String, there: Vec<String> },
    #[error("the executor {0} has no breaker: its config says breaker: off")]
    Off(String),
    #[error("the breaker of {name} {state} until this worker ends, and may be otherwise after it: {why}; say it again")]
    Forgotten { name: String, state: &'static str, why: StateError },
}

impl Guards {
    /// Guards whose holds are remembered in `state`, with those of before.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn remembering(state: Arc<dyn StateStore>) -> Result<Self, StateError> {
        let (prefix, mut after, mut holds) = (format!("{HOLD}/"), None, BTreeMap::new());
        loop {
            let page = state.scan(&prefix, after.as_deref(), 100).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.to_string());
            for (place, held) in &page {
                let executor: Arc<str> = part(place.strip_prefix(&prefix).unwrap_or_default()).into();
                match serde_json::from_slice(&held.value) {
                    Ok(hold) => drop(holds.insert(executor, hold)),
                    Err(error) => {
                        tracing::warn!(%executor, "it is not known who holds its breaker open, so it is closed: {error}")
                    }
                }
            }
        }
        let known = Mutex::new(Known { holds, ..Known::default() });
        Ok(Guards { known, state: Some(state), ..Guards::default() })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces them all, as when the config is read: an executor that keeps its settings keeps its guard, and what an
    /// operator holds open stays so.
    pub fn set(
        &self,
        guards: impl IntoIterator<Item = (Arc<str>, Option<Settings>)>,
        make: impl Fn(&str, Option<Settings>) -> Arc<Guard>,
    ) {
        let mut known = self.known();
        let next = guards.into_iter().map(|(name, settings)| {
            let kept = known.guards.get(&name).filter(|guard| guard.settings() == settings).cloned();
            let guard = kept.unwrap_or_else(|| {
                let guard = make(&name, settings);
                known.holds.get(&name).into_iter().for_each(|hold| guard.hold(hold));
                guard
            });
            (name, guard)
        });
        known.guards = next.collect();
    }

    #[must_use]
    pub fn get(&self, executor: &str) -> Option<Arc<Guard>> {
        self.known().guards.get(executor).cloned()
    }

    #[must_use]
    pub fn all(&self) -> Vec<Arc<Guard>> {
        self.known().guards.values().cloned().collect()
    }

    /// The guards as operators see them.
    #[must_use]
    pub fn reports(&self) -> Vec<GuardReport> {
        self.all().iter().map(|guard| self.report(guard)).collect()
    }

    fn report(&self, guard: &Guard) -> GuardReport {
        let report = guard.report();
        GuardReport { remembered: report.held_by.as_ref().map(|_| self.state.is_some()), ..report }
    }

    /// An operator holds a breaker open, with a hold, or closes it; at once here, and in the store before it is answered.
    ///
    /// # Errors
    /// Why nothing was turned, or that it was and is not remembered.
    pub async fn turn(&self, executor: &str, by: &str, hold: Option<Hold>) -> Result<GuardReport, NotTurned> {
        let _one_at_a_time = self.turning.lock().await;
        let guard = self.get(executor).ok_or_else(|| {
            let there = self.all().iter().map(|guard| guard.name.to_string()).collect();
            NotTurned::Unknown { name: executor.to_owned(), there }
        })?;
        if guard.settings().is_none() {
            return Err(NotTurned::Off(executor.to_owned()));
        }
        match &hold {
            Some(hold) => {
                self.known().holds.insert(executor.into(), hold.clone());
                guard.hold(hold);
            }
            None => {
                self.known().holds.remove(executor);
                guard.close(by);
            }
        }
        let state = if hold.is_some() { "is held open" } else { "is closed" };
        let forgotten = |why| NotTurned::Forgotten { name: executor.to_owned(), state, why };
        self.remember(executor, hold.as_ref()).await.map_err(forgotten)?;
        Ok(self.report(&guard))
    }

    async fn remember(&self, executor: &str, hold: Option<&Hold>) -> Result<(), StateError> {
        let Some(state) = &self.state else { return Ok(()) };
        let place = key(&[HOLD, executor]);
        let change = match hold {
            Some(hold) => {
                let value = serde_json::to_vec(hold).map_err(|error| StateError(error.to_string()))?;
                Change::put(&place, When::Always, value)
            }
            None => Change::remove(&place, When::Always),
        };
        state.change(vec![change]).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
