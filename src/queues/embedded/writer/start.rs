//! How the writer starts: what the last owner left running is noted, then the thread takes over.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::super::file::{OpenError, Ownership};
use super::super::fold::Fold;
use super::super::known::Known;
use super::super::ledger::{FILE, Ledger, Line};
use super::super::schema::{self, explain};
use super::super::slots::{self, SlotFile};
use super::super::store::Shared;
use super::super::sync::Syncer;
use super::statements::Statements;
use super::{Writer, settle};

/// A file that was opened and checked, before anybody uses it.
pub(in super::super) struct Opened {
    connection: Connection,
    ownership: Ownership,
    /// See [`schema::salt`].
    pub salt: u64,
}

impl Opened {
    /// Opens the file and raises the suspicion against the jobs that were running when its last owner died.
    pub fn open(path: &Path, ownership: Ownership) -> Result<Self, OpenError> {
        let unreadable = |error: std::io::Error| OpenError::Other { path: path.into(), detail: format!("its slots: {error}") };
        let connection = schema::open_writer(path)?;
        let left_running = slots::left_running(path).map_err(unreadable)?;
        suspect(&connection, &left_running).map_err(|error| explain(path, &error))?;
        let salt = schema::salt(&connection).map_err(|error| explain(path, &error))?;
        Ok(Opened { connection, ownership, salt })
    }

    /// A new slot file; the old one has been used by now.
    pub fn slots(&self, path: &Path) -> Result<SlotFile, OpenError> {
        SlotFile::create(path).map_err(|error| OpenError::ReadOnly { path: path.into(), error })
    }

    /// Starts the thread; returns when it is ready to work.
    pub fn start(self, shared: Arc<Shared>) -> Result<JoinHandle<()>, OpenError> {
        let path = shared.options.path.clone();
        let (ready, started) = mpsc::sync_channel(1);
        let Opened { mut connection, ownership, .. } = self;
        let run = move || {
            let explain = |error: rusqlite::Error| explain(&shared.options.path, &error);
            let fold = Fold::start(&shared.options.path, &mut connection).map_err(explain);
            let sync = Syncer::start(&shared.options.path, shared.clone());
            let parts = fold.and_then(|fold| Ok((fold, sync?)));
            match parts.and_then(|(fold, sync)| prepare(&connection, fold, sync, shared.clone()).map_err(explain)) {
                Ok(writer) => {
                    drop(ready.send(Ok(())));
                    writer.run();
                }
                Err(error) => drop(ready.send(Err(error))),
            }
            shared.inbox.close();
            shared.registry.wake_all();
            drop(connection);
            drop(ownership);
        };
        let other = |detail: String| OpenError::Other { path: path.clone(), detail };
        let thread = std::thread::Builder::new().name("windlass-store".into());
        let handle = thread.spawn(run).map_err(|error| other(error.to_string()))?;
        started.recv().unwrap_or_else(|_| Err(other("its writer did not start".into())))?;
        Ok(handle)
    }
}

fn suspect(connection: &Connection, places: &[super::Place]) -> rusqlite::Result<()> {
    if places.is_empty() {
        return Ok(());
    }
    let transaction = connection.unchecked_transaction()?;
    for place in places {
        transaction.execute("UPDATE jobs SET unsettled = unsettled + 1 WHERE place = ?", [place.0])?;
    }
    transaction.commit()
}

fn prepare(connection: &Connection, fold: Fold, sync: Syncer, shared: Arc<Shared>) -> rusqlite::Result<Writer<'_>> {
    let mut queues = connection.prepare("SELECT number, name, paused FROM queues")?;
    let mut rows = queues.query([])?;
    while let Some(row) = rows.next()? {
        let queue = shared.registry.named(row.get_ref(1)?.as_str()?);
        queue.ready().paused = row.get(2)?;
        shared.registry.set_number(&queue, row.get(0)?);
    }
    let ledger = Ledger::read(connection)?;
    Ok(Writer {
        connection,
        fold,
        sync,
        statements: Statements::prepare(connection)?,
        sequence: ledger.get(FILE, Line::Sequence).count,
        ends: ledger.get(FILE, Line::Ends).count,
        ledger,
        known: Known::read(connection, shared.options.dedupe_rows)?,
        now: shared.options.clock.now(),
        next_due: connection.query_row("SELECT min(at) FROM due", [], |row| row.get(0))?,
        next_tick: Instant::now(),
        bulky: VecDeque::new(),
        answered: 0,
        commit_time: Duration::ZERO,
        named: Vec::new(),
        became_due: Vec::new(),
        withdrawn: Vec::new(),
        endings: settle::Endings::default(),
        next_forgotten: i64::MIN,
        shared,
    })
}
