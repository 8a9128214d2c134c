//! What may be taken of one queue: its backlog in turns, and the messages of those that are next.

use std::collections::{HashMap, HashSet};

use super::backlog::{Backlog, Head};
use super::bodies::{Bodies, WINDOW_JOBS};
use super::place::{Lane, Place};
use super::sorted::{Sorted, Spreading};
use super::waiting::Waiting;
use crate::ports::Room;

/// A job with fewer before it in its own line is kept in memory though others wait unread.
const NEAR: usize = 32;
/// A scan that somebody waits for is as short as this.
const FIRST_SCAN: usize = 256;

/// The ready lanes of a queue that has a source.
#[derive(Default)]
pub(super) struct Ready {
    /// Whether there is a source; without one nothing is kept here.
    pub open: bool,
    pub paused: bool,
    lanes: [ReadyLane; Lane::READY],
    backlog: Backlog,
    bodies: Bodies,
    /// A read is under way.
    reading: bool,
    /// The job whose turn it is, or one like it, is not in memory.
    hungry: bool,
    /// There was nothing to read ahead, and nothing new has come since.
    sated: bool,
    /// Jobs that an operator acts on, until the commit.
    acting: HashMap<Place, Acting, Spreading>,
    /// Jobs that are gone from the file, but maybe not from the backlog or from the snapshot that a read sees.
    gone: HashSet<Place, Spreading>,
}

/// Jobs up to `scanned` are in the backlog, leased or gone; those after it, up to `tail`, are only in the file.
#[derive(Clone, Copy, Default)]
struct ReadyLane {
    scanned: Place,
    tail: Place,
}

/// A job that is held back while an operator acts on it.
#[derive(Default)]
struct Acting {
    body: Option<Waiting>,
    /// Its turn came meanwhile, or it was given back: it is not in the backlog.
    passed: Option<Sorted>,
}

impl Default for Place {
    fn default() -> Self {
        Place::NONE
    }
}

/// Something to be read from the file.
pub(super) enum Read {
    Scan(Scan),
    /// The messages of these jobs.
    Load(Vec<Head>),
}

/// A part of a lane to be taken into the backlog.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    pub lane: Lane,
    pub after: Place,
    /// Everything up to here was committed before the read starts.
    pub tail: Place,
    /// Jobs to be read at most.
    pub most: usize,
}

/// What was found where an operator wants to take a job out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withdrawn {
    /// It is held back until [`Ready::confirm`] or [`Ready::undo`].
    Held,
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
        if job.place <= lane.scanned {
            return; // a scan was faster
        }
        let whole = lane.scanned >= lane.tail;
        lane.tail = job.place;
        let Some(sorted) = job.sorted.filter(|_| whole && self.backlog.has_room()) else { return };
        lane.scanned = job.place;
        self.admit(sorted, job);
    }

    /// Notes that a job was committed into a ready lane; it is read from the file when its turn comes.
    pub fn arrive_unread(&mut self, place: Place) {
        let lane = &mut self.lanes[usize::from(place.lane().0)];
        lane.tail = lane.tail.max(place);
    }

    /// Into the backlog; its message is kept where it is likely to be needed soon.
    fn admit(&mut self, sorted: Sorted, job: Waiting) {
        let all_read = self.backlog.len() <= self.bodies.len();
        let near = all_read || self.backlog.waiting(sorted.stream, job.place.lane()) < NEAR;
        self.backlog.insert(sorted, job.place);
        if near && self.bodies.has_room(job.message.size()) {
            self.bodies.insert(job);
        } else {
            self.sated = false;
        }
    }

    /// Puts a job back where it stood.
    pub fn give_back(&mut self, job: Waiting) {
        let sorted = job.sorted.unwrap_or_default();
        if let Some(acting) = self.acting.get_mut(&job.place) {
            *acting = Acting { body: Some(job), passed: Some(sorted) };
            return;
        }
        self.backlog.insert(sorted, job.place);
        self.bodies.insert(job);
    }

    /// Takes the next jobs into `taken`, in turns, as many as there is room for. Stops at a job that must be read first:
    /// its turn is its own.
    pub fn take(&mut self, room: &Room, taken: &mut Vec<Waiting>) {
        if self.paused {
            return;
        }
        let mut bytes = 0;
        while taken.len() < room.jobs {
            let Some(head) = self.backlog.head() else { return };
            if self.passes(head) {
                continue;
            }
            let Some(size) = self.bodies.size(head.place) else {
                self.hungry = true;
                return;
            };
            if bytes + size > room.bytes && !taken.is_empty() {
                return;
            }
            bytes += size;
            self.backlog.pop(head);
            taken.extend(self.bodies.take(head.place));
        }
    }

    /// Takes a job out of the backlog that is gone, or held back.
    fn passes(&mut self, head: Head) -> bool {
        if self.gone.is_empty() && self.acting.is_empty() {
            return false;
        }
        if let Some(acting) = self.acting.get_mut(&head.place) {
            acting.passed = Some(head.sorted);
        } else if !self.gone.remove(&head.place) {
            return false;
        }
        self.backlog.pop(head);
        true
    }

    /// Yields no more of a strand, until it is opened.
    pub fn shut(&mut self, strand: Sorted) {
        self.backlog.shut(strand);
    }

    pub fn open_strand(&mut self, strand: Sorted) {
        self.backlog.open(strand);
        self.sated = false;
    }

    /// For a new taker, which has shut nothing.
    pub fn open_strands(&mut self) {
        self.backlog.open_all();
        self.sated = false;
    }

    /// What should be read now; the caller does so and calls [`Ready::scanned`] or [`Ready::loaded`].
    pub fn read(&mut self) -> Option<Read> {
        if !self.open || self.paused || self.reading {
            return None;
        }
        let read = self.load().or_else(|| self.scan());
        self.reading = read.is_some();
        read
    }

    fn load(&mut self) -> Option<Read> {
        let ahead = self.bodies.is_low() && !self.sated && self.backlog.len() > self.bodies.len();
        if !self.hungry && !ahead {
            return None;
        }
        self.hungry = false;
        self.bodies.make_room();
        let (bodies, acting, gone) = (&self.bodies, &self.acting, &self.gone);
        let left_out = |place| bodies.has(place) || acting.contains_key(&place) || gone.contains(&place);
        let heads = self.backlog.next(WINDOW_JOBS, left_out);
        self.sated = heads.is_empty();
        (!heads.is_empty()).then_some(Read::Load(heads))
    }

    fn scan(&mut self) -> Option<Read> {
        let mut lanes = (0..).map(Lane).zip(&self.lanes).filter(|_| self.backlog.has_room());
        let (number, lane) = lanes.find(|(_, lane)| lane.scanned < lane.tail)?;
        let most = if self.backlog.len() == 0 { FIRST_SCAN } else { WINDOW_JOBS };
        Some(Read::Scan(Scan { lane: number, after: lane.scanned, tail: lane.tail, most }))
    }

    /// A read has failed and is to be tried again.
    pub fn not_read(&mut self) {
        self.reading = false;
        self.sated = false;
    }

    /// Takes what a scan has found; `complete` when it has seen all there was.
    pub fn scanned(&mut self, scan: Scan, jobs: Vec<Waiting>, complete: bool) {
        self.reading = false;
        let last = jobs.last().map_or(scan.after, |job| job.place);
        let lane = &mut self.lanes[usize::from(scan.lane.0)];
        lane.scanned = if complete { last.max(scan.tail) } else { last };
        lane.tail = lane.tail.max(lane.scanned);
        let scanned = lane.scanned;
        for job in jobs {
            if self.gone.is_empty() || !self.gone.remove(&job.place) {
                self.admit(job.sorted.unwrap_or_default(), job);
            }
        }
        if !self.gone.is_empty() {
            // gone before the scan saw them
            self.gone.retain(|place| place.lane() != scan.lane || *place <= scan.after || *place > scanned);
        }
    }

    /// Takes the messages that were read; of `heads`, the others are not there any more.
    pub fn loaded(&mut self, heads: &[Head], jobs: Vec<Waiting>) {
        self.reading = false;
        self.hungry = false; // said while this was read; who still misses one says it again
        let mut jobs = jobs.into_iter().peekable();
        for head in heads {
            match jobs.next_if(|job| job.place == head.place) {
                Some(job) if !self.gone.contains(&head.place) => match self.acting.get_mut(&head.place) {
                    Some(acting) => acting.body = Some(job),
                    None => self.bodies.insert(job),
                },
                Some(_) => {}
                None => drop(self.gone.insert(head.place)),
            }
        }
    }

    /// Takes a ready job out of turn, so that it is not handed out while an operator acts on it.
    pub fn withdraw(&mut self, place: Place, is_leased: impl FnOnce() -> bool) -> Withdrawn {
        if self.open {
            if is_leased() {
                return Withdrawn::Running;
            }
            let body = self.bodies.take(place);
            self.acting.insert(place, Acting { body, passed: None });
        }
        Withdrawn::Held
    }

    /// The commit that took the job away has succeeded.
    pub fn confirm(&mut self, place: Place) {
        let Some(acting) = self.acting.remove(&place) else { return };
        self.bodies.take(place); // a scan may have brought it
        if acting.passed.is_none() {
            self.gone.insert(place);
        }
    }

    /// The commit that would have taken the job away has failed: it goes back where it stood.
    pub fn undo(&mut self, place: Place) {
        let Some(Acting { body, passed }) = self.acting.remove(&place) else { return };
        if let Some(sorted) = passed {
            self.backlog.insert(sorted, place);
        }
        match body {
            Some(job) => self.bodies.insert(job),
            None => self.sated = false,
        }
    }

    /// Whether nothing waits that could be taken; without a source only the file knows.
    pub fn is_drained(&self) -> Option<bool> {
        let read = self.lanes.iter().all(|lane| lane.scanned >= lane.tail);
        self.open.then(|| read && self.backlog.len() == 0 && self.acting.is_empty())
    }

    /// The job that waits longest, `None` in it when there is none; `None` when the file must be asked.
    pub fn oldest(&self) -> Option<Option<Place>> {
        let known = self.open && self.lanes.iter().all(|lane| lane.scanned >= lane.tail);
        known.then(|| self.backlog.oldest())
    }
}

#[cfg(test)]
mod tests;
