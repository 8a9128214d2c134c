//! What the writer is asked to do; each operation is answered once its commit is on disk.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::lease::Token;
use super::located::Located;
use super::place::{Place, QueueNumber};
use super::ready_queue::ReadyQueue;
use super::store::Shared;
use super::waiting::{Parts, Stored, Waiting};
use crate::ports::{Acted, Action, Ending, NewJob, QueueError, Settled, Submitted};
use crate::state::Change;

pub(super) type Reply<T> = oneshot::Sender<Result<T, QueueError>>;

/// A submit of more than so many jobs, or bytes, is bulky.
const BULKY_JOBS: usize = 100;
const BULKY_BYTES: usize = 1 << 20;

pub(super) enum Operation {
    /// One message, from a sink.
    Put {
        queue: Arc<ReadyQueue>,
        arrival: Arrival,
        reply: Reply<()>,
    },
    Submit {
        queue: Arc<ReadyQueue>,
        arrivals: Vec<Arrival>,
        reply: Reply<Vec<Submitted>>,
    },
    Settle(Settle),
    /// Writes a life over a held job.
    Mark {
        token: Token,
        job: Waiting,
        life: Bytes,
        reply: Reply<()>,
    },
    /// Starts to keep a queue's next jobs in memory, for its source.
    Open {
        queue: Arc<ReadyQueue>,
        tails: Option<[Place; 10]>,
        reply: Reply<()>,
    },
    Pause {
        queue: Arc<ReadyQueue>,
        paused: bool,
        reply: Reply<()>,
    },
    Act(Box<Act>),
    /// Values of the state store, all or none.
    Change {
        changes: Vec<Change>,
        changed: bool,
        reply: Reply<bool>,
    },
    /// Finds what is known of an id, in every queue.
    Locate {
        id: Arc<str>,
        found: Vec<Located>,
        reply: Reply<Vec<Located>>,
    },
    /// Changes a setting of the writer's connection, such as to make the disk full.
    #[cfg(test)]
    Pragma {
        sql: &'static str,
        reply: Reply<()>,
    },
}

/// A message on its way into a queue.
pub(super) struct Arrival {
    pub job: Arc<Stored>,
    /// Of its message, where that has headers.
    pub parts: Option<Box<Parts>>,
    /// Milliseconds since 1970.
    pub due: Option<i64>,
    /// The id was made for it, so that nobody can have used it before.
    pub is_new: bool,
    /// Where the writer put it; [`Place::NONE`] when the id was known.
    pub place: Place,
}

/// The end of a lease by its holder.
pub(super) struct Settle {
    pub token: Token,
    pub job: Waiting,
    /// It stands in a place of parked jobs.
    pub beside: bool,
    pub how: Settlement,
    /// Where the writer moved the job to.
    pub moved: Place,
    pub outcome: Settled,
    pub reply: Reply<Settled>,
}

pub(super) enum Settlement {
    End(Ending),
    /// Into the same queue, due at `at`.
    Later {
        at: i64,
        life: Bytes,
        parked: bool,
    },
    /// Into a place of parked jobs, and back into their queue at `until`.
    Park {
        place: Arc<ReadyQueue>,
        until: i64,
        life: Bytes,
    },
    /// Into the dead letters.
    Dead {
        dead: Arc<ReadyQueue>,
        life: Bytes,
        document: Bytes,
        event: Option<Bytes>,
    },
}

/// An operator's action on one job.
pub(super) struct Act {
    pub queue: Arc<ReadyQueue>,
    pub id: Arc<str>,
    pub action: Action,
    pub acted: Acted,
    /// The queue the job was submitted to.
    pub home: QueueNumber,
    /// What was held back from the source while the action is under way.
    pub withdrawn: Option<(Arc<ReadyQueue>, Place)>,
    /// Where the job stands now, if it still does.
    pub moved: Place,
    pub reply: Reply<Acted>,
}

impl Arrival {
    fn size(&self) -> usize {
        self.job.message.size()
    }

    pub fn new(queue: &ReadyQueue, job: NewJob) -> Self {
        let NewJob { id, mut message, due, priority } = job;
        let parts = Parts::of(&message);
        if let Some(parts) = &parts {
            // the order in which a message read back from the file has its headers
            message.headers = Parts::clone(parts).into_headers();
        }
        let sorted = queue.sorted(&message);
        let job = Stored { digest: queue.digest(&id), id, priority: priority.min(9), sorted, message };
        Arrival { job: Arc::new(job), parts, due: due.map(Timestamp::as_millisecond), is_new: false, place: Place::NONE }
    }
}

impl Act {
    pub fn new(queue: Arc<ReadyQueue>, id: &str, action: Action, reply: Reply<Acted>) -> Self {
        let (acted, moved) = (Acted::NotFound, Place::NONE);
        Act { queue, id: id.into(), action, acted, home: 0, withdrawn: None, moved, reply }
    }

    /// Puts what was held back from the source where it was.
    pub fn undo(&mut self) {
        if let Some((queue, place)) = self.withdrawn.take() {
            queue.undo(place);
        }
    }
}

impl Operation {
    /// Whether it needs no more space than there is.
    pub fn settles(&self) -> bool {
        matches!(self, Operation::Settle(_) | Operation::Locate { .. })
    }

    /// Whether its commit takes so long that others should not share it.
    pub fn is_bulky(&self) -> bool {
        match self {
            Operation::Submit { arrivals, .. } => {
                arrivals.len() > BULKY_JOBS || arrivals.iter().map(Arrival::size).sum::<usize>() > BULKY_BYTES
            }
            Operation::Put { arrival, .. } => arrival.size() > BULKY_BYTES,
            _ => false,
        }
    }

    /// Its commit has failed.
    pub fn undo(&mut self) {
        if let Operation::Act(act) = self {
            act.undo();
        }
    }

    /// Answers that it did not happen. The lease of a settlement is its holder's again; where the holder has gone
    /// meanwhile, it is given back.
    pub fn refuse(self, error: QueueError, shared: &Shared) {
        match self {
            Operation::Put { reply, .. } | Operation::Mark { reply, .. } => drop(reply.send(Err(error))),
            Operation::Open { reply, .. } | Operation::Pause { reply, .. } => drop(reply.send(Err(error))),
            Operation::Submit { reply, .. } => drop(reply.send(Err(error))),
            Operation::Settle(settle) => {
                shared.leases().unsettle(settle.token);
                if settle.reply.send(Err(error)).is_err() {
                    shared.give_back(settle.token);
                }
            }
            Operation::Act(act) => drop(act.reply.send(Err(error))),
            Operation::Change { reply, .. } => drop(reply.send(Err(error))),
            Operation::Locate { reply, .. } => drop(reply.send(Err(error))),
            #[cfg(test)]
            Operation::Pragma { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}
