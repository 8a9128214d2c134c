//! Who waits for the end of which job.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::place::QueueNumber;

type Watched = HashMap<(QueueNumber, Arc<str>), Arc<Notify>>;

/// Wakes whoever waits for a job when its end, or its death, is on disk.
#[derive(Default)]
pub(super) struct Watchers {
    waiting: Mutex<Watched>,
    /// So that the writer passes by where nobody waits.
    count: AtomicUsize,
}

/// One who waits; stops waiting when dropped.
pub(super) struct Watch<'a> {
    watchers: &'a Watchers,
    key: (QueueNumber, Arc<str>),
    pub ended: Arc<Notify>,
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to wait for a job; to be called before looking whether it has ended.
    pub fn watch(&self, home: QueueNumber, id: Arc<str>) -> Watch<'_> {
        let key = (home, id);
        let mut waiting = self.lock();
        let ended = waiting.entry(key.clone()).or_default().clone();
        self.count.store(waiting.len(), Ordering::SeqCst);
        Watch { watchers: self, key, ended }
    }

    /// Tells that a job has ended.
    pub fn ended(&self, home: QueueNumber, id: &Arc<str>) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        if let Some(ended) = self.lock().get(&(home, id.clone())) {
            ended.notify_waiters();
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut waiting = self.watchers.lock();
        // the map and this watch
        if Arc::strong_count(&self.ended) == 2 {
            waiting.remove(&self.key);
        }
        self.watchers.count.store(waiting.len(), Ordering::SeqCst);
    }
}
