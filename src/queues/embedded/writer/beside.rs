//! Jobs in the places beside their queue: they stand there ready, and have a time at which they go back.

use rusqlite::OptionalExtension;

use super::super::place::{Place, QueueNumber};
use super::super::ready::Withdrawn;
use super::super::ready_queue::ReadyQueue;
use super::Writer;

/// A job that is in somebody's hands when its time is over is looked at again after this, in milliseconds.
const LOOK_AGAIN: i64 = 5000;

impl Writer<'_> {
    /// Takes a job that leaves its place off the table `due`.
    pub(super) fn forget_due(&mut self, place: Place) -> rusqlite::Result<()> {
        let mut select = self.connection.prepare_cached("SELECT due FROM jobs WHERE place = ?")?;
        let due: Option<Option<i64>> = select.query_row([place.0], |row| row.get(0)).optional()?;
        if let Some(due) = due.flatten() {
            self.statements.delete_due.execute([due, place.0])?;
        }
        Ok(())
    }

    /// The queue that a job in this place goes back to.
    pub(super) fn home_number(&mut self, place: Place) -> rusqlite::Result<QueueNumber> {
        match self.shared.registry.numbered(place.queue()) {
            Some(queue) => self.number(&self.shared.registry.home_of(&queue)),
            None => Ok(place.queue()),
        }
    }

    /// Holds a job whose time is over back from the source of its place; false when it is leased, and so looked at again.
    pub(super) fn leaves(&mut self, queue: &std::sync::Arc<ReadyQueue>, place: Place) -> rusqlite::Result<bool> {
        let is_leased = || self.shared.leases().is_leased(place);
        let withdrawn = queue.ready().withdraw(place, is_leased);
        if withdrawn == Withdrawn::Held {
            self.withdrawn.push((queue.clone(), place));
            return Ok(true);
        }
        let again = self.now + LOOK_AGAIN;
        let mut update = self.connection.prepare_cached("UPDATE jobs SET due = ? WHERE place = ?")?;
        if update.execute([again, place.0])? == 1 {
            self.wakes(place, again)?;
        }
        Ok(false)
    }

    pub(super) fn undo_withdrawn(&mut self) {
        for (queue, place) in self.withdrawn.drain(..) {
            queue.undo(place);
        }
    }
}
