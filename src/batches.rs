//! Job batches: how far each has come, counted by job, and its events. All of it lies in the state store.

mod announce;
mod count;
mod event;
pub mod operator;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::job::Batch;
use crate::state::{Change, Held, StateError, StateStore, When, key, part};
use crate::telemetry::BatchMetrics;
use announce::Progress;
use count::{Line, Report};

/// The prefixes of the keys in the store: what is known of a batch, how each of its jobs ended, what is to be announced.
const BATCH: &str = "batch";
const JOB: &str = "batch-job";
const EVENT: &str = "batch-event";
/// A batch of which nothing is heard for so long is forgotten.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// What was read of a batch is believed for so long: a cancellation by another process is late by no more.
const BELIEVED: Duration = Duration::from_secs(5);
/// Batches whose state is remembered between two jobs of theirs.
const REMEMBERED: usize = 10_000;

/// Counts the jobs of batches. Shared by the pools of a process and its desk.
pub struct Batches {
    state: Arc<dyn StateStore>,
    clock: Clock,
    metrics: BatchMetrics,
    /// Reports that wait to be written together.
    line: Line,
    seen: Mutex<HashMap<Arc<str>, Seen>>,
    progress: Mutex<HashMap<Arc<str>, Progress>>,
    /// There is something to announce.
    news: Notify,
}

struct Seen {
    at: Instant,
    cancelled: Option<Arc<str>>,
}

/// How a job of a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobEnd {
    Done,
    Dead,
    Discarded,
}

/// What is known of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The pool that took its first job.
    pub pool: Arc<str>,
    /// How many jobs it has; none until one of them says so. The largest number said counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    pub done: u64,
    pub dead: u64,
    pub discarded: u64,
    pub opened: Timestamp,
    /// When as many jobs had ended as it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<Timestamp>,
    /// Who wants the rest of its jobs discarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Arc<str>>,
}

/// A batch as operators see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BatchView {
    pub id: Arc<str>,
    #[serde(flatten)]
    pub standing: Standing,
    /// Some of its jobs that are dead, by id: only where one batch is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dead_jobs: Vec<Arc<str>>,
}

/// What became of a cancellation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelledBatch {
    Cancelled,
    Unknown,
    /// Every job has ended.
    Complete,
}

impl Batches {
    #[must_use]
    pub fn new(state: Arc<dyn StateStore>, clock: Clock, metrics: BatchMetrics) -> Self {
        let (seen, progress) = (Mutex::default(), Mutex::default());
        Batches { state, clock, metrics, line: Line::default(), seen, progress, news: Notify::new() }
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<Arc<str>, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before a job runs: opens its batch; who has cancelled it.
    ///
    /// # Errors
    /// When the store cannot be asked now.
    pub async fn enter(&self, batch: &Batch, pool: &Arc<str>) -> Result<Option<Arc<str>>, StateError> {
        let now = Instant::now();
        if let Some(seen) = self.seen().get(&batch.id).filter(|seen| now.duration_since(seen.at) < BELIEVED) {
            return Ok(seen.cancelled.clone());
        }
        let standing = match self.standing(&batch.id).await? {
            Some((standing, _)) => Some(standing),
            None => {
                self.report(Report { batch: batch.clone(), pool: pool.clone(), job: None }).await?;
                None
            }
        };
        let cancelled = standing.and_then(|standing| standing.cancelled);
        self.note(&batch.id, cancelled.clone());
        Ok(cancelled)
    }

    fn note(&self, id: &Arc<str>, cancelled: Option<Arc<str>>) {
        let mut seen = self.seen();
        if seen.len() >= REMEMBERED {
            seen.clear(); // each is read again with its next job
        }
        seen.insert(id.clone(), Seen { at: Instant::now(), cancelled });
    }

    /// Counts the end of a job, durably when it returns. The same end of the same job counts once; another end replaces
    /// the one before.
    ///
    /// # Errors
    /// When the store cannot be asked now: nothing is counted, or it is; ask again.
    pub async fn count(&self, batch: &Batch, pool: &Arc<str>, job: &Arc<str>, end: JobEnd) -> Result<(), StateError> {
        let job = Some((batch.member(job), end));
        self.report(Report { batch: batch.clone(), pool: pool.clone(), job }).await
    }

    async fn standing(&self, id: &str) -> Result<Option<(Standing, When)>, StateError> {
        let held = self.state.get(&key(&[BATCH, id])).await?;
        Ok(held.and_then(|held| Some((read(&held)?, When::Version(held.version)))))
    }

    /// Batches by id, after one of them.
    ///
    /// # Errors
    /// When the store cannot be asked now.
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<BatchView>, StateError> {
        let after = after.map(|after| key(&[BATCH, after]));
        let found = self.state.scan(&format!("{BATCH}/"), after.as_deref(), limit).await?;
        let view = |(place, held): (Arc<str>, Held)| {
            let id = part(place.strip_prefix(&format!("{BATCH}/"))?).into();
            Some(BatchView { id, standing: read(&held)?, dead_jobs: Vec::new() })
        };
        Ok(found.into_iter().filter_map(view).collect())
    }

    /// One batch, with at most `most` of its dead jobs.
    ///
    /// # Errors
    /// When the store cannot be asked now.
    pub async fn show(&self, id: &str, most: usize) -> Result<Option<BatchView>, StateError> {
        let Some((standing, _)) = self.standing(id).await? else { return Ok(None) };
        let (prefix, mut after, mut dead_jobs) = (format!("{}/", key(&[JOB, id])), None, Vec::new());
        while standing.dead > 0 && dead_jobs.len() < most {
            let page = self.state.scan(&prefix, after.as_deref(), 1000).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.to_string());
            let dead = page.iter().filter(|(_, held)| count::end(held) == Some(JobEnd::Dead));
            dead_jobs.extend(dead.filter_map(|(place, _)| Some(part(place.strip_prefix(&prefix)?).into())));
        }
        dead_jobs.truncate(most);
        Ok(Some(BatchView { id: id.into(), standing, dead_jobs }))
    }

    /// Has the jobs of a batch that have not started discarded when their turn comes; what runs goes on.
    ///
    /// # Errors
    /// When the store cannot be asked now.
    pub async fn cancel(&self, id: &str, by: &str) -> Result<CancelledBatch, StateError> {
        loop {
            let Some((mut standing, unchanged)) = self.standing(id).await? else { return Ok(CancelledBatch::Unknown) };
            if standing.completed.is_some() {
                return Ok(CancelledBatch::Complete);
            }
            standing.cancelled.get_or_insert_with(|| by.into());
            let cancelled = standing.cancelled.clone();
            let put = Change::put(&key(&[BATCH, id]), unchanged, write(&standing)).for_the_next(KEPT, self.clock.now());
            if self.state.change(vec![put]).await? {
                self.note(&id.into(), cancelled);
                return Ok(CancelledBatch::Cancelled);
            }
        }
    }
}

impl Standing {
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.done + self.dead + self.discarded
    }
}

fn read(held: &Held) -> Option<Standing> {
    serde_json::from_slice(&held.value).ok()
}

fn write(document: &impl Serialize) -> Vec<u8> {
    // documents of plain values cannot fail to serialise
    serde_json::to_vec(document).unwrap_or_default()
}
