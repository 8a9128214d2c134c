//! Brings commits to the disk and answers for them, on a thread of its own: the writer makes the next one meanwhile.
//!
//! A commit that SQLite syncs by itself (`synchronous = FULL`) holds up all that follow until the disk has it. The writer's
//! connection leaves that out, and this thread syncs the log: what it holds is found again in the order of the commits
//! and up to a commit, never half of one. Nothing is shown to a source and nobody is answered before.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use super::answer::Committed;
use super::file::OpenError;
use super::inbox;
use super::operation::Operation;
use super::store::Shared;
use crate::stop_point;

/// The thread as the writer sees it; dropping it waits for what was handed over.
pub(super) struct Syncer {
    shared: Arc<Shared>,
    line: Option<SyncSender<Committed>>,
    /// Emptied lines of operations come back to be filled again.
    emptied: Receiver<Vec<Operation>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// # Errors
    /// When the log of the database at `path` cannot be opened; it is there while a connection is.
    pub fn start(path: &Path, shared: Arc<Shared>) -> Result<Self, OpenError> {
        let other = |error: std::io::Error| OpenError::Other { path: path.into(), detail: format!("its log: {error}") };
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let log = File::open(log).map_err(other)?;
        // without room in between, so that the writer is one commit ahead and takes as many operations into it as come
        // while the one before is on its way
        let (line, committed) = sync_channel(0);
        let (back, emptied) = channel();
        let thread = std::thread::Builder::new().name("windlass-sync".into());
        let ours = shared.clone();
        let thread = thread.spawn(move || run(&log, &committed, &back, &ours)).map_err(other)?;
        Ok(Syncer { shared, line: Some(line), emptied, thread: Some(thread) })
    }

    /// Has a commit brought to the disk, and whoever waits for it answered; waits until the one before is.
    pub fn hand_over(&self, committed: Committed) {
        let sent = self.line.as_ref().map(|line| line.send(committed));
        if matches!(sent, Some(Err(_))) && !self.shared.killed.load(Ordering::SeqCst) {
            // it lives as long as the line, but for a bug
            self.shared.break_down(&std::io::Error::other("the thread that syncs has ended"));
        }
    }

    /// Waits until all that was handed over is answered.
    pub fn flush(&self) {
        self.hand_over(Committed::default());
    }

    /// An empty line for operations.
    pub fn spare(&self) -> Vec<Operation> {
        self.emptied.try_recv().unwrap_or_else(|_| Vec::with_capacity(inbox::CAPACITY))
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.line = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn run(log: &File, line: &Receiver<Committed>, back: &Sender<Vec<Operation>>, shared: &Shared) {
    for committed in line {
        if shared.killed.load(Ordering::SeqCst) {
            return;
        }
        if committed.is_empty() {
            continue;
        }
        if shared.broken().is_none()
            && let Err(error) = log.sync_data()
        {
            shared.break_down(&error);
        }
        if let Some(broken) = shared.broken() {
            committed.refuse(&broken, shared);
            continue;
        }
        stop_point::pass("synced");
        drop(back.send(committed.answer(shared)));
        stop_point::pass("replied");
    }
}
