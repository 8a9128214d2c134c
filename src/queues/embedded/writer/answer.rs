//! After the commit: sources see what may be taken, leases end, and whoever asked is answered.

use std::sync::{Arc, MutexGuard};

use super::super::operation::{Arrival, Operation, Settle, Settlement};
use super::super::place::{Place, QueueNumber};
use super::super::ready::Ready;
use super::super::ready_queue::ReadyQueue;
use super::super::store::unavailable;
use super::super::waiting::Waiting;
use super::Writer;
use crate::ports::Submitted;
use crate::ports::{Acted, QueueError, Settled};
use crate::stop_point;

impl Writer<'_> {
    pub(super) fn answer(&mut self, operations: &mut Vec<Operation>) {
        self.show_due();
        self.show(operations);
        self.end_leases(operations);
        for operation in operations.drain(..) {
            self.reply(operation);
        }
        stop_point::pass("replied");
    }

    /// Puts what came into a lane where the sources take it from, in the order of the places that were given out: a lane
    /// takes nothing from before its last. Most of a commit is for one queue, which is locked once for all operations
    /// that follow each other.
    fn show(&mut self, operations: &[Operation]) {
        let mut shown: Option<Shown<'_>> = None;
        for operation in operations {
            let (queue, arrivals, tails) = match operation {
                Operation::Put { queue, arrival, .. } => (queue, std::slice::from_ref(arrival), None),
                Operation::Submit { queue, arrivals, .. } => (queue, &**arrivals, None),
                Operation::Open { queue, tails, .. } => (queue, &[][..], *tails),
                other => {
                    if let Some(place) = moved(other) {
                        drop(shown.take());
                        self.show_moved(other, place);
                    }
                    continue;
                }
            };
            let at = match shown.take() {
                Some(at) if Arc::ptr_eq(at.queue, queue) => shown.insert(at),
                _ => shown.insert(Shown {
                    queue,
                    number: queue.number().unwrap_or_default(),
                    ready: queue.ready(),
                    _tell: Tell(queue),
                }),
            };
            if let Some(tails) = tails {
                at.ready.open(tails);
            }
            for arrival in arrivals.iter().filter(|arrival| arrival.place != Place::NONE) {
                match arrival.due {
                    None => at.ready.arrive(waiting(arrival, at.number, self.now)),
                    Some(due) => self.next_due = Some(self.next_due.map_or(due, |next| next.min(due))),
                }
            }
        }
    }

    fn end_leases(&self, operations: &[Operation]) {
        let mut leases = self.shared.leases();
        for operation in operations {
            if let Operation::Settle(settle) = operation {
                leases.end(settle.token);
            }
        }
    }

    fn reply(&mut self, operation: Operation) {
        match operation {
            Operation::Put { reply, .. } | Operation::Open { reply, .. } => drop(reply.send(Ok(()))),
            Operation::Submit { arrivals, reply, .. } => {
                let existing = |arrival: &Arrival| arrival.place == Place::NONE;
                let submitted =
                    arrivals.iter().map(|arrival| Submitted { id: arrival.job.id.clone(), existing: existing(arrival) });
                drop(reply.send(Ok(submitted.collect())));
            }
            Operation::Settle(settle) => self.settled(settle),
            Operation::Locate { id, reply } => {
                let found = self.locate(&id).map_err(|error| unavailable(&self.shared.options.path, &error));
                drop(reply.send(found));
            }
            Operation::Mark { token, job, life, reply } => {
                let held = self.shared.leases().rewrite(token, job.with_life(job.place, &life));
                drop(reply.send(if held { Ok(()) } else { Err(QueueError::LeaseLost) }));
            }
            Operation::Pause { queue, paused, reply } => {
                queue.ready().paused = paused;
                self.shared.registry.wake(&queue);
                drop(reply.send(Ok(())));
            }
            Operation::Act(mut act) => {
                if let Some((queue, place)) = act.withdrawn.take() {
                    queue.ready().confirm(place);
                }
                if act.acted == Acted::Done {
                    self.shared.watchers.ended(act.home, &act.id);
                }
                drop(act.reply.send(Ok(act.acted)));
            }
            Operation::Change { changed, reply, .. } => drop(reply.send(Ok(changed))),
            #[cfg(test)]
            Operation::Pragma { reply, .. } => drop(reply.send(Ok(()))),
        }
    }

    fn settled(&mut self, settle: Settle) {
        let Settle { job, how, moved, outcome, reply, .. } = settle;
        if outcome == Settled::Done {
            match how {
                Settlement::End(_) => self.shared.watchers.ended(job.home, &job.id),
                Settlement::Later { at, .. } if !moved.lane().is_ready() => {
                    self.next_due = Some(self.next_due.map_or(at, |next| next.min(at)));
                }
                Settlement::Later { .. } => {}
                Settlement::Park { until, .. } => {
                    self.next_due = Some(self.next_due.map_or(until, |next| next.min(until)));
                }
                Settlement::Dead { .. } => self.shared.watchers.ended(job.home, &job.id),
            }
        }
        drop(reply.send(Ok(outcome)));
    }

    /// Shows a job that was moved into a ready lane.
    fn show_moved(&self, operation: &Operation, place: Place) {
        // a job that was parked is sorted as its place was
        let Operation::Settle(Settle { job, beside: false, how: Settlement::Later { life, .. }, .. }) = operation else {
            return self.show_unread(place);
        };
        if let Some(queue) = self.shared.registry.numbered(place.queue()) {
            queue.ready().arrive(job.with_life(place, life));
            queue.arrived.notify_one();
        }
    }

    /// Lets the source of a queue know of a job that it must read from the file.
    pub(super) fn show_unread(&self, place: Place) {
        if let Some(queue) = self.shared.registry.numbered(place.queue()) {
            queue.ready().arrive_unread(place);
            queue.arrived.notify_one();
        }
    }
}

/// The ready place that an operation has moved a job to.
fn moved(operation: &Operation) -> Option<Place> {
    let moved = match operation {
        Operation::Settle(settle) if settle.outcome == Settled::Done => settle.moved,
        Operation::Act(act) if act.acted == Acted::Done => act.moved,
        _ => Place::NONE,
    };
    (moved != Place::NONE && moved.lane().is_ready()).then_some(moved)
}

/// A queue that is locked while arrivals are put into it.
struct Shown<'a> {
    queue: &'a Arc<ReadyQueue>,
    number: QueueNumber,
    // dropped in this order: the source is told when it can lock the queue
    ready: MutexGuard<'a, Ready>,
    _tell: Tell<'a>,
}

struct Tell<'a>(&'a ReadyQueue);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        self.0.arrived.notify_one();
    }
}

fn waiting(arrival: &Arrival, home: QueueNumber, submitted: i64) -> Waiting {
    Waiting { place: arrival.place, home, submitted, unsettled: 0, job: arrival.job.clone() }
}
