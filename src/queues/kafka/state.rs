//! What one consumer has fetched, handed out and finished: shared by its thread, its sources and their receipts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};

use super::progress::{Held, LONGEST, Progress};
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
    /// Of what is ready, in sum.
    bytes: usize,
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
    /// What the group remembers of its life.
    pub held: Option<Held>,
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
    /// Something was handed out.
    pub taken: Condvar,
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
        if !taken.is_empty() {
            self.taken.notify_one();
        }
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
        let given_back = back.is_some();
        match back {
            Some(waiting) => part.wait(offset, waiting),
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
        if part.tracker.held(offset).is_none() && part.weight() + 16 > LONGEST {
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
        let (bytes, taken, dirty, leaving, paused) = (0, 0, false, false, false);
        let part = Part { place, epoch, tracker, ready, bytes, taken, dirty, leaving, paused, idle };
        self.parts.insert(spot, part);
    }

    /// Forgets a partition: whatever is still done about it changes nothing.
    pub fn remove(&mut self, spot: &Spot) {
        if self.parts.remove(spot).is_some() {
            self.marks.retain(|mark| mark.spot != *spot);
        }
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
        part.wait(offset, waiting);
    }

    /// The places of which more waits here than that.
    pub fn full(&self, records: usize, bytes: usize) -> HashSet<Option<Arc<str>>> {
        let total = self.parts.values().fold((0, 0), |sum, part| (sum.0 + part.ready.len(), sum.1 + part.bytes));
        if total.0 <= records && total.1 <= bytes {
            return HashSet::new(); // no place can be
        }
        let mut places: HashMap<&Option<Arc<str>>, (usize, usize)> = HashMap::new();
        for part in self.parts.values() {
            let held = places.entry(&part.place).or_default();
            *held = (held.0 + part.ready.len(), held.1 + part.bytes);
        }
        places.retain(|_, held| held.0 > records || held.1 > bytes);
        places.into_keys().cloned().collect()
    }

    /// One of each partition in turn, each in the order of its offsets.
    fn take(&mut self, place: Option<&str>, room: Room) -> Vec<Taken> {
        let now = Timestamp::now();
        let mine = |part: &Part| part.yields() && part.belongs(place, now);
        let mut parts: Vec<(&Spot, &mut Part)> = self.parts.iter_mut().filter(|(_, part)| mine(part)).collect();
        if !parts.is_empty() {
            let turn = self.turn % parts.len();
            parts.rotate_left(turn);
            self.turn = self.turn.wrapping_add(1);
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        loop {
            let before = taken.len();
            for (spot, part) in parts.iter_mut().filter(|(_, part)| mine(part)) {
                let Some(size) = part.ready.first_key_value().map(|(_, waiting)| waiting.message.size()) else { continue };
                if taken.len() >= room.jobs || (!taken.is_empty() && bytes + size > room.bytes) {
                    return taken;
                }
                taken.extend(part.hand_out(spot));
                bytes += size;
            }
            if taken.len() == before {
                return taken;
            }
        }
    }

    /// Of each partition, up to where nothing waits here; of one with something that waits, nothing at all.
    pub fn reached(&self) -> HashMap<(String, i32), i64> {
        let at = |part: &Part| if part.ready.is_empty() { part.tracker.next() } else { -1 };
        self.parts.iter().map(|(spot, part)| ((spot.0.to_string(), spot.1), at(part))).collect()
    }

    /// When the next parked record is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        let parked = self.parts.values().filter(|part| part.place.is_some());
        parked.filter_map(|part| part.ready.first_key_value()?.1.due).min()
    }
}

impl Part {
    fn wait(&mut self, offset: i64, waiting: Waiting) {
        self.bytes += waiting.message.size();
        self.ready.insert(offset, waiting);
    }

    /// A record of it may be handed out.
    fn yields(&self) -> bool {
        let known = self.ready.first_key_value().is_some_and(|(offset, _)| *offset < self.tracker.ceiling);
        known && !self.leaving && self.weight() + RESERVE < LONGEST
    }

    /// What of the group's memory it takes at most, whichever ends first of what is handed out: that, and what was given
    /// back, may stay open below one that is finished.
    fn weight(&self) -> usize {
        let back = self.ready.keys().take_while(|offset| self.tracker.is_passed(**offset)).count();
        self.tracker.weight(self.taken + back)
    }

    /// Its next record is one of that place, or due and therefore one of the queue itself.
    fn belongs(&self, place: Option<&str>, now: Timestamp) -> bool {
        let due = || self.ready.first_key_value().and_then(|(_, waiting)| waiting.due).is_some_and(|due| due <= now);
        self.place.as_deref() == place || (place.is_none() && due())
    }

    fn hand_out(&mut self, spot: &Spot) -> Option<Taken> {
        let (offset, waiting) = self.ready.pop_first()?;
        self.bytes -= waiting.message.size();
        self.taken += 1;
        self.idle = Instant::now();
        let (unsettled, held) = (self.tracker.unsettled(offset), self.tracker.held(offset).cloned());
        Some(Taken { spot: spot.clone(), epoch: self.epoch, offset, unsettled, held, waiting })
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
