//! Where a job of the window waits, and how it gets there.

use tokio::time::Instant;

use super::streams::State;
use super::timers::TimerKey;
use super::{Entry, Turns};
use crate::telemetry::Wait;

/// The one place in which a job waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the queue of its stream.
    Queue,
    /// In the lane of its key, behind others.
    Lane,
    /// At the head of its lane, until a time.
    Held(TimerKey),
}

impl<T> Turns<T> {
    /// Into the queue of its stream, by arrival.
    pub(super) fn line_up(&mut self, id: usize) {
        let entry = &mut self.entries[id];
        entry.place = Place::Queue;
        let (arrival, stream) = (entry.arrival, entry.stream);
        let queue = &mut self.streams[stream].queue;
        let at = match queue.back() {
            Some(last) if last.0 > arrival => queue.partition_point(|other| other.0 < arrival),
            _ => queue.len(),
        };
        queue.insert(at, (arrival, id));
        match self.streams[stream].state {
            State::Resting => self.wake(stream),
            State::Waiting => self.ready += 1,
            State::Shut(_) => {}
        }
    }

    /// Out of the queue of its stream.
    pub(super) fn unqueue(&mut self, id: usize) {
        let Entry { arrival, stream, .. } = self.entries[id];
        let owner = &mut self.streams[stream];
        if owner.queue.front().is_some_and(|first| first.1 == id) {
            owner.queue.pop_front();
        } else {
            owner.queue.retain(|other| other.0 != arrival);
        }
        if owner.state == State::Waiting {
            self.ready -= 1;
            if self.streams[stream].queue.is_empty() {
                self.rest(stream, State::Resting);
            }
        }
    }

    /// Out of wherever it waits; answers until when it was held.
    pub(super) fn unplace(&mut self, id: usize) -> Option<Instant> {
        match (self.entries[id].place, self.entries[id].lane) {
            (Place::Held(timer), _) => {
                self.timers.cancel(timer);
                return Some(timer.0);
            }
            (Place::Lane, Some(lane)) => self.lanes[lane].waiting.retain(|other| other.1 != id),
            _ => self.unqueue(id),
        }
        None
    }

    pub(super) fn why(&self, entry: &Entry<T>) -> Wait {
        match (entry.place, self.streams[entry.stream].state) {
            (Place::Held(_), _) => Wait::Held,
            (Place::Lane, _) if entry.facts.suspect => Wait::Suspect,
            (Place::Lane, _) => match entry.lane.filter(|lane| self.lanes[*lane].paced) {
                Some(_) => Wait::Rate,
                None => Wait::KeyBusy,
            },
            (Place::Queue, State::Shut(why)) => why,
            (Place::Queue, _) => Wait::NoSlot,
        }
    }
}
