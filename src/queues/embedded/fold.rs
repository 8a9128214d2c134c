//! Folds the write-ahead log into the file, on a thread of its own, so that no commit waits for it.
//!
//! SQLite starts the log anew once all of it is in the file and a commit begins. While commits go on a folding thread
//! never catches up with the last of them, so it stops when little is left, and the writer folds that between two commits.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::schema;

/// The log is folded when it holds this many pages (64 MiB); a test must not wait for so many.
const FULL: u32 = if cfg!(test) { 64 } else { 4096 };
/// What the writer may fold (4 MiB at most).
const REST: u32 = FULL / 16;
/// Where the disk cannot keep up, commits wait for it when the log holds this many pages (256 MiB).
pub(super) const LARGEST: u32 = 4 * FULL;
/// A fold after which the log did not start anew, since somebody read it or the disk refused, is repeated when it has
/// grown by this many pages (16 MiB).
const AGAIN: u32 = FULL / 4;
/// Times that the thread goes over the log, at most.
const PASSES: usize = 8;

const UNFOLDED: &str = "the log cannot be folded into the store; it grows, and it is tried again";

/// The folding as the writer sees it; dropping it ends the thread.
pub(super) struct Fold {
    log: Arc<Log>,
    thread: Option<JoinHandle<()>>,
    /// What the log held when it was last looked at, and what it must hold for something to be done.
    pages: u32,
    next: u32,
}

struct Log {
    /// What it held after the last commit.
    pages: AtomicU32,
    work: Mutex<Work>,
    /// Whose turn it is has changed.
    turn: Condvar,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Idle,
    /// The thread's.
    Folding,
    /// The writer's: little is left.
    Rest,
    /// The disk did not do it; tried again when the log has grown.
    Failed,
    Closed,
}

impl Fold {
    /// Starts the thread, which waits until the log of the writer's connection is full.
    pub fn start(path: &Path, writer: &mut Connection) -> rusqlite::Result<Self> {
        let log = Arc::new(Log { pages: AtomicU32::new(0), work: Mutex::new(Work::Idle), turn: Condvar::new() });
        let connection = schema::open_folder(path)?;
        let counted = log.clone();
        // takes the place of SQLite's own, which folds within the commit
        writer.wal_hook(Some(move |_: &mut _, pages| {
            counted.pages.store(u32::try_from(pages).unwrap_or_default(), Ordering::Relaxed);
            Ok(())
        }))?;
        let thread = std::thread::Builder::new().name("windlass-fold".into()).spawn({
            let log = log.clone();
            move || log.fold_when_asked(&connection)
        });
        let thread = thread.inspect_err(|error| tracing::warn!(%error, "the log is folded by its writer")).ok();
        Ok(Fold { log, thread, pages: 0, next: FULL })
    }

    /// Has the log folded if it is full, or folds what little is left of it.
    pub fn after_commit(&mut self, writer: &Connection) {
        let before = std::mem::replace(&mut self.pages, self.log.pages());
        if self.pages < before {
            self.next = FULL; // it has started anew
        }
        if self.pages < self.next {
            return;
        }
        let turn = self.log.turn(self.thread.is_some(), self.pages >= LARGEST);
        if turn == Work::Rest
            && let Err(error) = fold(writer)
        {
            tracing::warn!(%error, "{UNFOLDED}");
        }
        if matches!(turn, Work::Rest | Work::Failed) {
            self.next = self.pages + AGAIN;
        }
    }
}

impl Drop for Fold {
    fn drop(&mut self) {
        *self.log.lock() = Work::Closed;
        self.log.turn.notify_all();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pages(&self) -> u32 {
        self.pages.load(Ordering::Relaxed)
    }

    /// What the writer has to do; sets the thread to work. Waits for it when the log is too large to go on.
    fn turn(&self, has_thread: bool, too_large: bool) -> Work {
        let mut work = self.lock();
        if !has_thread {
            return Work::Rest;
        }
        if *work == Work::Idle {
            *work = Work::Folding;
            self.turn.notify_all();
        }
        while too_large && *work == Work::Folding {
            work = self.turn.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        match *work {
            done @ (Work::Rest | Work::Failed) => {
                *work = Work::Idle;
                done
            }
            other => other,
        }
    }

    fn fold_when_asked(&self, connection: &Connection) {
        loop {
            let mut work = self.lock();
            while !matches!(*work, Work::Folding | Work::Closed) {
                work = self.turn.wait(work).unwrap_or_else(PoisonError::into_inner);
            }
            if *work == Work::Closed {
                return;
            }
            drop(work);
            let done = self.fold_most(connection);
            let mut work = self.lock();
            if *work == Work::Folding {
                *work = done;
                self.turn.notify_all();
            }
        }
    }

    fn fold_most(&self, connection: &Connection) -> Work {
        for _ in 0..PASSES {
            match fold(connection) {
                Ok(folded) if self.pages().saturating_sub(folded) <= REST => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "{UNFOLDED}");
                    return Work::Failed;
                }
            }
        }
        Work::Rest
    }
}

/// Copies into the file what no reader needs in the log any more; answers how many pages of the log are there by now.
/// Waits for nobody, but for the disk.
fn fold(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(2)).map(|folded| {
        u32::try_from(folded).unwrap_or_default() // -1 where there is no log
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most that the log held while 400 rows of 64 KiB were committed without a pause.
    fn most_pages(take_thread: bool) -> u32 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("windlass.db");
        let mut connection = schema::open_writer(&path).unwrap();
        let mut fold = Fold::start(&path, &mut connection).unwrap();
        let thread = fold.thread.take_if(|_| take_thread);
        let mut most = 0;
        for number in 0..400 {
            connection.execute("INSERT INTO meta VALUES(?, ?)", (number, "x".repeat(64 << 10))).unwrap();
            fold.after_commit(&connection);
            most = most.max(fold.log.pages());
        }
        *fold.log.lock() = Work::Closed;
        fold.log.turn.notify_all();
        thread.into_iter().for_each(|thread| thread.join().unwrap());
        most
    }

    #[test]
    fn commits_without_a_pause_leave_the_log_bounded() {
        assert!(most_pages(false) < LARGEST + 16);
    }

    #[test]
    fn a_writer_whose_thread_did_not_start_folds_by_itself() {
        assert!(most_pages(true) < FULL + 16);
    }

    #[test]
    fn no_commit_follows_one_that_made_the_log_too_large_before_the_thread_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let connection = schema::open_writer(&directory.path().join("windlass.db")).unwrap();
        let log = Arc::new(Log { pages: AtomicU32::new(LARGEST - 1), work: Mutex::new(Work::Folding), turn: Condvar::new() });
        let (goes_on, writer) = std::sync::mpsc::channel();
        let slow = std::thread::spawn({
            let log = log.clone();
            move || {
                writer.recv().unwrap();
                // done only once a writer that does not wait would have gone on long ago
                let went_on = writer.recv_timeout(std::time::Duration::from_millis(200));
                *log.lock() = Work::Rest;
                log.turn.notify_all();
                went_on
            }
        });
        let mut fold = Fold { log: log.clone(), thread: Some(std::thread::spawn(|| {})), pages: 0, next: FULL };
        fold.after_commit(&connection);
        goes_on.send(()).unwrap(); // there was room for one more
        log.pages.store(LARGEST, Ordering::Relaxed);
        fold.after_commit(&connection);
        let _heard = goes_on.send(());
        assert!(slow.join().unwrap().is_err(), "the writer went on");
    }

    #[test]
    fn the_writer_waits_for_the_thread_only_when_the_log_is_too_large_to_go_on() {
        let log = Arc::new(Log { pages: AtomicU32::new(0), work: Mutex::new(Work::Idle), turn: Condvar::new() });
        assert_eq!(log.turn(true, false), Work::Folding, "asked");
        assert_eq!(log.turn(true, false), Work::Folding, "and not done yet");
        let writer = std::thread::spawn({
            let log = log.clone();
            move || log.turn(true, true)
        });
        *log.lock() = Work::Rest;
        log.turn.notify_all();
        assert_eq!(writer.join().unwrap(), Work::Rest);
        assert_eq!(*log.lock(), Work::Idle);
    }
}
