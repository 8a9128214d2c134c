//! The streams of a window: the jobs of one tenant, type and priority, with the limits and shares they are under.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::gates::Gates;
use super::{Facts, Rules, Ticket, Turns, micros};
use crate::engine::fair::Fair;
use crate::ports::Strand;
use crate::telemetry::Wait;

/// Streams that a tenant keeps although they are empty, with what they have used.
const KEPT: usize = 64;
/// How much one run moves the guess of what the next one takes.
const NEWS: f64 = 0.2;

/// A tenant of a queue: who shares the slots.
pub(super) type Party = (Arc<str>, Arc<str>);

/// The rank of jobs that only leave; those that run come after it, by priority.
const LEAVING: u8 = 0;

/// Party, type, route and rank.
pub(super) type StreamKey = (Party, Arc<str>, Arc<str>, u8);

pub(super) struct Stream {
    key: StreamKey,
    rules: Arc<Rules>,
    pub queue: VecDeque<(u64, usize)>,
    pub gates: Gates,
    pub state: State,
    /// Jobs that wait or run.
    pub members: usize,
    /// Jobs that wait, wherever.
    present: usize,
    /// Sources were asked for others.
    shut: bool,
    /// What a run takes, in microseconds.
    guess: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its queue is empty.
    Resting,
    /// It has a job that waits for its turn.
    Waiting,
    /// It has jobs, and a limit that lets none start.
    Shut(Wait),
}

/// The streams of one party, by rank: those that leave, then those of priority 9 to 0.
pub(super) struct Tenant {
    ranks: BTreeMap<u8, Fair<usize>>,
    streams: Vec<usize>,
    /// Jobs that wait or run.
    members: usize,
    running: usize,
}

impl<T> Turns<T> {
    pub(super) fn stream_of(&mut self, facts: &Facts, now: Instant) -> usize {
        let rank = if facts.leaves { LEAVING } else { LEAVING + 10 - facts.priority.min(9) };
        let key = (facts.party(), facts.kind.clone(), facts.rules.route.clone(), rank);
        if let Some(stream) = self.by_key.get(&key).copied() {
            if !facts.leaves && !Arc::ptr_eq(&self.streams[stream].rules, &facts.rules) {
                self.put_under(stream, facts, now);
            }
            return stream;
        }
        let gates = if facts.leaves { [None; 3] } else { self.gates_of(&facts.rules, &facts.tenant) };
        let stream = self.streams.insert(Stream {
            rules: facts.rules.clone(),
            queue: VecDeque::new(),
            gates,
            state: State::Resting,
            members: 0,
            present: 0,
            shut: false,
            guess: 1000.0,
            key: key.clone(),
        });
        let tenant = self.tenants.entry(key.0.clone());
        tenant
            .or_insert_with(|| Tenant { ranks: BTreeMap::new(), streams: Vec::new(), members: 0, running: 0 })
            .streams
            .push(stream);
        self.by_key.insert(key, stream);
        stream
    }

    /// A reload has changed the rules of a stream; what runs goes on under the old limits.
    fn put_under(&mut self, stream: usize, facts: &Facts, now: Instant) {
        let gates = self.gates_of(&facts.rules, &facts.tenant);
        let owner = &mut self.streams[stream];
        owner.rules = facts.rules.clone();
        let old = std::mem::replace(&mut owner.gates, gates);
        if matches!(owner.state, State::Shut(_)) {
            for gate in old.into_iter().flatten() {
                self.gates[gate].gate.waiters.retain(|waiter| *waiter != stream);
            }
            self.wake(stream);
        }
        self.release(old, now);
    }

    /// The stream whose turn it is; with `few`, of the parties that run fewer jobs than that.
    pub(super) fn first_stream(&self, few: Option<usize>) -> Option<usize> {
        let mut parties = self.turns.in_turn().filter_map(|party| self.tenants.get(party));
        let tenant = parties.find(|tenant| few.is_none_or(|few| tenant.running < few))?;
        tenant.ranks.values().find_map(Fair::first).copied()
    }

    /// It has something to run.
    pub(super) fn wake(&mut self, stream: usize) {
        let owner = &mut self.streams[stream];
        owner.state = if owner.queue.is_empty() { State::Resting } else { State::Waiting };
        if owner.state == State::Resting {
            return;
        }
        self.ready += owner.queue.len();
        let (name, rank) = (&owner.key.0, owner.key.3);
        if let Some(tenant) = self.tenants.get_mut(name) {
            tenant.ranks.entry(rank).or_default().enter(&stream);
            self.turns.enter(name);
        }
    }

    /// It has nothing to run, or must not. The caller has counted its jobs out of `ready`.
    pub(super) fn rest(&mut self, stream: usize, state: State) {
        let owner = &mut self.streams[stream];
        owner.state = state;
        let Some(tenant) = self.tenants.get_mut(&owner.key.0) else { return };
        if let Some(fair) = tenant.ranks.get_mut(&owner.key.3) {
            fair.leave(&stream);
        }
        if tenant.ranks.values().all(Fair::is_empty) {
            self.turns.leave(&owner.key.0);
        }
    }

    /// Charges the shares of a stream for a run that starts, and answers what was charged.
    pub(super) fn charge(&mut self, stream: usize) -> u64 {
        let owner = &self.streams[stream];
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of microseconds")]
        let guess = owner.guess as u64;
        let weight = self.weight(&owner.key.0.1);
        self.turns.charge(&owner.key.0, guess, weight);
        if let Some(tenant) = self.tenants.get_mut(&owner.key.0) {
            tenant.ranks.entry(owner.key.3).or_default().charge(&stream, guess, owner.rules.weight);
            tenant.running += 1;
        }
        guess
    }

    /// The run is over: corrects what was charged by what it took.
    pub(super) fn settle(&mut self, ticket: &Ticket, took: Duration) {
        let took = micros(took);
        let weight = self.weight(&ticket.facts.tenant);
        let owner = &mut self.streams[ticket.stream];
        #[expect(clippy::cast_precision_loss, reason = "a guess")]
        let news = took as f64 - owner.guess;
        owner.guess += NEWS * news;
        self.turns.settle(&owner.key.0, ticket.guessed, took, weight);
        if let Some(tenant) = self.tenants.get_mut(&owner.key.0) {
            let fair = tenant.ranks.entry(owner.key.3).or_default();
            fair.settle(&ticket.stream, ticket.guessed, took, owner.rules.weight);
            tenant.running -= 1;
        }
    }

    fn weight(&self, tenant: &str) -> u32 {
        self.weights.get(tenant).copied().unwrap_or(1)
    }

    pub(super) fn arrived(&mut self, stream: usize) {
        self.streams[stream].present += 1;
        self.tell_of_stream(stream);
    }

    pub(super) fn departed(&mut self, stream: usize) {
        self.streams[stream].present -= 1;
        self.tell_of_stream(stream);
    }

    /// Asks sources for others when enough of this stream wait, and for it again when few do.
    fn tell_of_stream(&mut self, stream: usize) {
        let quota = (self.quota / (self.streams.len() + 1)).max(4);
        let owner = &mut self.streams[stream];
        let shut = if owner.shut { owner.present > quota / 2 } else { owner.present >= quota };
        if shut != owner.shut {
            owner.shut = shut;
            self.strands.tell(strand(&owner.key), shut);
        }
    }

    /// One more job that waits.
    pub(super) fn enlist(&mut self, stream: usize) {
        self.streams[stream].members += 1;
        if let Some(tenant) = self.tenants.get_mut(&self.streams[stream].key.0) {
            tenant.members += 1;
        }
    }

    /// A job has left that waited or ran; with the last one of a tenant all its streams go.
    pub(super) fn discharge(&mut self, stream: usize, now: Instant) {
        self.streams[stream].members -= 1;
        let Some(tenant) = self.tenants.get_mut(&self.streams[stream].key.0) else { return };
        tenant.members -= 1;
        if tenant.members == 0 {
            for stream in tenant.streams.clone() {
                self.retire_stream(stream, now);
            }
        } else if tenant.streams.len() > KEPT {
            self.retire_stream(stream, now);
        }
    }

    /// Forgets a stream without jobs, unless a gate still knows it.
    pub(super) fn retire_stream(&mut self, stream: usize, now: Instant) {
        if self.streams[stream].members > 0 || self.streams[stream].state != State::Resting {
            return;
        }
        let Stream { key, gates, shut, .. } = self.streams.remove(stream);
        self.by_key.remove(&key);
        if shut {
            self.strands.open(strand(&key));
        }
        if let Some(tenant) = self.tenants.get_mut(&key.0) {
            tenant.streams.retain(|other| *other != stream);
            tenant.ranks.values_mut().for_each(|fair| fair.forget(&stream));
            if tenant.streams.is_empty() {
                self.tenants.remove(&key.0);
            }
        }
        self.release(gates, now);
    }
}

/// What the queue of a stream calls it.
fn strand((party, kind, ..): &StreamKey) -> (Arc<str>, Strand) {
    (party.0.clone(), Strand::Stream { tenant: party.1.clone(), kind: kind.clone() })
}
