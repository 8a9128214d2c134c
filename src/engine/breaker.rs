//! The breaker of one executor: shut once several distinct jobs have found its target dead, opened by a probe that passes.
//!
//! A state machine over the instants it is given; `guard.rs` gives it a clock.

mod evidence;

use std::time::Duration;

use tokio::time::Instant;

pub use crate::telemetry::Phase;
use evidence::Evidence;
pub use evidence::Seen;

/// After a probe has passed, this many jobs at once end the ramp.
const RAMP_END: usize = 1024;

/// When a breaker opens and how it looks whether it may close.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Distinct jobs that must have found the target dead.
    pub jobs: u64,
    /// Their part of all runs, from 0 to 1.
    pub ratio: f64,
    /// Within which both are counted.
    pub window: Duration,
    /// The wait before the first probe; it doubles with each that fails.
    pub probe: Duration,
    pub longest_probe: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            jobs: 5,
            ratio: 0.5,
            window: Duration::from_secs(30),
            probe: Duration::from_secs(5),
            longest_probe: Duration::from_secs(60),
        }
    }
}

/// Decides which runs may start.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    state: State,
    evidence: Evidence,
    /// Raised with each change between open and closed: a run that started before says nothing about what is now.
    term: u64,
    /// Runs of this term.
    running: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Closed,
    Ramping(Ramp),
    Open {
        /// None while an operator holds it open.
        probe_at: Option<Instant>,
        /// Until the probe after that one.
        wait: Duration,
    },
}

/// Closed for a moment only: this many at once, doubled with each round of as many that passed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ramp {
    allowed: usize,
    passed: usize,
    /// The round had as many at once as are allowed: more might come if they were.
    reached: bool,
    /// Before the next probe, should it open again.
    wait: Duration,
}

/// A run that was let through. To be given back with its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Start {
    term: u64,
    pub probe: bool,
}

/// Why a run may not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The target is held for dead, or a probe is under way.
    Shut,
    /// As many run as may after an outage.
    Full,
}

/// How a run ended, as far as the target is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    Alive,
    /// Found dead by this job, named by a hash.
    Dead(u64),
    /// The run says nothing: it was interrupted.
    None,
}

/// What the end of a run has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// From closed; with the evidence.
    Opened(Seen),
    /// A probe has failed; the next one follows after this.
    StaysOpen(Duration),
    /// A probe has passed.
    Closed,
}

impl Breaker {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Breaker { settings, state: State::Closed, evidence: Evidence::new(settings.window), term: 0, running: 0 }
    }

    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// A run wants to start; of a breaker that is half-open it is the probe.
    ///
    /// # Errors
    /// Why not now.
    pub fn start(&mut self, now: Instant) -> Result<Start, Refused> {
        let probe = match &mut self.state {
            State::Closed => false,
            State::Ramping(ramp) => {
                ramp.reached |= self.running + 1 >= ramp.allowed;
                if self.running >= ramp.allowed {
                    return Err(Refused::Full);
                }
                false
            }
            State::Open { probe_at, .. } => {
                if self.running > 0 || probe_at.is_none_or(|at| now < at) {
                    return Err(Refused::Shut);
                }
                true
            }
        };
        self.running += 1;
        Ok(Start { term: self.term, probe })
    }

    /// A run that was let through has ended.
    pub fn ended(&mut self, start: &Start, sign: Sign, now: Instant) -> Option<Change> {
        if start.term != self.term {
            return None;
        }
        self.running -= 1;
        match (self.state, sign) {
            (_, Sign::None) => None,
            (State::Open { wait, .. }, Sign::Dead(_)) => {
                self.open(now, wait);
                Some(Change::StaysOpen(wait))
            }
            (State::Open { wait, .. }, Sign::Alive) => {
                self.ramp(wait);
                Some(Change::Closed)
            }
            (State::Ramping(_) | State::Closed, Sign::Alive) => {
                self.evidence.passed(now);
                self.grow();
                None
            }
            (State::Ramping(_) | State::Closed, Sign::Dead(job)) => self.accuse(job, now),
        }
    }

    fn accuse(&mut self, job: u64, now: Instant) -> Option<Change> {
        self.evidence.failed(job, now);
        let mut wait = self.settings.probe;
        if let State::Ramping(ramp) = &mut self.state {
            (ramp.allowed, ramp.passed) = ((ramp.allowed / 2).max(1), 0);
            wait = ramp.wait;
        }
        let seen = self.evidence.seen(now);
        if seen.failing < self.settings.jobs || seen.ratio() < self.settings.ratio {
            return None;
        }
        self.open(now, wait);
        Some(Change::Opened(seen))
    }

    /// Opens, or stays open, for `wait`.
    fn open(&mut self, now: Instant, wait: Duration) {
        let next = (wait * 2).min(self.settings.longest_probe.max(self.settings.probe));
        self.turn(State::Open { probe_at: Some(now + wait), wait: next });
    }

    fn ramp(&mut self, wait: Duration) {
        self.turn(State::Ramping(Ramp { allowed: 2, passed: 0, reached: false, wait }));
    }

    fn turn(&mut self, state: State) {
        self.state = state;
        self.term += 1;
        self.running = 0;
        self.evidence.clear();
    }

    /// A run of the ramp has passed; the ramp ends where it binds nobody.
    fn grow(&mut self) {
        let State::Ramping(ramp) = &mut self.state else { return };
        ramp.passed += 1;
        if ramp.passed < ramp.allowed {
            return;
        }
        if !ramp.reached || ramp.allowed >= RAMP_END {
            self.state = State::Closed;
            return;
        }
        *ramp = Ramp { allowed: ramp.allowed * 2, passed: 0, reached: false, ..*ramp };
    }

    /// An operator holds it open until [`Breaker::close`].
    pub fn hold(&mut self) {
        self.turn(State::Open { probe_at: None, wait: self.settings.probe });
    }

    /// An operator knows the target is there again: it closes as after a probe.
    pub fn close(&mut self) {
        if matches!(self.state, State::Open { .. }) {
            self.ramp(self.settings.probe);
        }
    }

    /// A closed one lets few through at first, as after a probe.
    pub fn start_slowly(&mut self) {
        if self.state == State::Closed {
            self.ramp(self.settings.probe);
        }
    }

    #[must_use]
    pub fn phase(&self, now: Instant) -> Phase {
        match self.state {
            State::Closed | State::Ramping(_) => Phase::Closed,
            State::Open { probe_at: Some(at), .. } if at <= now => Phase::HalfOpen,
            State::Open { .. } => Phase::Open,
        }
    }

    /// Whether a run could start now.
    #[must_use]
    pub fn has_room(&self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Ramping(ramp) => self.running < ramp.allowed,
            State::Open { .. } => self.phase(now) == Phase::HalfOpen && self.running == 0,
        }
    }

    /// When it will be half-open.
    #[must_use]
    pub fn probe_at(&self) -> Option<Instant> {
        match self.state {
            State::Open { probe_at, .. } => probe_at,
            _ => None,
        }
    }

    /// Whether an operator holds it open.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self.state, State::Open { probe_at: None, .. })
    }

    /// How many may run at once while it ramps up.
    #[must_use]
    pub fn allowed(&self) -> Option<usize> {
        match self.state {
            State::Ramping(ramp) => Some(ramp.allowed),
            _ => None,
        }
    }

    /// What speaks for and against it now.
    pub fn seen(&mut self, now: Instant) -> Seen {
        self.evidence.seen(now)
    }
}

#[cfg(test)]
mod tests;
