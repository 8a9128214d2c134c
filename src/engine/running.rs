//! The jobs that run now: looked up by operators, cancelled by them or by the stop.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ports::Context;

type Key = (Arc<str>, Arc<str>);

/// The registry of running jobs, by queue and id.
#[derive(Default)]
pub struct Running {
    jobs: Mutex<HashMap<Key, Entry>>,
}

struct Entry {
    context: Arc<Context>,
    since: Timestamp,
    cancelled: Option<Cancelled>,
}

/// Why somebody wants a run to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancelled {
    Stopping,
    LeaseLost,
    Operator { by: Arc<str>, discard: bool },
}

/// A running job as operators see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunningJob {
    pub queue: Arc<str>,
    pub id: Arc<str>,
    pub route: Arc<str>,
    pub attempt: u32,
    pub since: Timestamp,
    /// False while it waits for a free place in its executor.
    pub started: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<serde_json::Value>,
    pub log_tail: String,
}

/// A job's entry in the registry; leaves it when dropped.
pub struct Registered<'a> {
    running: &'a Running,
    key: Key,
}

impl Running {
    /// Enters a run.
    pub fn enter(&self, queue: &Arc<str>, context: &Arc<Context>, since: Timestamp) -> Registered<'_> {
        let key = (queue.clone(), context.id.clone());
        self.lock().insert(key.clone(), Entry { context: context.clone(), since, cancelled: None });
        Registered { running: self, key }
    }

    /// Asks a running job to end; false when it does not run here.
    pub fn cancel(&self, queue: &str, id: &str, why: Cancelled) -> bool {
        let key: Key = (queue.into(), id.into());
        let mut jobs = self.lock();
        let Some(entry) = jobs.get_mut(&key) else { return false };
        entry.cancelled.get_or_insert(why);
        entry.context.cancel.cancel();
        true
    }

    /// Asks every run to end, or those that have not started.
    pub fn cancel_all(&self, started_too: bool) {
        for entry in self.lock().values_mut().filter(|entry| started_too || !entry.context.started()) {
            entry.cancelled.get_or_insert(Cancelled::Stopping);
            entry.context.cancel.cancel();
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What runs now, the longest first.
    #[must_use]
    pub fn list(&self) -> Vec<RunningJob> {
        let mut list: Vec<RunningJob> = self.lock().iter().map(|(key, entry)| describe(key, entry)).collect();
        list.sort_by_key(|job| job.since);
        list
    }

    #[must_use]
    pub fn find(&self, queue: &str, id: &str) -> Option<RunningJob> {
        let key: Key = (queue.into(), id.into());
        self.lock().get(&key).map(|entry| describe(&key, entry))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn describe(key: &Key, entry: &Entry) -> RunningJob {
    RunningJob {
        queue: key.0.clone(),
        id: key.1.clone(),
        route: entry.context.route.clone(),
        attempt: entry.context.attempt,
        since: entry.since,
        started: entry.context.started(),
        progress: entry.context.progress().and_then(|json| serde_json::from_str(&json).ok()),
        log_tail: entry.context.log_tail(),
    }
}

impl Registered<'_> {
    /// Why the run was asked to end, if it was.
    #[must_use]
    pub fn cancelled(&self) -> Option<Cancelled> {
        self.running.lock().get(&self.key).and_then(|entry| entry.cancelled.clone())
    }

    /// Asks this very run to end.
    pub fn cancel(&self, why: Cancelled) {
        self.running.cancel(&self.key.0, &self.key.1, why);
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.running.lock().remove(&self.key);
    }
}
