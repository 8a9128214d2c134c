//! Which of the waiting jobs runs next: tenants and types by fair shares, keys in order, limits kept.
//!
//! A job waits in exactly one place: in the queue of its stream (tenant, type, priority), in the lane of its key behind
//! another job, or held as the head of its lane until a time. The tenants of each queue take turns by the slot time they
//! have used for their weight; within a tenant higher priorities go first, and types of one priority take turns in the same way.
//! Nothing in here waits, sleeps or is a task: a million jobs behind a busy key cost their entries alone.

mod gates;
mod lanes;
mod place;
mod strands;
mod streams;
#[cfg(test)]
mod tests;
mod timers;

use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt as _};
use slab::Slab;
use tokio::time::Instant;

use super::fair::Fair;
use super::guard::{Guard, Pass};
use super::limits::{Admission, Limit};
use crate::ports::Strand;
use crate::telemetry::Wait;
use gates::{GateKey, Gates, Shared};
use lanes::{Lane, LaneKey};
use place::Place;
use strands::Strands;
use streams::{Party, Stream, StreamKey, Tenant};
use timers::{Timer, Timers};

/// Arrivals from queues count from here, those from places beside them from nothing: whatever order is kept, they go first.
const NEWER: u64 = 1 << 48;
/// A party that has come and gone is counted on to come back for this long.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How the jobs of a route take turns.
#[derive(Debug)]
pub struct Rules {
    pub route: Arc<str>,
    /// The share of its types within a tenant, at least 1.
    pub weight: u32,
    /// One job of a key at a time, in order, through retries.
    pub ordered: bool,
    pub limit: Limit,
    pub per_tenant: Limit,
    pub per_key: Limit,
    /// Of the executor of the route.
    pub guard: Option<Arc<Guard>>,
}

/// What decides when a job runs.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub queue: Arc<str>,
    pub tenant: Arc<str>,
    pub kind: Arc<str>,
    pub priority: u8,
    pub key: Option<Arc<str>>,
    /// It may kill its worker: such jobs run one after another.
    pub suspect: bool,
    /// It comes from a place beside its queue: it is older than what comes from the queue itself.
    pub older: bool,
    /// It only leaves for such a place, behind others of its key: no limit and no guard is asked.
    pub leaves: bool,
    pub rules: Arc<Rules>,
}

impl Facts {
    fn party(&self) -> Party {
        (self.queue.clone(), self.tenant.clone())
    }
}

/// The jobs that wait, each with what its owner needs to run it.
pub(super) struct Turns<T> {
    entries: Slab<Entry<T>>,
    arrivals: u64,
    /// Of those from places beside queues.
    older: u64,
    streams: Slab<Stream>,
    by_key: HashMap<StreamKey, usize>,
    tenants: HashMap<Party, Tenant>,
    turns: Fair<Party>,
    weights: std::collections::HashMap<Arc<str>, u32>,
    gates: Slab<Shared>,
    gates_by_key: HashMap<GateKey, usize>,
    lanes: Slab<Lane>,
    lanes_by_key: HashMap<LaneKey, usize>,
    timers: Timers,
    /// Jobs in the queues of streams that are not shut.
    ready: usize,
    /// Jobs of one stream that may wait here before its source is asked for others instead.
    quota: usize,
    strands: Strands,
    waits: std::collections::HashMap<Wait, u64>,
    /// Until when more than one party counts as present.
    shared_until: Option<Instant>,
}

struct Entry<T> {
    item: T,
    facts: Facts,
    arrival: u64,
    stream: usize,
    lane: Option<usize>,
    place: Place,
}

/// A job that runs: what it holds until [`Turns::ended`] or [`Turns::hold`].
#[derive(Debug)]
pub(super) struct Ticket {
    facts: Facts,
    stream: usize,
    gates: Gates,
    lane: Option<usize>,
    arrival: u64,
    guessed: u64,
    started: Instant,
    /// What the executor's guard has let through.
    pub pass: Option<Pass>,
}

impl<T> Turns<T> {
    /// `weights` are those of tenants that have another than 1.
    pub fn new(weights: std::collections::HashMap<Arc<str>, u32>, quota: usize) -> Self {
        Turns {
            entries: Slab::new(),
            arrivals: NEWER,
            older: 0,
            streams: Slab::new(),
            by_key: HashMap::new(),
            tenants: HashMap::new(),
            turns: Fair::default(),
            weights,
            gates: Slab::new(),
            gates_by_key: HashMap::new(),
            lanes: Slab::new(),
            lanes_by_key: HashMap::new(),
            timers: Timers::default(),
            ready: 0,
            quota: quota.max(1),
            strands: Strands::default(),
            waits: std::collections::HashMap::new(),
            shared_until: None,
        }
    }

    /// Takes a job in, behind those of its stream and its key that are not newer.
    pub fn add(&mut self, facts: Facts, item: T, now: Instant) -> usize {
        let arrivals = if facts.older { &mut self.older } else { &mut self.arrivals };
        *arrivals += 1;
        let (arrival, stream, lane) = (*arrivals, self.stream_of(&facts, now), self.lane_of(&facts));
        self.enlist(stream);
        let id = self.entries.insert(Entry { item, facts, arrival, stream, lane, place: Place::Queue });
        self.arrived(stream);
        if self.tenants.len() > 1 {
            self.shared_until = Some(now + REMEMBERED);
        }
        match lane {
            Some(lane) => self.join_lane(lane, id),
            None => self.line_up(id),
        }
        id
    }

    /// Whether more than one party is here, or was lately.
    pub fn is_shared(&self, now: Instant) -> bool {
        self.shared_until.is_some_and(|until| now < until)
    }

    /// Takes a job in that was held until `until` as the head of its key.
    pub fn add_held(&mut self, facts: Facts, item: T, until: Instant, now: Instant) {
        let id = self.add(facts, item, now);
        if self.entries[id].lane.is_some() && self.entries[id].place == Place::Queue {
            self.unqueue(id);
            self.entries[id].place = Place::Held(self.timers.set(until, Timer::Entry(id)));
        }
    }

    /// The next job to run, if any may run now; with `few`, of the parties that run fewer jobs than that.
    pub fn next(&mut self, few: Option<usize>, now: Instant) -> Option<(Ticket, T)> {
        self.fire(now);
        while let Some(stream) = self.first_stream(few) {
            let gates = self.streams[stream].gates;
            let started = self.try_start(stream, gates, now);
            self.pass_on(gates, now);
            if started.is_some() {
                return started;
            }
        }
        None
    }

    /// Starts the first job of a stream, or takes what cannot start now out of the way.
    fn try_start(&mut self, stream: usize, gates: Gates, now: Instant) -> Option<(Ticket, T)> {
        for gate in gates.into_iter().flatten() {
            match self.gates[gate].gate.ask(now) {
                Admission::Open => {}
                shut => {
                    self.wait_at(gate, stream, shut);
                    return None;
                }
            }
        }
        let id = self.streams[stream].queue.front()?.1;
        if let Some(lane) = self.entries[id].lane
            && !self.entries[id].facts.leaves
            && let Admission::At(at) = self.lanes[lane].gate.ask(now)
        {
            self.unqueue(id);
            self.pace(lane, id, at);
            return None;
        }
        let guard = gates[0].and_then(|_| self.entries[id].facts.rules.guard.clone());
        let pass = guard.as_ref().and_then(|guard| guard.start(now));
        if let Some(gate) = gates[0].filter(|_| pass.is_none()) {
            self.wait_at(gate, stream, Admission::Full); // another pool was faster
            return None;
        }
        let (ticket, item) = self.start(id, now);
        Some((Ticket { pass, ..ticket }, item))
    }

    fn start(&mut self, id: usize, now: Instant) -> (Ticket, T) {
        self.unqueue(id);
        let Entry { item, facts, arrival, stream, lane, .. } = self.entries.remove(id);
        let gates = self.streams[stream].gates;
        for gate in gates.into_iter().flatten() {
            self.gates[gate].gate.start(now);
            self.gates[gate].users += 1;
        }
        if let Some(lane) = lane {
            if !facts.leaves {
                self.lanes[lane].gate.start(now);
            }
            self.promote(lane);
        }
        let guessed = self.charge(stream);
        self.departed(stream);
        (Ticket { facts, stream, gates, lane, arrival, guessed, started: now, pass: None }, item)
    }

    /// A job that ran has ended.
    pub fn ended(&mut self, ticket: &Ticket, now: Instant) {
        self.stopped(ticket, now);
        if let Some(lane) = ticket.lane {
            self.lanes[lane].heads -= 1;
            self.promote(lane);
            self.retire_lane(lane, now);
        }
        self.discharge(ticket.stream, now);
    }

    /// A job that ran waits as the head of its lane until `until`, and runs again before any other of its key.
    pub fn hold(&mut self, ticket: Ticket, item: T, until: Instant, now: Instant) {
        self.stopped(&ticket, now);
        let Ticket { facts, stream, lane, arrival, .. } = ticket;
        let id = self.entries.insert(Entry { item, facts, arrival, stream, lane, place: Place::Queue });
        self.entries[id].place = Place::Held(self.timers.set(until, Timer::Entry(id)));
        self.waited(Wait::Held);
        self.arrived(stream);
    }

    /// The slot of a run is free again.
    fn stopped(&mut self, ticket: &Ticket, now: Instant) {
        self.settle(ticket, now.duration_since(ticket.started));
        if let Some(lane) = ticket.lane {
            self.lanes[lane].gate.end();
        }
        for gate in ticket.gates.into_iter().flatten() {
            self.gates[gate].gate.end();
        }
        self.pass_on(ticket.gates, now);
        self.release(ticket.gates, now);
    }

    /// Takes every job out, in the order of arrival, with the time until which it was held.
    pub fn clear(&mut self, now: Instant) -> Vec<(T, Option<Instant>)> {
        let mut ids: Vec<(u64, usize)> = self.entries.iter().map(|(id, entry)| (entry.arrival, id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| self.remove(id, now)).collect()
    }

    /// Takes one job out.
    pub fn take_where(&mut self, is_it: impl Fn(&T) -> bool, now: Instant) -> Option<T> {
        let id = self.entries.iter().find(|(_, entry)| is_it(&entry.item))?.0;
        Some(self.remove(id, now).0)
    }

    /// Takes out every job that is asked for, the last one first.
    pub fn take_all(&mut self, is_it: impl Fn(&T) -> bool, now: Instant) -> Vec<T> {
        let asked = self.entries.iter().filter(|(_, entry)| is_it(&entry.item));
        let mut ids: Vec<(u64, usize)> = asked.map(|(id, entry)| (entry.arrival, id)).collect();
        ids.sort_unstable();
        ids.into_iter().rev().map(|(_, id)| self.remove(id, now).0).collect()
    }

    fn remove(&mut self, id: usize, now: Instant) -> (T, Option<Instant>) {
        let held = self.unplace(id);
        let Entry { item, stream, lane, place, .. } = self.entries.remove(id);
        let gates = self.streams[stream].gates;
        if let Some(lane) = lane {
            if !matches!(place, Place::Lane) {
                self.lanes[lane].heads -= 1;
                self.promote(lane);
            }
            self.retire_lane(lane, now);
        }
        self.departed(stream);
        self.discharge(stream, now);
        self.pass_on(gates, now); // its stream may have been woken for it
        (item, held)
    }

    /// How often something had to wait since the last time.
    pub fn waits(&mut self) -> std::collections::HashMap<Wait, u64> {
        std::mem::take(&mut self.waits)
    }

    fn waited(&mut self, why: Wait) {
        *self.waits.entry(why).or_default() += 1;
    }

    /// What waits, and why.
    pub fn iter(&self) -> impl Iterator<Item = (&T, Wait)> {
        self.entries.iter().map(|(_, entry)| (&entry.item, self.why(entry)))
    }

    pub fn items_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().map(|(_, entry)| &mut entry.item)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many could start now if there were slots for all.
    pub fn ready(&self) -> usize {
        self.ready
    }

    /// Whether any of them is of a party that runs fewer jobs than that.
    pub fn is_ready(&self, few: usize) -> bool {
        self.first_stream(Some(few)).is_some()
    }

    /// When [`Turns::next`] may have something that it does not have now.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.timers.first()
    }

    pub fn has_news(&self) -> bool {
        self.strands.has_news()
    }

    /// What queues are to be told since the last time: true shuts a strand.
    pub fn strands(&mut self) -> Vec<((Arc<str>, Strand), bool)> {
        self.strands.take()
    }

    fn fire(&mut self, now: Instant) {
        while let Some(timer) = self.timers.fire(now) {
            match timer {
                Timer::Entry(id) => self.line_up(id),
                Timer::Gate(gate) => {
                    self.gates[gate].timers -= 1;
                    self.pass_on([Some(gate), None, None], now);
                    self.retire_gate(gate, now);
                }
                Timer::Lane(lane) => {
                    self.lanes[lane].timers -= 1;
                    self.lanes[lane].paced = false;
                    self.promote(lane);
                    self.retire_lane(lane, now);
                }
            }
        }
    }
}

/// Microseconds of slot time.
fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
