//! Messages on their way in.

use std::sync::Arc;

use rusqlite::params;

use super::super::ledger::Line;
use super::super::operation::{Arrival, Operation};
use super::super::place::{Lane, Place, QueueNumber, Standing};
use super::super::ready_queue::ReadyQueue;

use super::super::waiting::Waiting;
use super::Writer;
use crate::ports::Submitted;
use crate::stop_point;

impl Writer<'_> {
    /// Writes a message into a queue, unless its id is known.
    pub(super) fn put(&mut self, queue: &Arc<ReadyQueue>, arrival: &mut Arrival) -> rusqlite::Result<()> {
        let number = self.number(queue)?;
        arrival.due = arrival.due.filter(|due| *due > self.now);
        let place = self.next_place(number, lane_of(queue, arrival));
        let standing = Standing::At(place).to_column();
        let fresh = self.statements.insert_id.execute(params![&*arrival.id, number, standing, self.now])? == 1;
        arrival.place = if fresh { place } else { Place::NONE };
        if !fresh {
            return Ok(());
        }
        let Arrival { id, message, parts, due, priority, .. } = &*arrival;
        self.statements.insert_job.execute(params![
            place.0,
            number,
            &**id,
            self.now,
            priority,
            due,
            message.key.as_deref(),
            parts.headers.as_deref(),
            parts.life.as_deref(),
            parts.failure.as_deref(),
            &*message.body,
        ])?;
        if let Some(due) = *due {
            self.statements.insert_due.execute([due, place.0])?;
        }
        self.ledger.add(number, Line::Submitted, 1, arrival.digest);
        self.ledger.count(number, Line::of_lane(place.lane()), 1);
        Ok(())
    }

    /// Shows the source what was committed, and answers.
    pub(super) fn answer(&mut self, operations: impl Iterator<Item = Operation>) {
        self.show_due();
        for operation in operations {
            match operation {
                Operation::Put { queue, arrival, reply } => {
                    self.arrive(&queue, arrival);
                    drop(reply.send(Ok(())));
                }
                Operation::Submit { queue, arrivals, reply } => {
                    let submitted = arrivals.into_iter().map(|arrival| {
                        let answer = Submitted { id: arrival.id.clone(), existing: arrival.place == Place::NONE };
                        self.arrive(&queue, arrival);
                        answer
                    });
                    drop(reply.send(Ok(submitted.collect())));
                }
                Operation::Settle(settle) => self.settled(settle),
                Operation::Mark { token, job, life, reply } => self.marked(token, &job, &life, reply),
                Operation::Open { queue, tails, reply } => {
                    queue.ready().open(tails.unwrap_or_default());
                    drop(reply.send(Ok(())));
                }
                Operation::Pause { queue, paused, reply } => {
                    queue.ready().paused = paused;
                    queue.arrived.notify_one();
                    drop(reply.send(Ok(())));
                }
                Operation::Act(act) => self.acted(*act),
                #[cfg(test)]
                Operation::Pragma { reply, .. } => drop(reply.send(Ok(()))),
            }
        }
        stop_point::pass("replied");
    }

    fn arrive(&mut self, queue: &ReadyQueue, arrival: Arrival) {
        let Some(number) = queue.number().filter(|_| arrival.place != Place::NONE) else { return };
        if let Some(due) = arrival.due {
            self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
            return;
        }
        let job = waiting(arrival, number, self.now);
        queue.ready().arrive(job);
        queue.arrived.notify_one();
    }
}

fn lane_of(queue: &ReadyQueue, arrival: &Arrival) -> Lane {
    match arrival.due {
        Some(_) if arrival.parts.is_parked() => Lane::PARKED,
        Some(_) => Lane::DELAYED,
        None if queue.is_dead() => Lane::DEAD,
        None => Lane::of_priority(arrival.priority),
    }
}

fn waiting(arrival: Arrival, home: QueueNumber, submitted: i64) -> Waiting {
    let Arrival { id, message, priority, digest, place, .. } = arrival;
    Waiting { place, home, digest, id, submitted, priority, unsettled: 0, message }
}
