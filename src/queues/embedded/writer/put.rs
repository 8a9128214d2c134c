//! Messages on their way in.

use std::sync::Arc;

use super::super::ledger::Line;
use super::super::operation::Arrival;
use super::super::place::{Lane, Place, Standing};
use super::super::ready_queue::ReadyQueue;
use super::Writer;

impl Writer<'_> {
    /// Writes a message into a queue, unless its id is known.
    pub(super) fn put(&mut self, queue: &Arc<ReadyQueue>, arrival: &mut Arrival) -> rusqlite::Result<()> {
        let number = self.number(queue)?;
        arrival.due = arrival.due.filter(|due| *due > self.now);
        arrival.place = Place::NONE;
        if !arrival.is_new && self.known(arrival.job.digest)?.is_some() {
            return Ok(());
        }
        let place = self.next_place(number, lane_of(queue, arrival));
        arrival.place = place;
        let Arrival { job, parts, due, .. } = arrival;
        self.stands(job.digest, Standing::At(place), self.now);
        let parts = parts.as_deref();
        self.statements.insert_job.execute((
            place.0,
            number,
            &*job.id,
            self.now,
            job.priority,
            *due,
            job.message.key.as_deref(),
            parts.and_then(|parts| parts.headers.as_deref()),
            parts.and_then(|parts| parts.life.as_deref()),
            parts.and_then(|parts| parts.failure.as_deref()),
            &*job.message.body,
        ))?;
        if let Some(due) = *due {
            self.wakes(place, due)?;
        }
        self.ledger.add(number, Line::Submitted, 1, job.digest);
        self.ledger.count(number, Line::of_lane(place.lane()), 1);
        Ok(())
    }
}

fn lane_of(queue: &ReadyQueue, arrival: &Arrival) -> Lane {
    match arrival.due {
        _ if queue.parked_from().is_some() => Lane::BESIDE,
        Some(_) if arrival.parts.as_ref().is_some_and(|parts| parts.is_parked()) => Lane::PARKED,
        Some(_) => Lane::DELAYED,
        None if queue.is_dead() => Lane::DEAD,
        None => Lane::of_priority(arrival.job.priority),
    }
}
