//! What one consumer has fetched, handed out and finished: shared by its thread, its sources and their receipts.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};

use super::progress::{LONGEST, Progress};
use super::tracker::Tracker;
use crate::job::{Life, Message};
use crate::ports::{QueueError, Room};

/// A partition that hands nothing out is said to be clean after so long: before the next record the group hears first.
const IDLE: Duration = Duration::from_millis(500);
/// What a partition's text may grow by while what is handed out is finished, in characters.
const RESERVE: usize = 400;

/// A topic and the number of a partition.
pub type Spot = (Arc<str>, i32);

/// A record that waits to be handed out.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub message: Message,
    /// Written over the one that the message carries.
    pub life: Option<Life>,
    pub published: Option<Timestamp>,
    pub due: Option<Timestamp>,
    pub to: Option<Arc<str>>,
}

/// A partition that is ours.
pub struct Part {
    /// The place beside the queue whose records lie in it; none for the queue's own.
    pub place: Option<Arc<str>>,
    /// Differs from every other time that a partition was ours.
    pub epoch: u64,
    pub tracker: Tracker,
    pub ready: BTreeMap<i64, Waiting>,
    /// Handed out and neither finished nor given back.
    pub taken: usize,
    /// There is something that the group has not heard.
    pub dirty: bool,
    /// It is being handed over: nothing more is handed out.
    pub leaving: bool,
    pub paused: bool,
    idle: Instant,
}

/// A record that was handed out.
pub struct Taken {
    pub spot: Spot,
    pub epoch: u64,
    pub offset: i64,
    pub unsettled: u32,
    pub waiting: Waiting,
}

/// Somebody who waits until the group has heard what was noted of a partition.
pub struct Mark {
    pub spot: Spot,
    told: oneshot::Sender<()>,
}

impl Mark {
    pub fn tell(self) {
        let _ = self.told.send(()); // whoever waited may have gone
    }
}

#[derive(Default)]
pub struct State {
    pub parts: BTreeMap<Spot, Part>,
    /// By place: how many records and bytes wait to be handed out.
    pub buffered: HashMap<Option<Arc<str>>, (usize, usize)>,
    /// Those who wait until the group has heard what they noted.
    pub marks: Vec<Mark>,
    pub trouble: Option<QueueError>,
    pub stopping: bool,
    /// The group should hear of something without delay.
    pub urgent: bool,
    epochs: u64,
    turn: usize,
}

#[derive(Default)]
pub struct Shared {
    state: Mutex<State>,
    /// Something may be handed out that could not be before.
    pub arrived: Notify,
    /// A partition has nothing handed out any more.
    pub settled: Condvar,
    /// The group should hear of something without delay.
    pub news: Condvar,
}

impl Shared {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn fail(&self, error: QueueError) {
        self.state().trouble = Some(error);
        self.arrived.notify_waiters();
    }

    pub fn hurry(&self, state: &mut State) {
        if !state.urgent {
            state.urgent = true;
            self.news.notify_all();
        }
    }

    /// Waits until there is something that the group should hear without delay.
    pub fn wait_for_news<'s>(&self, state: MutexGuard<'s, State>, longest: Duration) -> MutexGuard<'s, State> {
        self.news.wait_timeout(state, longest).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Takes what may be handed out of a place, or of the queue itself, as much as there is room for.
    pub fn take(&self, place: Option<&str>, room: Room) -> Result<Vec<Taken>, QueueError> {
        let mut state = self.state();
        if let Some(trouble) = &state.trouble {
            return Err(trouble.clone());
        }
        let taken = state.take(place, room);
        if state.parts.values().any(Part::waits_for_the_group) {
            self.hurry(&mut state);
        }
        Ok(taken)
    }

    /// The part that a record was handed out from, if it is still ours.
    pub fn part<T>(&self, spot: &Spot, epoch: u64, work: impl FnOnce(&mut Part) -> T) -> Option<T> {
        let mut state = self.state();
        state.parts.get_mut(spot).filter(|part| part.epoch == epoch).map(work)
    }

    /// Ends the duty for a record: it is finished, or goes back to its turn. Whether it was still ours.
    pub fn settle(&self, spot: &Spot, epoch: u64, offset: i64, back: Option<Waiting>) -> bool {
        let mut state = self.state();
        let Some(part) = state.parts.get_mut(spot).filter(|part| part.epoch == epoch) else { return false };
        part.taken -= 1;
        part.idle = Instant::now();
        let free = part.taken == 0;
        let (given_back, place) = (back.is_some(), part.place.clone());
        match back {
            Some(waiting) => {
                let size = waiting.message.size();
                part.ready.insert(offset, waiting);
                state.buffer(place, size);
            }
            None => {
                part.tracker.finish(offset);
                part.dirty = true;
            }
        }
        drop(state);
        if free {
            self.settled.notify_all();
        }
        if given_back {
            self.arrived.notify_waiters();
        }
        true
    }

    /// Notes a life over a record that is handed out; what it answers is told once the group remembers it.
    pub fn mark(&self, spot: &Spot, epoch: u64, offset: i64, life: &Life) -> Result<oneshot::Receiver<()>, QueueError> {
        let mut state = self.state();
        let part = state.parts.get_mut(spot).filter(|part| part.epoch == epoch).ok_or(QueueError::LeaseLost)?;
        if part.tracker.held(offset).is_none() && part.tracker.weight() + 16 > LONGEST {
            let why = "the group's memory for this partition is full of jobs that wait in order: they must pass or end first";
            return Err(QueueError::Unavailable(why.into()));
        }
        part.tracker.hold(offset, life);
        part.dirty = true;
        let (told, heard) = oneshot::channel();
        state.marks.push(Mark { spot: spot.clone(), told });
        self.hurry(&mut state);
        Ok(heard)
    }
}

impl State {
    pub fn add(&mut self, spot: Spot, place: Option<Arc<str>>, tracker: Tracker) {
        self.epochs += 1;
        let (epoch, ready, idle) = (self.epochs, BTreeMap::new(), Instant::now());
        let part = Part { place, epoch, tracker, ready, taken: 0, dirty: false, leaving: false, paused: false, idle };
        self.parts.insert(spot, part);
    }

    /// Forgets a partition: whatever is still done about it changes nothing.
    pub fn remove(&mut self, spot: &Spot) {
        let Some(part) = self.parts.remove(spot) else { return };
        self.marks.retain(|mark| mark.spot != *spot);
        let bytes = part.ready.values().map(|waiting| waiting.message.size()).sum();
        self.unbuffer(&part.place, part.ready.len(), bytes);
    }

    /// Notes a record that was fetched.
    pub fn fetched(&mut self, spot: &Spot, offset: i64, waiting: Waiting) {
        let Some(part) = self.parts.get_mut(spot) else { return };
        if part.tracker.went_back(offset) {
            let place = part.place.clone();
            tracing::warn!("kafka: the offsets of {}/{} went back to {offset}: the topic was made anew", spot.0, spot.1);
            self.remove(spot);
            self.add(spot.clone(), place, Tracker::resume(offset, &Progress::default()));
        }
        let Some(part) = self.parts.get_mut(spot) else { return };
        if !part.tracker.fetched(offset) {
            part.dirty = true;
            return;
        }
        let (place, size) = (part.place.clone(), waiting.message.size());
        part.ready.insert(offset, waiting);
        self.buffer(place, size);
    }

    fn buffer(&mut self, place: Option<Arc<str>>, size: usize) {
        let (records, bytes) = self.buffered.entry(place).or_default();
        (*records, *bytes) = (*records + 1, *bytes + size);
    }

    fn unbuffer(&mut self, place: &Option<Arc<str>>, count: usize, size: usize) {
        if let Some((records, bytes)) = self.buffered.get_mut(place) {
            (*records, *bytes) = (records.saturating_sub(count), bytes.saturating_sub(size));
        }
    }

    /// One of each partition in turn, each in the order of its offsets.
    fn take(&mut self, place: Option<&str>, room: Room) -> Vec<Taken> {
        let now = Timestamp::now();
        let mine = |part: &Part| part.yields(now) && part.belongs(place, now);
        let mut spots: Vec<Spot> = self.parts.iter().filter(|(_, part)| mine(part)).map(|(spot, _)| spot.clone()).collect();
        if !spots.is_empty() {
            let turn = self.turn % spots.len();
            spots.rotate_left(turn);
            self.turn = self.turn.wrapping_add(1);
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while !spots.is_empty() {
            let before = taken.len();
            for spot in &spots {
                let Some(part) = self.parts.get_mut(spot).filter(|part| mine(part)) else { continue };
                let Some(size) = part.ready.first_key_value().map(|(_, waiting)| waiting.message.size()) else { continue };
                if taken.len() >= room.jobs || (!taken.is_empty() && bytes + size > room.bytes) {
                    return taken;
                }
                let place = part.place.clone();
                taken.extend(part.hand_out(spot));
                bytes += size;
                self.unbuffer(&place, 1, size);
            }
            if taken.len() == before {
                break;
            }
        }
        taken
    }

    /// When the next parked record is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        let parked = self.parts.values().filter(|part| part.place.is_some());
        parked.filter_map(|part| part.ready.first_key_value()?.1.due).min()
    }
}

impl Part {
    /// A record of it may be handed out.
    fn yields(&self, _now: Timestamp) -> bool {
        let known = self.ready.first_key_value().is_some_and(|(offset, _)| *offset < self.tracker.ceiling);
        known && !self.leaving && self.tracker.weight() + self.taken * 6 + RESERVE < LONGEST
    }

    /// Its next record is one of that place, or due and therefore one of the queue itself.
    fn belongs(&self, place: Option<&str>, now: Timestamp) -> bool {
        let due = || self.ready.first_key_value().and_then(|(_, waiting)| waiting.due).is_some_and(|due| due <= now);
        self.place.as_deref() == place || (place.is_none() && due())
    }

    fn hand_out(&mut self, spot: &Spot) -> Option<Taken> {
        let (offset, waiting) = self.ready.pop_first()?;
        self.taken += 1;
        self.idle = Instant::now();
        let unsettled = self.tracker.unsettled(offset);
        Some(Taken { spot: spot.clone(), epoch: self.epoch, offset, unsettled, waiting })
    }

    /// It has records that may not be handed out before the group has heard of it.
    pub fn waits_for_the_group(&self) -> bool {
        !self.leaving && !self.ready.is_empty() && self.tracker.cramped()
    }

    /// Nothing is handed out, and nothing will be before the group is told.
    pub fn rests(&self) -> bool {
        self.taken == 0 && self.ready.is_empty() && self.idle.elapsed() > IDLE
    }
}
