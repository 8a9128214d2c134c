//! The lanes of keys: who may run of a key, and who waits behind it.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::place::Place;
use super::strands::Whose;
use super::timers::Timer;
use super::{Entry, Facts, Turns};
use crate::engine::limits::{Gate, Limit};
use crate::ports::Strand;
use crate::telemetry::Wait;

/// Jobs that wait behind others of their key before its source is asked for other keys instead.
const LANE_QUOTA: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum LaneKey {
    Key {
        route: Arc<str>,
        tenant: Arc<str>,
        key: Arc<str>,
    },
    /// Of jobs that may kill their worker.
    Suspects,
}

/// The jobs of one key.
pub(super) struct Lane {
    key: LaneKey,
    /// How many may be out of the lane at once: queued in their stream, running, or held.
    most: usize,
    pub heads: usize,
    pub waiting: VecDeque<(u64, usize)>,
    pub gate: Gate<()>,
    /// Its rate lets the next head out at a time.
    pub paced: bool,
    /// Timers that are set.
    pub timers: usize,
    /// What sources call it; none for suspects.
    strand: Option<Whose>,
    shut: bool,
}

impl<T> Turns<T> {
    /// The lane of a job that shares a limit or an order with others of its key.
    pub(super) fn lane_of(&mut self, facts: &Facts) -> Option<usize> {
        let rules = &facts.rules;
        let key = match &facts.key {
            Some(key) if rules.ordered || !rules.per_key.is_none() => {
                LaneKey::Key { route: rules.route.clone(), tenant: facts.tenant.clone(), key: key.clone() }
            }
            _ if facts.suspect => LaneKey::Suspects,
            _ => return None,
        };
        let suspects = key == LaneKey::Suspects;
        let most = if rules.ordered || suspects { Some(1) } else { rules.per_key.concurrency };
        let most = most.map_or(usize::MAX, |most| most as usize);
        let limit = Limit { rate: rules.per_key.rate.filter(|_| !suspects), concurrency: None };
        if let Some(lane) = self.lanes_by_key.get(&key).copied() {
            let known = &mut self.lanes[lane];
            (known.most, known.gate.limit) = (most, limit); // a reload may have changed them
            return Some(lane);
        }
        let strand = facts.key.clone().filter(|_| !suspects);
        let lane = self.lanes.insert(Lane {
            most,
            heads: 0,
            waiting: VecDeque::new(),
            gate: Gate::new(limit),
            paced: false,
            timers: 0,
            strand: strand
                .map(|key| (facts.queue.clone(), Strand::Key { tenant: facts.tenant.clone(), kind: facts.kind.clone(), key })),
            shut: false,
            key: key.clone(),
        });
        self.lanes_by_key.insert(key, lane);
        Some(lane)
    }

    /// Out into its stream if it may, behind the others of its key if not.
    pub(super) fn join_lane(&mut self, lane: usize, id: usize) {
        let arrival = self.entries[id].arrival;
        if self.entries[id].facts.older && self.entries[id].facts.rules.ordered {
            self.step_back(lane, arrival);
        }
        let line = &mut self.lanes[lane];
        if line.heads < line.most && line.waiting.is_empty() {
            line.heads += 1;
            return self.line_up(id);
        }
        self.entries[id].place = Place::Lane;
        let before = line.waiting.partition_point(|other| other.0 < arrival);
        line.waiting.insert(before, (arrival, id));
        self.waited(if self.entries[id].facts.suspect { Wait::Suspect } else { Wait::KeyBusy });
        self.tell_of_lane(lane);
        self.promote(lane);
    }

    /// A head that has not started goes back behind one that arrived before it.
    fn step_back(&mut self, lane: usize, arrival: u64) {
        let newer = |entry: &Entry<T>| entry.lane == Some(lane) && entry.place == Place::Queue && entry.arrival > arrival;
        let Some((head, _)) = self.entries.iter().find(|(_, entry)| newer(entry)) else { return };
        self.unqueue(head);
        self.entries[head].place = Place::Lane;
        let line = &mut self.lanes[lane];
        line.heads -= 1;
        line.waiting.push_front((self.entries[head].arrival, head));
    }

    /// Takes out those that wait behind the head of a key, the first one first.
    pub fn take_lane(&mut self, route: &Arc<str>, tenant: &Arc<str>, key: &Arc<str>, now: Instant) -> Vec<T> {
        let key = LaneKey::Key { route: route.clone(), tenant: tenant.clone(), key: key.clone() };
        let Some(lane) = self.lanes_by_key.get(&key) else { return Vec::new() };
        let waiting: Vec<usize> = self.lanes[*lane].waiting.iter().map(|(_, id)| *id).collect();
        waiting.into_iter().map(|id| self.remove(id, now).0).collect()
    }

    /// Lets the next one out.
    pub(super) fn promote(&mut self, lane: usize) {
        let line = &mut self.lanes[lane];
        if line.heads >= line.most || line.paced {
            return;
        }
        let Some((_, id)) = line.waiting.pop_front() else { return };
        line.heads += 1;
        self.line_up(id);
        self.tell_of_lane(lane);
    }

    /// Back into the lane: its rate allows the next start at `at`.
    pub(super) fn pace(&mut self, lane: usize, id: usize, at: Instant) {
        let arrival = self.entries[id].arrival;
        self.entries[id].place = Place::Lane;
        let line = &mut self.lanes[lane];
        line.heads -= 1;
        let before = line.waiting.partition_point(|other| other.0 < arrival);
        line.waiting.insert(before, (arrival, id));
        if !line.paced {
            line.paced = true;
            line.timers += 1;
            self.timers.set(at, Timer::Lane(lane));
        }
        self.waited(Wait::Rate);
        self.tell_of_lane(lane);
    }

    /// Forgets a lane that is empty, once its rate has nothing to remember.
    pub(super) fn retire_lane(&mut self, lane: usize, now: Instant) {
        let line = &mut self.lanes[lane];
        if line.heads > 0 || !line.waiting.is_empty() || line.timers > 0 {
            return;
        }
        if let Some(at) = line.gate.idle_at(now) {
            line.timers += 1;
            self.timers.set(at, Timer::Lane(lane));
            return;
        }
        let line = self.lanes.remove(lane);
        self.lanes_by_key.remove(&line.key);
        if let Some(strand) = line.strand.filter(|_| line.shut) {
            self.strands.open(strand);
        }
    }

    /// Asks sources for other keys when enough of this one wait, and for it again when few do.
    fn tell_of_lane(&mut self, lane: usize) {
        let line = &mut self.lanes[lane];
        let Some(strand) = &line.strand else { return };
        let shut = if line.shut { line.waiting.len() > LANE_QUOTA / 2 } else { line.waiting.len() >= LANE_QUOTA };
        if shut != line.shut {
            line.shut = shut;
            self.strands.tell(strand.clone(), shut);
        }
    }
}
