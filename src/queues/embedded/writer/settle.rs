//! Jobs on their way out: ended, scheduled again, or dead.

use bytes::Bytes;
use rusqlite::params;

use super::super::endings::{self, FULL_BLOCK};
use super::super::ledger::{FILE, Line};
use super::super::operation::{Settle, Settlement};
use super::super::place::{EndKind, Lane, Place, Standing};
use super::super::waiting::Waiting;
use super::Writer;
use crate::ports::{Ending, Settled};

/// The endings of the transaction at hand, on their way into one row.
#[derive(Default)]
pub(super) struct Endings {
    block: Vec<u8>,
    count: i64,
}

impl Endings {
    pub fn clear(&mut self) {
        self.block.clear();
        self.count = 0;
    }
}

/// What a move writes over a row: the job's next life and, when it died, the failure and the event of it.
pub(super) struct Rewritten<'a> {
    pub life: &'a Bytes,
    pub failure: Option<&'a Bytes>,
    pub event: Option<&'a Bytes>,
}

impl Writer<'_> {
    pub(super) fn settle(&mut self, settle: &mut Settle) -> rusqlite::Result<()> {
        let job = &settle.job;
        if settle.beside {
            self.forget_due(job.place)?;
        }
        let done = match &settle.how {
            Settlement::End(ending) => self.end(job, ending)?,
            Settlement::Later { at, life, parked } => {
                let lane = match (*at > self.now, parked) {
                    (false, _) if settle.beside => Lane::of_priority(job.priority),
                    (false, _) => job.place.lane(),
                    (true, false) => Lane::DELAYED,
                    (true, true) => Lane::PARKED,
                };
                let number = if settle.beside { self.home_number(job.place)? } else { job.place.queue() };
                settle.moved = self.next_place(number, lane);
                let due = Some(*at).filter(|at| *at > self.now);
                self.relocate(job, settle.moved, due, Rewritten { life, failure: None, event: None })?
            }
            Settlement::Park { place, until, life } => {
                let number = self.number(place)?;
                settle.moved = self.next_place(number, Lane::BESIDE);
                self.relocate(job, settle.moved, Some(*until), Rewritten { life, failure: None, event: None })?
            }
            Settlement::Dead { dead, life, document, event } => {
                let number = self.number(dead)?;
                settle.moved = self.next_place(number, Lane::DEAD);
                self.relocate(job, settle.moved, None, Rewritten { life, failure: Some(document), event: event.as_ref() })?
            }
        };
        settle.outcome = if done { Settled::Done } else { Settled::Fenced };
        Ok(())
    }

    /// Ends a job: false when its row was gone.
    pub(super) fn end(&mut self, job: &Waiting, ending: &Ending) -> rusqlite::Result<bool> {
        if self.statements.delete_job.execute([job.place.0])? == 0 {
            return Ok(false);
        }
        let kind = EndKind::of(&ending.end);
        self.ends += 1;
        self.stands(job.digest, Standing::Ended(kind, self.ends), ending.at.as_millisecond());
        self.ledger.count(job.place.queue(), Line::of_lane(job.place.lane()), -1);
        self.ledger.add(job.home, Line::of_end(kind), 1, job.digest);
        if self.shared.options.results_rows > 0 {
            endings::append(&mut self.endings.block, self.ends, job, ending);
            self.endings.count += 1;
            if self.endings.block.len() >= FULL_BLOCK {
                self.flush_endings()?;
            }
        }
        Ok(true)
    }

    pub(super) fn flush_endings(&mut self) -> rusqlite::Result<()> {
        let Endings { block, count } = &self.endings;
        if *count == 0 {
            return Ok(());
        }
        self.statements.insert_endings.execute(params![self.ends - count + 1, count, self.now, block])?;
        self.ledger.count(FILE, Line::KeptEndings, *count);
        self.endings.clear();
        Ok(())
    }

    /// Moves a job's row: false when it was gone.
    pub(super) fn relocate(
        &mut self,
        job: &Waiting,
        to: Place,
        due: Option<i64>,
        Rewritten { life, failure, event }: Rewritten<'_>,
    ) -> rusqlite::Result<bool> {
        let (failure, event) = (failure.map(|failure| &**failure), event.map(|event| &**event));
        if self.statements.move_job.execute(params![to.0, due, &**life, failure, event, job.place.0])? == 0 {
            return Ok(false);
        }
        if let Some(due) = due {
            self.wakes(to, due)?;
        }
        self.stands(job.digest, Standing::At(to), self.now);
        self.ledger.count(job.place.queue(), Line::of_lane(job.place.lane()), -1);
        self.ledger.count(to.queue(), Line::of_lane(to.lane()), 1);
        Ok(true)
    }
}
