//! Operators end jobs of batches past the engine: what they are about to do is noted first, so that a crash on the way loses
//! no count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Batches, JobEnd, KEPT, write};
use crate::job::decode::{Received, decode};
use crate::job::{Batch, Decoding, Origin};
use crate::ports::{Acted, Action, Admin, Cursor, Entry, Filter, NewJob, Page, QueueError, QueueStats, State, Submitted};
use crate::state::{Change, StateError, When, key};

/// The prefix of the notes in the store.
const NOTE: &str = "batch-act";

/// A system of queues whose operators' deeds are counted.
pub struct Counted {
    admin: Arc<dyn Admin>,
    batches: Arc<Batches>,
    /// Tells the notes of this system from those of others.
    system: Arc<str>,
    /// By the queue's name in the system: the pool that takes from it.
    pools: BTreeMap<Arc<str>, Arc<str>>,
}

/// What an operator is about to do to a job of a batch.
#[derive(Serialize, Deserialize)]
struct Note {
    /// The queue the job was submitted to.
    queue: Arc<str>,
    id: Arc<str>,
    batch: Batch,
    end: JobEnd,
    /// Tells it from the note of another operator who is at the same job.
    #[serde(default)]
    nonce: u64,
}

impl Counted {
    #[must_use]
    pub fn new(admin: Arc<dyn Admin>, batches: Arc<Batches>, system: Arc<str>, pools: BTreeMap<Arc<str>, Arc<str>>) -> Self {
        Counted { admin, batches, system, pools }
    }

    /// The note for an action that ends a job of a batch.
    async fn note(&self, queue: &str, id: &str, action: &Action) -> Result<Option<Note>, QueueError> {
        let end = match action {
            Action::Cancel { discard: false, .. } => JobEnd::Dead,
            Action::Cancel { discard: true, .. } | Action::Discard { .. } => JobEnd::Discarded,
            Action::RunNow | Action::Replay => return Ok(None),
        };
        let Some(entry) = self.admin.find(Some(queue), id).await? else { return Ok(None) };
        let received = Received { origin: Origin::default(), published: None, now: Timestamp::UNIX_EPOCH };
        let job = entry.message.and_then(|message| decode(&message, &Decoding::Envelope, &received).ok());
        let batch = job.and_then(|job| job.batch);
        Ok(batch.map(|batch| Note { queue: entry.queue, id: id.into(), batch, end, nonce: fastrand::u64(..) }))
    }

    async fn count(&self, note: &Note, end: JobEnd) -> Result<(), StateError> {
        let pool = self.pools.get(&note.queue).cloned().unwrap_or_else(|| "".into());
        self.batches.count(&note.batch, &pool, &note.id, end).await
    }

    /// Counts what became of a job, however it came about; `gone` is what is believed of one without a record.
    async fn look(&self, note: &Note, gone: Option<JobEnd>) -> Result<(), QueueError> {
        let end = match self.admin.find(Some(&note.queue), &note.id).await?.map(|entry| entry.state) {
            Some(State::Dead) => JobEnd::Dead,
            Some(State::Discarded) => JobEnd::Discarded,
            Some(_) => return Ok(()),
            None => match gone {
                Some(end) => end,
                None => return Ok(()),
            },
        };
        self.count(note, end).await.map_err(unavailable)
    }

    /// Removes a note, unless it is another one by now.
    async fn forget(&self, place: &Arc<str>, value: &Bytes) -> Result<(), QueueError> {
        let held = self.batches.state.get(place).await.map_err(unavailable)?;
        if let Some(held) = held.filter(|held| held.value == *value) {
            let remove = Change::remove(place, When::Version(held.version));
            self.batches.state.change(vec![remove]).await.map_err(unavailable)?;
        }
        Ok(())
    }

    /// Sees to what was under way when a process died.
    ///
    /// # Errors
    /// When the store or the queue cannot be asked now.
    pub async fn recover(&self) -> Result<(), QueueError> {
        let (prefix, mut after) = (format!("{}/", key(&[NOTE, &self.system])), None);
        loop {
            let page = self.batches.state.scan(&prefix, after.as_deref(), 100).await.map_err(unavailable)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.to_string());
            for (place, held) in page {
                if let Ok(note) = serde_json::from_slice::<Note>(&held.value) {
                    self.look(&note, Some(note.end)).await?;
                }
                self.forget(&place, &held.value).await?;
            }
        }
    }
}

fn unavailable(error: StateError) -> QueueError {
    QueueError::Unavailable(error.0)
}

#[async_trait]
impl Admin for Counted {
    async fn act(&self, queue: &str, id: &str, action: &Action) -> Result<Acted, QueueError> {
        let Some(note) = self.note(queue, id, action).await? else { return self.admin.act(queue, id, action).await };
        let place = key(&[NOTE, &self.system, &note.queue, id]);
        let value = Bytes::from(write(&note));
        let put = Change::put(&place, When::Always, value.clone()).for_the_next(KEPT, self.batches.clock.now());
        self.batches.state.change(vec![put]).await.map_err(unavailable)?;
        let acted = self.admin.act(queue, id, action).await?;
        match acted {
            Acted::Done => self.count(&note, note.end).await.map_err(unavailable)?,
            // somebody else may have ended it, and died before it was counted
            Acted::NotFound | Acted::NotNow(_) => self.look(&note, None).await?,
        }
        self.forget(&place, &value).await?;
        Ok(acted)
    }

    async fn submit(&self, queue: &str, jobs: Vec<NewJob>) -> Result<Vec<Submitted>, QueueError> {
        self.admin.submit(queue, jobs).await
    }

    async fn stats(&self) -> Result<Vec<QueueStats>, QueueError> {
        self.admin.stats().await
    }

    async fn browse(&self, filter: &Filter, page: &Cursor) -> Result<Page, QueueError> {
        self.admin.browse(filter, page).await
    }

    async fn find(&self, queue: Option<&str>, id: &str) -> Result<Option<Entry>, QueueError> {
        self.admin.find(queue, id).await
    }

    async fn ended(&self, queue: &str, id: &str, wait: Duration) -> Result<Option<Entry>, QueueError> {
        self.admin.ended(queue, id, wait).await
    }

    async fn pause(&self, queue: &str, paused: bool) -> Result<(), QueueError> {
        self.admin.pause(queue, paused).await
    }
}
