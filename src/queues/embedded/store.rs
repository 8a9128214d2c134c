//! The store: one database file, its one writer thread, and what they share.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::config::EmbeddedConfig;
use super::file::{self, OpenError};
use super::inbox::Inbox;
use super::lease::{self, Leases, Token};
use super::operation::{Arrival, Operation, Reply};
use super::queue::EmbeddedQueue;
use super::readers::Readers;
use super::ready::Read;
use super::ready_queue::{ReadyQueue, Registry};
use super::waiting::Waiting;
use super::watch::Watchers;
use super::{rows, writer};
use crate::job::{DEFAULT_PRIORITY, LONGEST_ID, Message};
use crate::ports::{NewJob, Outgoing, Queue, QueueError};

/// The largest message, in bytes: SQLite's limit of a row, with room for the rest of it.
pub(super) const MAX_MESSAGE: usize = 900_000_000;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The database file; other files lie beside it.
    pub path: PathBuf,
    /// How long and how many results are kept.
    pub results_for: Duration,
    pub results_rows: u64,
    /// How long after its end a job's id is recognised, and how many ended ids are kept.
    pub dedupe_for: Duration,
    pub dedupe_rows: u64,
    /// The wall clock.
    pub(super) clock: WallClock,
}

/// Milliseconds since 1970; a test moves it.
#[derive(Clone, Debug, Default)]
pub(super) struct WallClock {
    #[cfg(test)]
    pub offset: Arc<std::sync::atomic::AtomicI64>,
}

impl WallClock {
    pub fn now(&self) -> i64 {
        let now = Timestamp::now().as_millisecond();
        #[cfg(test)]
        let now = now + self.offset.load(std::sync::atomic::Ordering::SeqCst);
        now
    }
}

impl From<&EmbeddedConfig> for StoreOptions {
    fn from(config: &EmbeddedConfig) -> Self {
        StoreOptions {
            path: config.path.clone(),
            results_for: config.results_for.0,
            results_rows: config.results_rows,
            dedupe_for: config.dedupe_for.0,
            dedupe_rows: config.dedupe_rows,
            clock: WallClock::default(),
        }
    }
}

/// The embedded queue's file, owned by this process until it is closed.
pub struct Store {
    pub(super) shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer, the queues and their receipts share.
pub(super) struct Shared {
    pub options: StoreOptions,
    pub inbox: Inbox<Operation>,
    pub registry: Registry,
    pub readers: Readers,
    pub watchers: Watchers,
    leases: Mutex<Leases>,
    /// Set by a test in place of a kill: the writer stops where it stands.
    pub killed: AtomicBool,
    /// Why the log could not be synced: what it holds is not known any more, so nothing more is done.
    broken: OnceLock<QueueError>,
    broke: CancellationToken,
}

impl Store {
    /// Opens the file, creating it when it does not exist, and takes it for this process.
    ///
    /// # Errors
    /// A sentence with the way out; the file is untouched then.
    pub fn open(options: StoreOptions) -> Result<Arc<Store>, OpenError> {
        let ownership = file::own(&options.path)?;
        let opened = writer::Opened::open(&options.path, ownership)?;
        let shared = Arc::new(Shared {
            inbox: Inbox::new(),
            registry: Registry::new(opened.salt),
            readers: Readers::new(options.path.clone()),
            watchers: Watchers::default(),
            leases: Mutex::new(Leases::new(opened.slots(&options.path)?)),
            killed: AtomicBool::new(false),
            broken: OnceLock::new(),
            broke: CancellationToken::new(),
            options,
        });
        let handle = opened.start(shared.clone())?;
        Ok(Arc::new(Store { shared, writer: Mutex::new(Some(handle)) }))
    }

    /// A queue of the file, by the name of its block in the config and its name in the file.
    #[must_use]
    pub fn queue(self: &Arc<Self>, block: &str, queue: &str) -> Arc<dyn Queue> {
        Arc::new(EmbeddedQueue::new(self.clone(), block, queue))
    }

    /// Ends in order: what was asked for is committed, the log is folded into the file, the file is given up. Leases
    /// that are still held end.
    pub async fn close(&self) {
        self.shared.inbox.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && tokio::task::spawn_blocking(|| writer.join()).await.is_err()
        {
            tracing::error!(path = %self.path().display(), "the store's writer did not stop in order");
        }
    }

    /// Stops as a kill of the process would, but for the lock, which a kill releases.
    #[cfg(test)]
    pub(super) async fn kill(&self) {
        self.shared.killed.store(true, std::sync::atomic::Ordering::SeqCst);
        self.close().await;
    }

    /// Returns the reason once the store is of no use until it is opened again.
    pub async fn broken(&self) -> QueueError {
        self.shared.broke.cancelled().await;
        self.shared.closed()
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.options.path
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.inbox.close();
    }
}

impl Shared {
    /// Has the writer do something and waits until it is on disk.
    pub async fn ask<T>(&self, operation: impl FnOnce(Reply<T>) -> Operation) -> Result<T, QueueError> {
        let (reply, answer) = oneshot::channel();
        self.inbox.put(operation(reply)).await.map_err(|_| self.closed())?;
        answer.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Why the store is of no use until it is opened again.
    pub fn broken(&self) -> Option<QueueError> {
        self.broken.get().cloned()
    }

    /// Stops everything: after a failed sync the kernel may have dropped what it could not write, and a second one would
    /// succeed without it.
    pub fn break_down(&self, error: &std::io::Error) {
        let error = QueueError::Unavailable(format!(
            "the store {} cannot be synced to its disk: {error}; look at the disk's health and the kernel's log, then start \
             again: what was confirmed is there, what was not may be",
            self.options.path.display()
        ));
        tracing::error!(%error, "the store stops");
        drop(self.broken.set(error));
        self.inbox.close();
        self.registry.wake_all();
        self.broke.cancel();
    }

    pub fn closed(&self) -> QueueError {
        if let Some(broken) = self.broken() {
            return broken;
        }
        QueueError::Unavailable(format!("the store {} is closed", self.options.path.display()))
    }

    /// Sends one message into a queue.
    pub async fn put(&self, queue: &Arc<ReadyQueue>, outgoing: Outgoing) -> Result<(), QueueError> {
        let is_new = outgoing.id.is_none();
        let id = outgoing.id.unwrap_or_else(new_id);
        check(&id, &outgoing.message)?;
        let priority = outgoing.priority.unwrap_or(DEFAULT_PRIORITY);
        let job = NewJob { id, message: outgoing.message, due: outgoing.due, priority };
        let arrival = Arrival { is_new, ..Arrival::new(queue, job) };
        self.ask(|reply| Operation::Put { queue: queue.clone(), arrival, reply }).await
    }

    pub fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn lease(&self, jobs: &[Waiting], lease: Duration) -> Vec<Token> {
        self.leases().grant(jobs, lease::until(lease))
    }

    /// Gives a leased job back to its queue, uncounted; nothing when the lease was lost or is being settled.
    pub fn give_back(&self, token: Token) {
        let lease = self.leases().give_back(token);
        if let Some(lease) = lease {
            self.put_back(lease.job);
        }
    }

    fn put_back(&self, job: Waiting) {
        // a leased job came from a queue with a number
        if let Some(queue) = self.registry.numbered(job.place.queue()) {
            queue.give_back(job);
        }
    }

    /// Leases that were not renewed in time go back to their queues, under suspicion.
    pub fn expire(&self, now: Instant) {
        let expired = self.leases().expire(now);
        for lease in expired {
            let unsettled = lease.job.unsettled + 1;
            self.put_back(Waiting { unsettled, ..lease.job });
        }
    }

    /// Reads, and goes on while there is something to be read, on a thread that may block.
    pub fn read_ahead(self: &Arc<Self>, queue: &Arc<ReadyQueue>, first: Read) {
        let (shared, queue) = (self.clone(), queue.clone());
        tokio::task::spawn_blocking(move || {
            let mut next = Some(first);
            while let Some(read) = next.filter(|_| !shared.inbox.is_closed()) {
                let done = shared.readers.read(|connection| rows::read(connection, &shared.registry, &queue, &read));
                if let Err(error) = &done {
                    queue.set_trouble(unavailable(&shared.options.path, error));
                }
                let failed = done.is_err();
                let mut ready = queue.ready();
                match (read, done) {
                    (_, Err(_)) => ready.not_read(),
                    (Read::Scan(scan), Ok(rows)) => ready.scanned(scan, rows.jobs, rows.complete),
                    (Read::Load(heads), Ok(rows)) => ready.loaded(&heads[..rows.looked_for], rows.jobs),
                }
                next = if failed { None } else { ready.read() };
                drop(ready);
                queue.arrived.notify_one();
            }
        });
    }
}

/// What to tell whoever asked for something that the file did not do.
pub(super) fn unavailable(path: &Path, error: &rusqlite::Error) -> QueueError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase, ReadOnly, SystemIoFailure};
    let advice = match error.sqlite_error_code() {
        Some(DiskFull) => "free space on its disk; it goes on by itself then",
        Some(ReadOnly) => "give this user the right to write the file and its directory",
        Some(SystemIoFailure) => "look at the disk's health and the kernel's log; it is tried again",
        Some(DatabaseCorrupt | NotADatabase) => {
            "it is damaged: stop, copy it with its -wal, and recover the copy with `.recover` of sqlite3"
        }
        _ => "it is tried again",
    };
    QueueError::Unavailable(format!("the store {} failed: {error}; {advice}", path.display()))
}

pub(super) fn check(id: &str, message: &Message) -> Result<(), QueueError> {
    match id.len() {
        1..=LONGEST_ID => {}
        length => return Err(QueueError::Refused(format!("id: {length} bytes long; 1 to {LONGEST_ID} are kept"))),
    }
    if message.size() > MAX_MESSAGE {
        return Err(QueueError::Refused(format!("the message has {} bytes; at most {MAX_MESSAGE} are kept", message.size())));
    }
    Ok(())
}

fn new_id() -> Arc<str> {
    let mut buffer = Uuid::encode_buffer();
    Arc::from(&*Uuid::now_v7().hyphenated().encode_lower(&mut buffer))
}
