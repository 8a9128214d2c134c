//! The limits that streams share: a route's, and each tenant's on a route.

use std::sync::Arc;

use tokio::time::Instant;

use super::streams::State;
use super::timers::Timer;
use super::{Rules, Turns};
use crate::engine::limits::{Admission, Gate, Limit};
use crate::telemetry::Wait;

/// What is limited.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum GateKey {
    Executor(Arc<str>),
    Route(Arc<str>),
    /// A tenant's part of a route.
    Tenant(Arc<str>, Arc<str>),
}

/// The limits that a stream is under: its executor's, its route's, and its tenant's on that route.
pub(super) type Gates = [Option<usize>; 3];

/// A limit, and who is under it.
pub(super) struct Shared {
    key: GateKey,
    pub gate: Gate<usize>,
    /// Streams under it, and runs that were started under it.
    pub users: usize,
    /// Timers that are set.
    pub timers: usize,
}

impl<T> Turns<T> {
    pub(super) fn gates_of(&mut self, rules: &Rules, tenant: &Arc<str>) -> Gates {
        let route = rules.route.clone();
        let limited = |limit: Limit| (!limit.is_none()).then(|| Gate::new(limit));
        let guarded = rules.guard.as_ref().map(|guard| (GateKey::Executor(guard.name.clone()), Gate::guarded(guard)));
        [
            guarded.map(|(key, gate)| self.gate_of(key, gate)),
            limited(rules.limit).map(|gate| self.gate_of(GateKey::Route(route.clone()), gate)),
            limited(rules.per_tenant).map(|gate| self.gate_of(GateKey::Tenant(route, tenant.clone()), gate)),
        ]
    }

    fn gate_of(&mut self, key: GateKey, gate: Gate<usize>) -> usize {
        let gates = &mut self.gates;
        let (limit, guard) = (gate.limit, gate.guard.clone());
        let gate =
            *self.gates_by_key.entry(key.clone()).or_insert_with(|| gates.insert(Shared { key, gate, users: 0, timers: 0 }));
        (self.gates[gate].gate.limit, self.gates[gate].gate.guard) = (limit, guard); // a reload may have changed them
        self.gates[gate].users += 1;
        gate
    }

    /// Asks every executor's gate again.
    pub fn ask_guards(&mut self, now: Instant) {
        let guarded = self.gates.iter().filter(|(_, shared)| shared.gate.guard.is_some()).map(|(gate, _)| gate);
        for gate in guarded.collect::<Vec<usize>>() {
            self.pass_on([Some(gate), None, None], now);
        }
    }

    /// It waits for a gate.
    pub(super) fn wait_at(&mut self, gate: usize, stream: usize, shut: Admission) {
        self.ready -= self.streams[stream].queue.len();
        let why = match &self.gates[gate].gate.guard {
            Some(guard) => guard.why(),
            None if shut == Admission::Full => Wait::Concurrency,
            None => Wait::Rate,
        };
        self.waited(why);
        self.rest(stream, State::Shut(why));
        self.gates[gate].gate.waiters.push_back(stream);
        self.watch(gate, shut);
    }

    fn watch(&mut self, gate: usize, shut: Admission) {
        if let Admission::At(at) = shut
            && self.gates[gate].timers == 0
        {
            self.gates[gate].timers += 1;
            self.timers.set(at, Timer::Gate(gate));
        }
    }

    /// Each gate that is open wakes the stream that has waited longest; one that opens later is watched.
    pub(super) fn pass_on(&mut self, gates: Gates, now: Instant) {
        for gate in gates.into_iter().flatten() {
            // a stream that is retired in here may take the gate along
            while let Some(shared) = self.gates.get_mut(gate).filter(|shared| !shared.gate.waiters.is_empty()) {
                let asked = shared.gate.ask(now);
                if asked != Admission::Open {
                    self.watch(gate, asked);
                    break;
                }
                let Some(stream) = shared.gate.waiters.pop_front() else { break };
                self.wake(stream);
                if self.streams[stream].state == State::Waiting {
                    break;
                }
                self.retire_stream(stream, now); // its jobs were taken away meanwhile
            }
        }
    }

    /// One user less of each.
    pub(super) fn release(&mut self, gates: Gates, now: Instant) {
        for gate in gates.into_iter().flatten() {
            self.gates[gate].users -= 1;
            self.retire_gate(gate, now);
        }
    }

    /// Forgets a gate that nobody is under, once its rate has nothing to remember.
    pub(super) fn retire_gate(&mut self, gate: usize, now: Instant) {
        let Some(shared) = self.gates.get_mut(gate) else { return };
        if shared.users > 0 || shared.timers > 0 {
            return;
        }
        match shared.gate.idle_at(now) {
            Some(at) => {
                shared.timers += 1;
                self.timers.set(at, Timer::Gate(gate));
            }
            None => {
                let shared = self.gates.remove(gate);
                self.gates_by_key.remove(&shared.key);
            }
        }
    }
}
