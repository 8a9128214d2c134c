//! The messages of the jobs that are next: a bounded window on the backlog.

use std::collections::HashMap;

use super::place::Place;
use super::sorted::Spreading;
use super::waiting::Waiting;

/// The bounds of the window.
pub(super) const WINDOW_JOBS: usize = 4096;
pub(super) const WINDOW_BYTES: usize = 2 << 20;

#[derive(Default)]
pub(super) struct Bodies {
    jobs: HashMap<Place, Waiting, Spreading>,
    bytes: usize,
}

impl Bodies {
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    pub fn has(&self, place: Place) -> bool {
        self.jobs.contains_key(&place)
    }

    /// One job always fits, however large.
    pub fn has_room(&self, size: usize) -> bool {
        self.jobs.is_empty() || (self.jobs.len() < WINDOW_JOBS && self.bytes + size <= WINDOW_BYTES)
    }

    /// Whether more should be read ahead of need.
    pub fn is_low(&self) -> bool {
        self.jobs.len() < WINDOW_JOBS / 2 && self.bytes < WINDOW_BYTES / 2
    }

    pub fn insert(&mut self, job: Waiting) {
        self.bytes += job.message.size();
        self.jobs.insert(job.place, job);
    }

    /// The size of a message, if it is here.
    pub fn size(&self, place: Place) -> Option<usize> {
        self.jobs.get(&place).map(|job| job.message.size())
    }

    pub fn take(&mut self, place: Place) -> Option<Waiting> {
        let job = self.jobs.remove(&place)?;
        self.bytes -= job.message.size();
        Some(job)
    }

    /// Makes room where the window is full twice over: jobs that were passed over are read again when their turn comes.
    /// What is only known here stays.
    pub fn make_room(&mut self) {
        if self.jobs.len() >= 2 * WINDOW_JOBS || self.bytes >= 2 * WINDOW_BYTES {
            self.jobs.retain(|_, job| job.unsettled > 0);
            self.bytes = self.jobs.values().map(|job| job.message.size()).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::place::Lane;
    use super::super::waiting::Stored;
    use super::*;
    use crate::job::Message;

    fn job(sequence: i64, size: usize, unsettled: u32) -> Waiting {
        let stored = Stored { id: "a".into(), digest: 0, priority: 4, sorted: None, message: Message::of(vec![0; size]) };
        Waiting { place: Place::new(1, Lane(5), sequence), home: 1, submitted: 0, unsettled, job: Arc::new(stored) }
    }

    #[test]
    fn a_window_that_is_full_twice_over_keeps_only_what_is_not_in_the_file() {
        for (count, size) in [(2 * WINDOW_JOBS, 1), (4, WINDOW_BYTES / 2)] {
            let mut bodies = Bodies::default();
            bodies.insert(job(1, size, 1));
            (2..count as i64).for_each(|sequence| bodies.insert(job(sequence, size, 0)));
            bodies.make_room();
            assert_eq!(bodies.len(), count - 1, "not yet");
            bodies.insert(job(count as i64, size, 0));
            bodies.make_room();
            assert_eq!((bodies.len(), bodies.bytes), (1, size));
            assert!(bodies.take(Place::new(1, Lane(5), 1)).is_some());
            assert_eq!(bodies.bytes, 0);
        }
    }
}
