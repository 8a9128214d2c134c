//! How far a partition has come: what was fetched and is not finished. Low water is the first of it, never a sum.

use std::collections::{BTreeMap, BTreeSet};

use super::progress::{Held, Progress};
use crate::job::Life;

/// After an unclean end, so many of those that may have run are run at a time, by how often in a row it came to that.
const GROUPS: [usize; 3] = [16, 4, 1];
/// How far above what was fetched it is said in advance that it may have been handed out.
const AHEAD: i64 = 256;

/// The progress of one partition, as far as this worker is concerned.
#[derive(Debug, Default)]
pub struct Tracker {
    /// Offsets that are not finished. Those from `next` on are known from before and not fetched yet.
    open: BTreeSet<i64>,
    /// One above the last that was fetched.
    next: i64,
    /// One above the highest that is finished.
    top: i64,
    held: BTreeMap<i64, Held>,
    /// Below it, what is open may have been running when a worker died.
    suspects: i64,
    /// How many workers died in a row while suspects ran.
    deaths: u32,
    /// Nothing from here on has been handed out, as was confirmed by the group.
    pub ceiling: i64,
}

impl Tracker {
    /// From what the group remembers of the partition.
    pub fn resume(committed: i64, progress: &Progress) -> Self {
        let mut tracker = Tracker { next: committed, top: committed, ceiling: i64::MIN, ..Tracker::default() };
        let mut at = committed;
        for (number, run) in progress.runs.iter().enumerate() {
            let end = at + i64::from(*run);
            if number % 2 == 0 {
                tracker.open.extend(at..end);
            }
            at = end;
        }
        tracker.top = at;
        for (after, held) in &progress.held {
            tracker.held.insert(committed + i64::from(*after), held.clone());
        }
        let ceiling = committed + i64::from(progress.ahead);
        if ceiling > committed {
            (tracker.suspects, tracker.deaths) = (ceiling, progress.deaths + u32::from(!progress.clean));
        }
        tracker
    }

    /// Notes a record that was fetched. Whether it is to be delivered: one that was finished before is not.
    pub fn fetched(&mut self, offset: i64) -> bool {
        if offset < self.next {
            return false;
        }
        // what was expected before it is no longer there: compacted, or deleted by its age
        let gone: Vec<i64> = self.open.range(self.next..offset).copied().collect();
        for gone in &gone {
            self.open.remove(gone);
            self.held.remove(gone);
        }
        self.next = offset + 1;
        if offset < self.top {
            return self.open.contains(&offset);
        }
        self.open.insert(offset)
    }

    /// One above the last that was fetched.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Offsets have gone back: the topic is another one by the same name.
    pub fn went_back(&self, offset: i64) -> bool {
        offset < self.next
    }

    /// Notes that a record is done with.
    pub fn finish(&mut self, offset: i64) {
        self.open.remove(&offset);
        self.held.remove(&offset);
        self.top = self.top.max(offset + 1);
        if self.deaths > 0 && self.low() >= self.suspects {
            self.deaths = 0;
        }
    }

    /// Below it everything is finished.
    pub fn low(&self) -> i64 {
        self.open.first().copied().unwrap_or_else(|| self.next.max(self.top))
    }

    /// How often a record may have been running when a worker died.
    pub fn unsettled(&self, offset: i64) -> u32 {
        if offset < self.suspects { self.deaths } else { 0 }
    }

    pub fn hold(&mut self, offset: i64, life: &Life) {
        self.held.insert(offset, Held::of(life));
    }

    pub fn held(&self, offset: i64) -> Option<&Held> {
        self.held.get(&offset)
    }

    /// Up to where records may be handed out, once the group has confirmed it.
    fn reach(&self) -> i64 {
        if self.deaths == 0 {
            return self.next + AHEAD;
        }
        let number = usize::try_from(self.deaths - 1).unwrap_or(usize::MAX).min(GROUPS.len() - 1);
        self.open.iter().nth(GROUPS[number] - 1).map_or(self.next, |last| last + 1)
    }

    /// Whether the group has to hear of a new ceiling, or soon nothing more can be handed out.
    pub fn cramped(&self) -> bool {
        let reach = self.reach();
        reach > self.ceiling && (self.deaths > 0 || reach - self.ceiling.max(0) > AHEAD / 2)
    }

    /// What the group is to remember, and up to where records may be handed out once it does. `clean`: nothing is handed
    /// out now, nor will be before it is told otherwise.
    pub fn progress(&mut self, clean: bool) -> (Progress, i64) {
        let low = self.low();
        let ceiling = if clean { i64::MIN } else { self.reach().max(self.ceiling) };
        if clean {
            self.ceiling = i64::MIN;
        }
        let after = |offset: i64| u32::try_from(offset - low).unwrap_or(0);
        let held = self.held.iter().map(|(offset, held)| (after(*offset), held.clone())).collect();
        let ahead = match (clean, self.deaths) {
            (false, _) => after(ceiling),
            (true, 0) => 0,
            (true, _) => after(self.suspects.max(low)), // a stop in order clears nobody
        };
        (Progress { clean, deaths: self.deaths, ahead, runs: self.runs(low), held }, ceiling)
    }

    /// What lies between low water and the highest that is finished: how many in a row are open, then finished, and so on.
    fn runs(&self, low: i64) -> Vec<u32> {
        let length = |from: i64, to: i64| u32::try_from(to - from).unwrap_or(u32::MAX);
        let (mut runs, mut at): (Vec<u32>, i64) = (Vec::new(), low);
        for open in self.open.range(low..self.top.max(low)) {
            match runs.last_mut() {
                Some(run) if *open == at => *run += 1,
                Some(_) => runs.extend([length(at, *open), 1]),
                None => runs.push(1),
            }
            at = open + 1;
        }
        if !runs.is_empty() && at < self.top {
            runs.push(length(at, self.top));
        }
        runs
    }

    /// Whether a record lies below one that is finished.
    pub fn is_passed(&self, offset: i64) -> bool {
        offset < self.top
    }

    /// How much of the group's memory it takes at most, in characters, when so many of what was fetched are open below one
    /// that is finished: of each of them, of what is known to be open and not fetched yet, and of each held one.
    pub fn weight(&self, open: usize) -> usize {
        let expected = self.open.range(self.next..self.top.max(self.next)).count();
        24 + (open + expected) * 6 + self.held.len() * 16
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a worker that takes over delivers of `log`.
    fn taken_over(tracker: &mut Tracker, clean: bool, log: &[i64]) -> (Vec<i64>, Tracker) {
        let (progress, _) = tracker.progress(clean);
        let text = progress.encode();
        let mut next = Tracker::resume(tracker.low(), &Progress::decode(&text).unwrap());
        let from = tracker.low();
        let delivered = log.iter().copied().filter(|offset| *offset >= from && next.fetched(*offset)).collect();
        (delivered, next)
    }

    proptest! {
        #[test]
        fn whoever_takes_over_gets_exactly_what_was_not_finished(
            gaps in prop::collection::vec(1i64..5, 1..60),
            fetched in 0usize..60,
            finished in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let mut at = 7;
            let log: Vec<i64> = gaps.iter().map(|gap| { at += gap; at }).collect();
            let fetched = &log[..fetched.min(log.len())];
            let mut tracker = Tracker::resume(0, &Progress::default());
            fetched.iter().for_each(|offset| assert!(tracker.fetched(*offset)));
            let mut open: BTreeSet<i64> = log.iter().copied().collect();
            for index in finished.iter().filter(|_| !fetched.is_empty()) {
                let offset = *index.get(fetched);
                tracker.finish(offset);
                open.remove(&offset);
            }
            let (delivered, mut next) = taken_over(&mut tracker, true, &log);
            prop_assert_eq!(&delivered, &open.iter().copied().collect::<Vec<_>>());
            // and by the one after, who has finished nothing
            prop_assert_eq!(taken_over(&mut next, true, &log).0, delivered);
        }
    }

    #[test]
    fn what_was_expected_and_is_no_longer_there_holds_nothing_up() {
        let mut tracker = Tracker::resume(0, &Progress::default());
        (0..10).for_each(|offset| assert!(tracker.fetched(offset)));
        tracker.finish(9);
        let (progress, _) = tracker.progress(true);
        let mut next = Tracker::resume(0, &progress);
        assert!(next.fetched(5), "0 to 4 were deleted meanwhile");
        assert_eq!(next.low(), 5);
        (6..9).for_each(|offset| assert!(next.fetched(offset)));
        assert!(!next.fetched(9));
        (5..9).for_each(|offset| next.finish(offset));
        assert_eq!(next.low(), 10);
    }

    /// The offsets that may be handed out, once the group knows.
    fn handed_out(tracker: &mut Tracker) -> Vec<i64> {
        let ceiling = tracker.progress(false).1;
        tracker.ceiling = ceiling;
        tracker.open.range(..ceiling.min(tracker.next)).copied().collect()
    }

    /// The worker dies without a word, and another one fetches 100 records.
    fn dies(tracker: &mut Tracker) -> Tracker {
        let (progress, _) = tracker.progress(false);
        let mut next = Tracker::resume(tracker.low(), &Progress::decode(&progress.encode()).unwrap());
        (tracker.low()..100).for_each(|offset| assert!(next.fetched(offset)));
        next
    }

    #[test]
    fn after_deaths_what_may_have_run_is_run_in_smaller_and_smaller_groups() {
        let mut tracker = Tracker::resume(0, &Progress::default());
        (0..100).for_each(|offset| assert!(tracker.fetched(offset)));
        assert_eq!(handed_out(&mut tracker).len(), 100);
        assert_eq!(tracker.unsettled(50), 0);
        for (deaths, group, next) in [(1, 16, 1), (2, 4, 2), (3, 1, 3), (4, 1, 0)] {
            tracker = dies(&mut tracker);
            assert_eq!(handed_out(&mut tracker), (0..group).collect::<Vec<_>>());
            assert_eq!((tracker.unsettled(0), tracker.unsettled(group)), (deaths, next));
        }
        tracker.finish(0);
        assert_eq!((handed_out(&mut tracker).len(), tracker.unsettled(1)), (99, 0), "nobody died of what came next");
    }

    #[test]
    fn a_worker_that_stops_in_order_leaves_no_suspects() {
        let mut tracker = Tracker::resume(0, &Progress::default());
        (0..100).for_each(|offset| assert!(tracker.fetched(offset)));
        handed_out(&mut tracker);
        let (_, mut next) = taken_over(&mut tracker, true, &(0..100).collect::<Vec<_>>());
        assert_eq!((handed_out(&mut next).len(), next.unsettled(0)), (100, 0));
    }

    #[test]
    fn nothing_is_handed_out_before_the_group_knows() {
        let mut tracker = Tracker::resume(0, &Progress::default());
        tracker.fetched(0);
        assert!(tracker.ceiling < 0 && tracker.cramped());
        tracker.ceiling = tracker.progress(false).1;
        assert!(tracker.ceiling > 0 && !tracker.cramped());
        tracker.progress(true);
        assert!(tracker.ceiling < 0, "from the moment at which it is said that nothing is");
    }
}
