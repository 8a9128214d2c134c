//! A state store in a topic: changes are appended as proposals, and everybody who reads them in order agrees on which were
//! accepted (`docs/decisions/11-state-in-a-topic.md`). A writer waits until it has read its own; a reader, until it has read all.

mod reader;
mod record;
mod replay;
mod snapshot;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::client::Options;
use super::config::KafkaStateConfig;
use super::sink::Producers;
use super::wire::Beside;
use crate::job::Message;
use crate::state::{Change, Held, StateError, StateStore, check};
use reader::{Known, Log};
use record::What;
use snapshot::Snapshot;

/// How long a call may take before it is given up, to be tried again.
const LONGEST: Duration = Duration::from_secs(20);

pub struct TopicStore {
    log: Arc<Log>,
    producers: Arc<Producers>,
    options: Options,
    number: AtomicU64,
    /// Whether the topic is read.
    started: Mutex<bool>,
}

impl TopicStore {
    /// Nothing is connected before the first call.
    ///
    /// # Errors
    /// What is wrong with the block.
    pub fn open(config: &KafkaStateConfig, base: &Path) -> Result<Self, String> {
        config.client().fault().map_err(|(key, why)| format!("kafka.{key}: {why}"))?;
        let options = Options::new(&config.client(), base)?;
        let log = Arc::new(Log::new(options.clone(), &config.topic));
        let producers = Arc::new(Producers::new(options.clone()));
        Ok(TopicStore { log, producers, options, number: AtomicU64::new(0), started: Mutex::new(false) })
    }

    fn start(&self) -> Result<(), StateError> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if *started {
            return Ok(());
        }
        let (log, producers, options) = (Arc::downgrade(&self.log), self.producers.clone(), self.options.clone());
        let (runtime, writing) = (tokio::runtime::Handle::current(), Arc::new(AtomicBool::new(false)));
        let full = move || {
            let Some(log) = log.upgrade().filter(|_| !writing.swap(true, Ordering::Relaxed)) else { return };
            let snapshot = {
                let Known { replay, .. } = &*log.known();
                Snapshot { up_to: replay.next(), time: replay.time(), values: replay.values() }
            };
            let (producers, options, writing) = (producers.clone(), options.clone(), writing.clone());
            runtime.spawn(async move {
                if let Err(error) = snapshot.write(&log.topic, &producers, &options).await {
                    tracing::warn!("the records of the state store's topic could not be replaced by a snapshot: {error}");
                }
                writing.store(false, Ordering::Relaxed);
            });
        };
        self.log.start(full).map_err(StateError)?;
        *started = true;
        Ok(())
    }

    /// Looks at what is kept, as it is now.
    async fn look<T>(&self, look: impl Fn(&Known, i64) -> T) -> Result<T, StateError> {
        self.start()?;
        soon(self.log.look(look)).await
    }
}

async fn soon<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, StateError> {
    let late = |_| StateError("the topic of the state store does not answer".into());
    tokio::time::timeout(LONGEST, work).await.map_err(late)?.map_err(StateError)
}

/// That somebody waits to hear of a proposal.
struct Awaited<'a> {
    log: &'a Log,
    number: u64,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.log.known().proposed.remove(&self.number);
    }
}

#[async_trait]
impl StateStore for TopicStore {
    async fn read(&self, keys: &[Arc<str>]) -> Result<Vec<Option<Held>>, StateError> {
        self.look(|known, now| keys.iter().map(|key| known.replay.get(key, now).cloned()).collect()).await
    }

    /// An error may also mean that it is not known whether they were made.
    async fn change(&self, changes: Vec<Change>) -> Result<bool, StateError> {
        check(&changes)?;
        self.start()?;
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let changes = changes.into_iter().map(Into::into).collect();
        let record = What::Change { by: self.log.writer.clone(), number, changes }.encode();
        let (told, heard) = oneshot::channel();
        self.log.known().proposed.insert(number, told);
        let _awaited = Awaited { log: &self.log, number };
        soon(async {
            let sent = self.producers.send(&self.log.topic, &Message::of(record), &Beside::default()).await;
            sent.map_err(|error| error.to_string())?;
            heard.await.map_err(|_| "the store is closed".to_owned())
        })
        .await
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(Arc<str>, Held)>, StateError> {
        self.look(|known, now| known.replay.scan(prefix, after, limit, now)).await
    }
}

impl Drop for TopicStore {
    fn drop(&mut self) {
        self.log.stop();
    }
}
