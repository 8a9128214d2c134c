//! Once a commit is on disk: sources see what may be taken, leases end, and whoever asked is answered.

use std::sync::{Arc, MutexGuard};

use super::operation::{Arrival, Operation, Settle, Settlement};
use super::place::{Place, QueueNumber};
use super::ready::Ready;
use super::ready_queue::ReadyQueue;
use super::store::Shared;
use super::waiting::Waiting;
use crate::ports::{Acted, QueueError, Settled, Submitted};

/// What a commit has done, for those who wait for it.
#[derive(Default)]
pub(super) struct Committed {
    pub operations: Vec<Operation>,
    /// Of its transaction, in milliseconds since 1970.
    pub now: i64,
    /// Jobs that it moved into a ready lane because their time had come.
    pub became_due: Vec<Place>,
    /// Those of them that were held back from a source for it.
    pub withdrawn: Vec<(Arc<ReadyQueue>, Place)>,
}

impl Committed {
    /// Whether nobody waits for it.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.became_due.is_empty() && self.withdrawn.is_empty()
    }

    /// Tells everybody; leaves the emptied line of operations, to be used again.
    pub fn answer(mut self, shared: &Shared) -> Vec<Operation> {
        for (queue, place) in &self.withdrawn {
            queue.ready().confirm(*place);
        }
        for place in &self.became_due {
            show_unread(shared, *place);
        }
        self.show(shared);
        self.end_leases(shared);
        self.operations.drain(..).for_each(|operation| reply(operation, shared));
        self.operations
    }

    /// Tells everybody that it may be lost.
    pub fn refuse(self, error: &QueueError, shared: &Shared) {
        self.operations.into_iter().for_each(|operation| operation.refuse(error.clone(), shared));
    }

    /// Puts what came into a lane where the sources take it from, in the order of the places that were given out: a lane
    /// takes nothing from before its last. Most of a commit is for one queue, which is locked once for all operations
    /// that follow each other.
    fn show(&self, shared: &Shared) {
        let mut shown: Option<Shown<'_>> = None;
        for operation in &self.operations {
            let (queue, arrivals, tails) = match operation {
                Operation::Put { queue, arrival, .. } => (queue, std::slice::from_ref(arrival), None),
                Operation::Submit { queue, arrivals, .. } => (queue, &**arrivals, None),
                Operation::Open { queue, tails, .. } => (queue, &[][..], *tails),
                other => {
                    if let Some(place) = moved(other) {
                        drop(shown.take());
                        show_moved(shared, other, place);
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
            for arrival in arrivals.iter().filter(|arrival| arrival.place != Place::NONE && arrival.due.is_none()) {
                at.ready.arrive(waiting(arrival, at.number, self.now));
            }
        }
    }

    fn end_leases(&self, shared: &Shared) {
        let mut leases = shared.leases();
        for operation in &self.operations {
            if let Operation::Settle(settle) = operation {
                leases.end(settle.token);
            }
        }
    }
}

fn reply(operation: Operation, shared: &Shared) {
    match operation {
        Operation::Put { reply, .. } | Operation::Open { reply, .. } => drop(reply.send(Ok(()))),
        Operation::Submit { arrivals, reply, .. } => {
            let existing = |arrival: &Arrival| arrival.place == Place::NONE;
            let submitted = arrivals.iter().map(|arrival| Submitted { id: arrival.job.id.clone(), existing: existing(arrival) });
            drop(reply.send(Ok(submitted.collect())));
        }
        Operation::Settle(Settle { job, how, outcome, reply, .. }) => {
            if outcome == Settled::Done && matches!(how, Settlement::End(_) | Settlement::Dead { .. }) {
                shared.watchers.ended(job.home, &job.id);
            }
            drop(reply.send(Ok(outcome)));
        }
        Operation::Locate { found, reply, .. } => drop(reply.send(Ok(found))),
        Operation::Mark { token, job, life, reply } => {
            let held = shared.leases().rewrite(token, job.with_life(job.place, &life));
            drop(reply.send(if held { Ok(()) } else { Err(QueueError::LeaseLost) }));
        }
        Operation::Pause { queue, paused, reply } => {
            queue.ready().paused = paused;
            shared.registry.wake(&queue);
            drop(reply.send(Ok(())));
        }
        Operation::Act(mut act) => {
            if let Some((queue, place)) = act.withdrawn.take() {
                queue.ready().confirm(place);
            }
            if act.acted == Acted::Done {
                shared.watchers.ended(act.home, &act.id);
            }
            drop(act.reply.send(Ok(act.acted)));
        }
        Operation::Change { changed, reply, .. } => drop(reply.send(Ok(changed))),
        #[cfg(test)]
        Operation::Pragma { reply, .. } => drop(reply.send(Ok(()))),
    }
}

/// Shows a job that was moved into a ready lane.
fn show_moved(shared: &Shared, operation: &Operation, place: Place) {
    // a job that was parked is sorted as its place was
    let Operation::Settle(Settle { job, beside: false, how: Settlement::Later { life, .. }, .. }) = operation else {
        return show_unread(shared, place);
    };
    if let Some(queue) = shared.registry.numbered(place.queue()) {
        queue.ready().arrive(job.with_life(place, life));
        queue.arrived.notify_one();
    }
}

/// Lets the source of a queue know of a job that it must read from the file.
fn show_unread(shared: &Shared, place: Place) {
    if let Some(queue) = shared.registry.numbered(place.queue()) {
        queue.ready().arrive_unread(place);
        queue.arrived.notify_one();
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
