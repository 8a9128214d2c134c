//! The next jobs of one queue in memory: a bounded window on what is ready in the file.

use std::collections::{HashMap, VecDeque};

use super::place::{Lane, Place};
use super::waiting::Waiting;
use crate::ports::Room;

/// The bounds of one lane's window.
const WINDOW_JOBS: usize = 4096;
const WINDOW_BYTES: usize = 2 << 20;
/// What one refill reads at most.
pub(super) const REFILL_JOBS: usize = WINDOW_JOBS / 2;
pub(super) const REFILL_BYTES: usize = WINDOW_BYTES / 2;

/// The ready lanes of a queue that has a source.
#[derive(Default)]
pub(super) struct Ready {
    /// Whether there is a source; without one nothing is kept here.
    pub open: bool,
    pub paused: bool,
    lanes: [ReadyLane; Lane::READY],
    /// Not in the window when an operator took them; a refill may still read them.
    withdrawn: HashMap<Place, Withheld>,
}

enum Withheld {
    /// The commit is under way; what a refill has read meanwhile.
    Undecided(Option<Waiting>),
    /// Gone from the file, but maybe not from the snapshot that a refill reads.
    Gone,
}

/// Jobs up to `loaded` are in the window, leased or gone; those after it, up to `tail`, are only in the file.
#[derive(Default)]
struct ReadyLane {
    window: VecDeque<Waiting>,
    bytes: usize,
    loaded: Place,
    tail: Place,
    refilling: bool,
}

impl Default for Place {
    fn default() -> Self {
        Place::NONE
    }
}

/// A part of a lane to be read from the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refill {
    pub lane: Lane,
    pub after: Place,
    /// Everything up to here was committed before the read starts.
    pub tail: Place,
}

/// What a refill has read.
pub(super) struct Refilled {
    pub jobs: Vec<Waiting>,
    /// It has read all there was.
    pub complete: bool,
}

/// What was found where an operator wants to take a job out.
#[derive(Debug)]
pub(super) enum Withdrawn {
    /// It stood in the window and is held back now.
    Taken(Waiting),
    /// It is not in memory; a refill will pass it over.
    Unread,
    /// It is leased.
    Running,
}

impl Ready {
    /// Opens the queue for its source; `tails` are the last places of its ready lanes in the file.
    pub fn open(&mut self, tails: [Place; Lane::READY]) {
        self.open = true;
        for (lane, tail) in self.lanes.iter_mut().zip(tails) {
            lane.tail = lane.tail.max(tail);
        }
    }

    /// Takes a job that was committed into a ready lane, in the order of the commits.
    pub fn arrive(&mut self, job: Waiting) {
        if !self.open {
            return;
        }
        let lane = &mut self.lanes[usize::from(job.place.lane().0)];
        let (place, size) = (job.place, job.message.size());
        if place <= lane.loaded {
            return; // a refill was faster
        }
        let whole = lane.loaded >= lane.tail;
        lane.tail = place;
        if whole && lane.has_room(size) {
            lane.loaded = place;
            lane.bytes += size;
            lane.window.push_back(job);
        }
    }

    /// Notes that a job was committed into a ready lane; it is read from the file when its turn comes.
    pub fn arrive_unread(&mut self, place: Place) {
        let lane = &mut self.lanes[usize::from(place.lane().0)];
        lane.tail = lane.tail.max(place);
    }

    /// Puts a job back where it stood.
    pub fn give_back(&mut self, job: Waiting) {
        let lane = &mut self.lanes[usize::from(job.place.lane().0)];
        let at = lane.window.partition_point(|other| other.place < job.place);
        lane.bytes += job.message.size();
        lane.window.insert(at, job);
    }

    /// Takes the next jobs into `taken`, by priority and then in order, as many as there is room for.
    pub fn take(&mut self, room: &Room, taken: &mut Vec<Waiting>) {
        if self.paused {
            return;
        }
        let mut bytes = 0;
        for lane in &mut self.lanes {
            while let Some(next) = lane.window.front() {
                let size = next.message.size();
                if taken.len() >= room.jobs || (bytes + size > room.bytes && !taken.is_empty()) {
                    return;
                }
                bytes += size;
                lane.bytes -= size;
                taken.extend(lane.window.pop_front());
            }
            if lane.loaded < lane.tail {
                return; // what is still unread here goes before lower priorities
            }
        }
    }

    /// The parts that should be read now; the caller reads each and calls [`Ready::refill`].
    pub fn refills(&mut self) -> Vec<Refill> {
        if !self.open || self.paused {
            return Vec::new();
        }
        let lanes = (0..).map(Lane).zip(&mut self.lanes);
        let wanting = lanes.filter(|(_, lane)| !lane.refilling && lane.loaded < lane.tail && lane.is_low());
        wanting
            .map(|(number, lane)| {
                lane.refilling = true;
                Refill { lane: number, after: lane.loaded, tail: lane.tail }
            })
            .collect()
    }

    /// Takes what a refill has read; `None` when the read failed and is to be tried again.
    pub fn refill(&mut self, refill: Refill, read: Option<Refilled>) {
        let lane = &mut self.lanes[usize::from(refill.lane.0)];
        lane.refilling = false;
        let Some(read) = read else { return };
        let last = read.jobs.last().map_or(refill.after, |job| job.place);
        lane.loaded = if read.complete { last.max(refill.tail) } else { last };
        lane.tail = lane.tail.max(lane.loaded);
        for job in read.jobs {
            match self.withdrawn.get_mut(&job.place) {
                Some(Withheld::Undecided(found)) => *found = Some(job),
                Some(Withheld::Gone) => {}
                None => {
                    lane.bytes += job.message.size();
                    lane.window.push_back(job);
                }
            }
        }
        let loaded = lane.loaded;
        self.withdrawn.retain(|place, held| place.lane() != refill.lane || *place > loaded || !matches!(held, Withheld::Gone));
    }

    /// Takes a ready job out of turn, so that it is not handed out while an operator acts on it.
    pub fn withdraw(&mut self, place: Place) -> Withdrawn {
        if !self.open {
            return Withdrawn::Unread;
        }
        let lane = &mut self.lanes[usize::from(place.lane().0)];
        if let Ok(at) = lane.window.binary_search_by_key(&place, |job| job.place)
            && let Some(job) = lane.window.remove(at)
        {
            lane.bytes -= job.message.size();
            return Withdrawn::Taken(job);
        }
        if place <= lane.loaded {
            return Withdrawn::Running;
        }
        self.withdrawn.insert(place, Withheld::Undecided(None));
        Withdrawn::Unread
    }

    /// The commit that took the job away has succeeded.
    pub fn confirm(&mut self, place: Place) {
        let read = place <= self.lanes[usize::from(place.lane().0)].loaded;
        if read {
            self.withdrawn.remove(&place);
        } else if let Some(held) = self.withdrawn.get_mut(&place) {
            *held = Withheld::Gone;
        }
    }

    /// The commit that would have taken the job away has failed: it goes back where it stood.
    pub fn undo(&mut self, place: Place, withdrawn: Withdrawn) {
        let job = match withdrawn {
            Withdrawn::Taken(job) => Some(job),
            Withdrawn::Unread => match self.withdrawn.remove(&place) {
                Some(Withheld::Undecided(found)) => found,
                _ => None,
            },
            Withdrawn::Running => None,
        };
        if let Some(job) = job {
            self.give_back(job);
        }
    }

    /// When the first job that waits was submitted, `None` in it when there is none; `None` when the file must be asked.
    pub fn oldest(&self) -> Option<Option<i64>> {
        let oldest = self.lanes.iter().filter_map(|lane| lane.window.front()).map(|job| job.submitted).min();
        let known = self.open && self.lanes.iter().all(|lane| !lane.window.is_empty() || lane.loaded >= lane.tail);
        known.then_some(oldest)
    }
}

impl ReadyLane {
    /// One job always fits, however large.
    fn has_room(&self, size: usize) -> bool {
        self.window.is_empty() || (self.window.len() < WINDOW_JOBS && self.bytes + size <= WINDOW_BYTES)
    }

    fn is_low(&self) -> bool {
        self.window.len() <= WINDOW_JOBS - REFILL_JOBS && self.bytes <= WINDOW_BYTES - REFILL_BYTES
    }
}
