//! The one thread that writes: it takes all operations that wait, commits them together, and has them brought to the disk.

pub(super) mod act;
mod beside;
mod due;
mod forget;
mod ids;
mod put;
mod settle;
mod start;
mod state;
mod statements;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::answer::Committed;
use super::fold::Fold;
use super::inbox::Patience;
use super::known::Known;
use super::ledger::{Ledger, Line};
use super::operation::Operation;
use super::place::{Lane, Place, QueueNumber};
use super::ready_queue::ReadyQueue;
use super::rows;
use super::store::{Shared, unavailable};
use super::sync::Syncer;
use crate::stop_point;
pub(super) use start::Opened;
use statements::Statements;

/// The wall clock is looked at this often, so that a clock that jumps makes no job late for longer.
const TICK: Duration = Duration::from_secs(1);

/// Whoever was answered is likely to come back soon with the next operation; a commit waits for them, at most this part
/// of the time that the last one took.
const GATHER: u32 = 4;

/// Submits that wait for a commit of their own; beyond it the line in front of the writer fills, and its callers wait.
pub(super) const MOST_BULKY: usize = 16;

struct Writer<'c> {
    connection: &'c Connection,
    fold: Fold,
    sync: Syncer,
    statements: Statements<'c>,
    shared: Arc<Shared>,
    ledger: Ledger,
    known: Known,
    /// The last sequence of a place, and the last number of an end.
    sequence: i64,
    ends: i64,
    /// Milliseconds since 1970, at the start of the transaction.
    now: i64,
    /// When the first delayed job is due.
    next_due: Option<i64>,
    next_tick: Instant,
    /// Submits that would hold up all others in their commit: each has one of its own, after those of a moment.
    bulky: VecDeque<Operation>,
    /// How many operations the last commit held, and how long it took.
    answered: usize,
    commit_time: Duration,
    /// Of the transaction at hand: queues that were given a number, jobs that became due, those of them that were held
    /// back from a source for it, and the ends so far.
    named: Vec<(Arc<ReadyQueue>, QueueNumber)>,
    became_due: Vec<Place>,
    withdrawn: Vec<(Arc<ReadyQueue>, Place)>,
    endings: settle::Endings,
    /// When the first value of the state store may be over, in milliseconds since 1970.
    next_forgotten: i64,
}

impl Writer<'_> {
    fn run(mut self) {
        let mut taken = Vec::new();
        loop {
            let patience = Patience { idle: self.idle_time(), hoped: self.answered, gather: self.commit_time / GATHER };
            let open = self.shared.inbox.take(&mut taken, patience);
            self.bulky.extend(taken.extract_if(.., |operation| operation.is_bulky()));
            if self.shared.killed.load(Ordering::SeqCst) {
                return;
            }
            #[cfg(test)]
            self.set_pragmas(&taken);
            self.now = self.shared.options.clock.now();
            self.answered = taken.len();
            if !taken.is_empty() || self.is_due() {
                let start = Instant::now();
                self.work(&mut taken);
                self.commit_time = start.elapsed();
                self.tidy();
            }
            while let Some(bulky) = self.bulky.pop_front() {
                self.work(&mut vec![bulky]);
                self.tidy();
                if self.bulky.len() < MOST_BULKY {
                    break;
                }
            }
            self.tick();
            if !open && self.bulky.is_empty() {
                break;
            }
        }
        self.finish();
    }

    #[cfg(test)]
    fn set_pragmas(&self, taken: &[Operation]) {
        for operation in taken {
            if let Operation::Pragma { sql, .. } = operation {
                self.connection.execute_batch(sql).expect("a pragma of a test");
            }
        }
    }

    /// After a commit.
    fn tidy(&mut self) {
        if self.known.is_full() {
            self.tidy_ids();
        }
        self.fold.after_commit(self.connection);
    }

    /// How long there is nothing to do, unless somebody asks.
    fn idle_time(&self) -> Duration {
        if !self.bulky.is_empty() {
            return Duration::ZERO;
        }
        let until_tick = self.next_tick.saturating_duration_since(Instant::now());
        let until_due = self.next_due.map(|due| u64::try_from(due - self.shared.options.clock.now()).unwrap_or_default());
        until_due.map_or(until_tick, |due| until_tick.min(Duration::from_millis(due)))
    }

    /// Commits what was taken, and what became due. Where one commit for all fails, smaller ones are tried.
    fn work(&mut self, taken: &mut Vec<Operation>) {
        let Err(error) = self.transact(taken, true) else { return self.hand_over(taken) };
        // a job that cannot become due now is tried again with the next tick
        self.next_due = Some(self.now + 1000);
        let parts = split(taken.drain(..), &error);
        if let [_] = &*parts {
            return parts.into_iter().for_each(|part| self.refuse(part, &error));
        }
        for mut part in parts {
            match self.transact(&mut part, false) {
                Ok(()) => self.hand_over(&mut part),
                Err(error) => self.refuse(part, &error),
            }
        }
    }

    /// Has what was committed brought to the disk and answered.
    fn hand_over(&mut self, operations: &mut Vec<Operation>) {
        let (became_due, withdrawn) = (std::mem::take(&mut self.became_due), std::mem::take(&mut self.withdrawn));
        let operations = std::mem::replace(operations, self.sync.spare());
        self.sync.hand_over(Committed { operations, now: self.now, became_due, withdrawn });
    }

    fn refuse(&self, operations: Vec<Operation>, error: &rusqlite::Error) {
        let error = unavailable(&self.shared.options.path, error);
        tracing::error!(%error, operations = operations.len(), "nothing was written");
        operations.into_iter().for_each(|operation| operation.refuse(error.clone(), &self.shared));
    }

    /// One transaction, which is not on the disk yet when it returns; nothing has changed when it fails.
    fn transact(&mut self, operations: &mut [Operation], with_due: bool) -> rusqlite::Result<()> {
        let done = self.write(operations, with_due);
        if done.is_ok() {
            stop_point::pass("committed");
            self.committed();
            for (queue, number) in self.named.drain(..) {
                self.shared.registry.set_number(&queue, number);
            }
            return done;
        }
        self.roll_back();
        self.named.clear();
        self.became_due.clear();
        self.undo_withdrawn();
        self.endings.clear();
        operations.iter_mut().for_each(Operation::undo);
        done
    }

    fn write(&mut self, operations: &mut [Operation], with_due: bool) -> rusqlite::Result<()> {
        self.statements.begin.execute([])?;
        if with_due && self.is_due() {
            self.move_due()?;
        }
        for operation in operations {
            self.apply(operation)?;
        }
        self.flush_endings()?;
        self.forget()?;
        self.commit()
    }

    fn commit(&mut self) -> rusqlite::Result<()> {
        self.ledger.raise(Line::Sequence, self.sequence);
        self.ledger.raise(Line::Ends, self.ends);
        self.ledger.write(&mut self.statements.upsert_ledger)?;
        self.known.write(self.connection)?;
        stop_point::pass("before_commit");
        self.statements.commit.execute([]).map(|_| ())
    }

    fn committed(&mut self) {
        self.ledger.committed();
        self.known.committed();
    }

    fn roll_back(&mut self) {
        // SQLite may have done it by itself
        if !self.connection.is_autocommit() {
            drop(self.statements.rollback.execute([]));
        }
        self.ledger.rolled_back();
        self.known.rolled_back();
    }

    fn apply(&mut self, operation: &mut Operation) -> rusqlite::Result<()> {
        match operation {
            Operation::Put { queue, arrival, .. } => self.put(queue, arrival),
            Operation::Submit { queue, arrivals, .. } => arrivals.iter_mut().try_for_each(|arrival| self.put(queue, arrival)),
            Operation::Settle(settle) => self.settle(settle),
            Operation::Mark { token, job, life, .. } => {
                if self.shared.leases().is_held(*token) {
                    self.statements.mark.execute((&**life, job.unsettled, job.place.0))?;
                }
                Ok(())
            }
            Operation::Open { queue, tails, .. } => {
                let number = self.number(queue)?;
                *tails = Some(rows::tails(self.connection, number)?);
                Ok(())
            }
            Operation::Pause { queue, paused, .. } => {
                let number = self.number(queue)?;
                self.statements.pause.execute((*paused, number)).map(drop)
            }
            Operation::Act(act) => self.act(act),
            Operation::Change { changes, changed, .. } => {
                *changed = self.change(changes)?;
                Ok(())
            }
            Operation::Locate { id, found, .. } => {
                *found = self.locate(id)?;
                Ok(())
            }
            #[cfg(test)]
            Operation::Pragma { .. } => Ok(()),
        }
    }

    /// The number of a queue, which is given one with its first use.
    fn number(&mut self, queue: &Arc<ReadyQueue>) -> rusqlite::Result<QueueNumber> {
        if let Some(number) = queue.number() {
            return Ok(number);
        }
        if let Some((_, number)) = self.named.iter().find(|(named, _)| Arc::ptr_eq(named, queue)) {
            return Ok(*number);
        }
        let number = self.statements.name_queue.query_row([&*queue.name], |row| row.get(0))?;
        self.named.push((queue.clone(), number));
        Ok(number)
    }

    /// A place at the end of a lane.
    fn next_place(&mut self, queue: QueueNumber, lane: Lane) -> Place {
        self.sequence += 1;
        Place::new(queue, lane, self.sequence)
    }

    /// Once a second: leases that were not renewed, and what is kept for a time only.
    fn tick(&mut self) {
        let now = Instant::now();
        if now < self.next_tick {
            return;
        }
        self.sync.flush(); // what a holder has written over its job is known by then
        self.shared.expire(now);
        self.forget_old();
        self.tidy_ids();
        let expiry = self.shared.leases().next_expiry().unwrap_or(now + TICK);
        self.next_tick = expiry.clamp(now + TICK / 100, now + TICK);
    }

    /// The orderly end: the log is folded into the file, and nobody is suspected at the next start.
    fn finish(self) {
        drop(self.sync);
        drop(self.fold);
        self.shared.readers.close();
        if self.shared.broken().is_some() {
            return; // the next start finds what reached the disk, and suspects what ran
        }
        let fold = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        let clean = self.shared.leases().mark_clean();
        if let Err(error) = fold {
            tracing::warn!(%error, "the log was not folded into the store; it is at the next start");
        }
        if let Err(error) = clean {
            tracing::warn!(%error, "the slot file was not closed; running jobs are suspected at the next start");
        }
    }
}

/// The operations of a commit that failed, cut into parts that may succeed: on a full disk settlements go first, because
/// they make room; where one operation broke a rule of the tables, each goes alone.
fn split(operations: impl Iterator<Item = Operation>, error: &rusqlite::Error) -> Vec<Vec<Operation>> {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
    if let Some(ConstraintViolation | TooBig | TypeMismatch) = error.sqlite_error_code() {
        return operations.map(|operation| vec![operation]).collect();
    }
    let (settlements, others): (Vec<_>, Vec<_>) = operations.partition(Operation::settles);
    [settlements, others].into_iter().filter(|part| !part.is_empty()).collect()
}
