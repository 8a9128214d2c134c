//! The store through its ports, on real files.

mod acting;
mod auditing;
mod crowding;
mod delivery;
mod folding;
mod forgetting;
mod listing;
mod model;
mod parking;
mod restart;
mod settling;
mod state;
mod trouble;
mod turns;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::{OpenError, Store, StoreOptions};
use crate::job::decode::facets::sort;
use crate::job::failure::Death;
use crate::job::{DEFAULT_PRIORITY, Decoding, FailureDocument, Life, Message};
use crate::outcome::{Class, Reason};
use crate::ports::{Admin as _, NewJob, Submitted};
use crate::ports::{Delivery, End, Ending, Queue, Room, Settled, Source, Transfer};

/// A store in a directory of its own.
pub(super) struct Bench {
    _directory: tempfile::TempDir,
    pub options: StoreOptions,
    pub store: Arc<Store>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut StoreOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = super::EmbeddedConfig { path: directory.path().join("windlass.db"), ..Default::default() };
        let mut options = StoreOptions::from(&config);
        change(&mut options);
        let store = Store::open(options.clone()).unwrap();
        Bench { _directory: directory, options, store }
    }

    /// Closes in order and opens again.
    pub async fn reopen(&mut self) {
        self.store.close().await;
        self.store = Store::open(self.options.clone()).unwrap();
    }

    /// Stops as a killed process would and opens again.
    pub async fn crash(&mut self) -> Result<(), OpenError> {
        self.store.kill().await;
        self.store = Store::open(self.options.clone())?;
        Ok(())
    }

    pub async fn submit(&self, queue: &str, id: &str) -> Submitted {
        self.submit_job(queue, job(id)).await
    }

    pub async fn submit_job(&self, queue: &str, job: NewJob) -> Submitted {
        self.store.submit(queue, vec![job]).await.unwrap().remove(0)
    }

    pub async fn source(&self, queue: &str) -> Box<dyn Source> {
        source_of(&self.store.queue(queue, queue)).await
    }

    /// Changes a setting of the writer's connection.
    pub async fn pragma(&self, sql: &'static str) {
        // one that forbids to write refuses itself
        drop(self.store.shared.ask(|reply| super::operation::Operation::Pragma { sql, reply }).await);
    }

    /// Submits a job and has it die as `failed`, with this message.
    pub async fn bury(&self, source: &mut Box<dyn Source>, id: &str, message: &str) {
        self.submit("orders", id).await;
        let delivery = take(source).await;
        assert_eq!(id_of(&delivery), id);
        let life = Life { attempt: 20, ..Life::default() };
        let death = Death {
            reason: Reason::Class(Class::Failed),
            class: Class::Failed,
            message,
            log_tail: String::new(),
            now: self.now(),
        };
        let document = FailureDocument::new(&id.into(), &life, death).to_json().into();
        delivery.receipt.transfer(Transfer::Dead { life, document, event: None }).await.ok().unwrap();
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.options.clock.now()).unwrap()
    }

    /// Asserts that the books balance.
    pub async fn balances(&self) {
        let audit = self.store.audit().await.unwrap();
        assert!(audit.ok, "{:#?}", audit);
    }

    /// Changes the file behind the store's back.
    pub fn tamper(&self, sql: &str) {
        let connection = rusqlite::Connection::open(&self.options.path).unwrap();
        assert_eq!(connection.execute(sql, []).unwrap(), 1, "{sql}");
    }

    /// Moves the store's wall clock, and has the writer look at it.
    pub async fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap();
        self.options.clock.offset.fetch_add(by, Ordering::SeqCst);
        self.pragma("").await;
    }
}

pub(super) async fn source_of(queue: &Arc<dyn Queue>) -> Box<dyn Source> {
    queue.source(sort(&Decoding::Envelope)).await.unwrap()
}

pub(super) fn job(id: &str) -> NewJob {
    let body = format!(r#"{{"id":"{id}","type":"test","data":1}}"#);
    NewJob { id: id.into(), message: Message::of(body), due: None, priority: DEFAULT_PRIORITY }
}

pub(super) fn room(jobs: usize) -> Room {
    Room { jobs, bytes: 1 << 20, lease: Duration::from_secs(60) }
}

/// Takes one delivery.
pub(super) async fn take(source: &mut Box<dyn Source>) -> Delivery {
    let next = tokio::time::timeout(Duration::from_secs(20), source.next(room(1))).await;
    next.expect("nothing came").unwrap().remove(0)
}

pub(super) fn id_of(delivery: &Delivery) -> &str {
    delivery.origin.id.as_deref().unwrap()
}

pub(super) fn completed() -> Ending {
    Ending { end: End::Completed, event: Some(Bytes::from_static(br#"{"type":"windlass.job.completed"}"#)), at: Timestamp::now() }
}

pub(super) async fn ack(delivery: Delivery) -> Settled {
    delivery.receipt.ack(completed()).await.ok().unwrap()
}

/// Takes one job and completes it.
pub(super) async fn finish(source: &mut Box<dyn Source>) -> String {
    let delivery = take(source).await;
    let id = id_of(&delivery).to_owned();
    ack(delivery).await;
    id
}

/// Whether the source has nothing to give: a job that is only submitted now comes first.
pub(super) async fn is_empty(bench: &Bench, queue: &str, source: &mut Box<dyn Source>) -> bool {
    let mark = format!("mark-{}", uuid::Uuid::now_v7());
    bench.submit_job(queue, NewJob { priority: 0, ..job(&mark) }).await;
    let next = take(source).await;
    let empty = id_of(&next) == mark;
    if empty {
        ack(next).await;
    }
    empty
}
