//! What stands before one executor: its breaker and the limit that follows what its target bears.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::breaker::{Breaker, Change, Phase, Refused, Seen, Settings, Sign, Start};
use super::limits::Admission;
use super::throttle::Throttle;
use crate::clock::{Clock, after};
use crate::job::life::LastFailure;
use crate::outcome::{Class, Failure, Outcome};
use crate::telemetry::{GuardMetrics, Wait};

/// Guards one executor for all pools of the process.
pub struct Guard {
    pub name: Arc<str>,
    clock: Clock,
    state: Mutex<State>,
    /// Counts what pools that have jobs waiting must know of.
    news: watch::Sender<u64>,
    metrics: GuardMetrics,
}

struct State {
    /// None when it is switched off.
    breaker: Option<Breaker>,
    throttle: Throttle,
    since: Timestamp,
    openings: u64,
    /// The evidence on which it opened, and the last failure that speaks against the target.
    seen: Seen,
    last: Option<LastFailure>,
    held_by: Option<Arc<str>>,
    /// What the metrics show.
    shown: (Phase, Option<usize>),
}

/// A run that was let through; dropped without an end it says nothing about the target.
pub struct Pass {
    guard: Arc<Guard>,
    /// None where there is no breaker.
    start: Option<Start>,
    started: Instant,
    over: bool,
}

/// An operator's hold on a breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub by: Arc<str>,
    pub since: Timestamp,
}

/// A guard as operators see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GuardReport {
    pub executor: Arc<str>,
    /// None when the executor has no breaker.
    pub state: Option<Phase>,
    /// Since when it is open or closed.
    pub since: Timestamp,
    pub openings: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_probe: Option<Timestamp>,
    /// Who holds it open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_by: Option<Arc<str>>,
    /// Of one that is held open: whether it still will be after a restart of the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remembered: Option<bool>,
    /// Distinct jobs that found the target dead, and all that ran, within the window or when it opened.
    pub failing: u64,
    pub seen: u64,
    pub running: usize,
    /// How many may run at once, where that is limited: after an outage, or because the target throttles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Until when the target wants no calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<LastFailure>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass").field("guard", &self.guard.name).field("start", &self.start).finish_non_exhaustive()
    }
}

impl Guard {
    /// `settings` are those of its breaker; none is without one.
    #[must_use]
    pub fn new(name: &str, settings: Option<Settings>, clock: Clock, metrics: GuardMetrics) -> Arc<Self> {
        let state = State {
            breaker: settings.map(Breaker::new),
            throttle: Throttle::default(),
            since: clock.now(),
            openings: 0,
            seen: Seen::default(),
            last: None,
            held_by: None,
            shown: (Phase::Closed, None),
        };
        metrics.show(Phase::Closed, None);
        Arc::new(Guard { name: name.into(), clock, state: Mutex::new(state), news: watch::Sender::new(0), metrics })
    }

    pub(super) fn settings(&self) -> Option<Settings> {
        self.lock().breaker.as_ref().map(Breaker::settings)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of changes of its state, and of room where it was short.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    fn tell(&self) {
        self.news.send_modify(|count| *count += 1);
    }

    /// Whether a run may start now.
    pub(super) fn ask(&self, now: Instant) -> Admission {
        let state = self.lock();
        if let Some(at) = state.throttle.not_before(now) {
            return Admission::At(at);
        }
        match &state.breaker {
            Some(breaker) if !breaker.has_room(now) => match breaker.probe_at().filter(|at| *at > now) {
                Some(at) => Admission::At(at),
                None => Admission::Full,
            },
            _ if !state.throttle.has_room(now) => Admission::Full,
            _ => Admission::Open,
        }
    }

    /// Lets a run through, if it may start now.
    pub(super) fn start(self: &Arc<Self>, now: Instant) -> Option<Pass> {
        let mut state = self.lock();
        if !state.throttle.has_room(now) {
            return None;
        }
        let start = match &mut state.breaker {
            Some(breaker) => match breaker.start(now) {
                Ok(start) => Some(start),
                Err(Refused::Shut | Refused::Full) => return None,
            },
            None => None,
        };
        state.throttle.start();
        Some(Pass { guard: self.clone(), start, started: now, over: false })
    }

    /// Why a run may not start now, for those that wait.
    pub(super) fn why(&self) -> Wait {
        let (now, state) = (Instant::now(), self.lock());
        let shut = state.breaker.as_ref().is_some_and(|breaker| breaker.phase(now) != Phase::Closed || !breaker.has_room(now));
        if shut { Wait::BreakerOpen } else { Wait::Throttled }
    }

    /// Why jobs that have not run must not wait for it in memory; none while it is closed.
    #[must_use]
    pub fn shut(&self) -> Option<Failure> {
        let state = self.lock();
        let breaker = state.breaker.as_ref().filter(|breaker| breaker.phase(Instant::now()) != Phase::Closed)?;
        let (class, why) = match (&state.last, &state.held_by) {
            (_, Some(by)) if breaker.is_held() => (Class::Unavailable, format!("{by} holds it open")),
            (Some(last), _) => (last.class, last.message.clone()),
            (None, _) => (Class::Unavailable, "its target does not answer".into()),
        };
        Some(Failure::new(class, format!("the breaker of the executor {} is open: {why}", self.name)))
    }

    /// None where there is no breaker. Pools ask when a probe is due, and so the metric shows it.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        let mut state = self.lock();
        self.show(&mut state);
        state.breaker.as_ref().map(|breaker| breaker.phase(Instant::now()))
    }

    /// How many parked jobs may be taken, with `waiting` of them taken already; a shut breaker wants one, for a probe.
    #[must_use]
    pub fn wants(&self, waiting: usize) -> usize {
        let (now, state) = (Instant::now(), self.lock());
        match &state.breaker {
            Some(breaker) => match (breaker.phase(now), breaker.allowed()) {
                (Phase::Open, _) => 0,
                (Phase::HalfOpen, _) => usize::from(breaker.has_room(now)).saturating_sub(waiting),
                (Phase::Closed, Some(allowed)) => allowed.saturating_sub(waiting),
                (Phase::Closed, None) => usize::MAX,
            },
            None => usize::MAX,
        }
    }

    /// When it becomes half-open by itself.
    #[must_use]
    pub fn probe_at(&self) -> Option<Instant> {
        self.lock().breaker.as_ref().and_then(Breaker::probe_at)
    }

    /// It is held open until [`Guard::close`]. Nothing happens to one without a breaker.
    pub fn hold(&self, hold: &Hold) {
        let mut state = self.lock();
        let Some(breaker) = &mut state.breaker else { return };
        breaker.hold();
        (state.held_by, state.since) = (Some(hold.by.clone()), hold.since);
        tracing::info!(executor = %self.name, "{} holds its breaker open", hold.by);
        self.show(&mut state);
        drop(state);
        self.tell();
    }

    /// An operator closes it and lifts its limit.
    pub fn close(&self, by: &str) {
        let mut state = self.lock();
        let Some(breaker) = &mut state.breaker else { return };
        breaker.close();
        (state.held_by, state.since) = (None, self.clock.now());
        state.throttle.lift();
        tracing::info!(executor = %self.name, "{by} closes its breaker");
        self.show(&mut state);
        drop(state);
        self.tell();
    }

    /// Jobs of before a restart wait for it: nobody knows whether its target is back, so that few run at first.
    pub(super) fn start_slowly(&self) {
        let mut state = self.lock();
        let Some(breaker) = &mut state.breaker else { return };
        breaker.start_slowly();
        self.show(&mut state);
    }

    #[must_use]
    pub fn report(&self) -> GuardReport {
        let (now, wall) = (Instant::now(), self.clock.now());
        let at = |instant: Instant| after(wall, instant.saturating_duration_since(now));
        let mut state = self.lock();
        let state = &mut *state;
        let phase = state.breaker.as_ref().map(|breaker| breaker.phase(now));
        let seen = match &mut state.breaker {
            Some(breaker) if phase == Some(Phase::Closed) => breaker.seen(now),
            _ => state.seen,
        };
        GuardReport {
            executor: self.name.clone(),
            state: phase,
            since: state.since,
            openings: state.openings,
            next_probe: state.breaker.as_ref().and_then(Breaker::probe_at).map(at),
            held_by: state.held_by.clone(),
            remembered: None,
            failing: seen.failing,
            seen: seen.all,
            running: state.throttle.running(),
            limit: limit(state),
            paused_until: state.throttle.not_before(now).map(at),
            last: state.last.clone(),
        }
    }

    fn show(&self, state: &mut State) {
        let phase = state.breaker.as_ref().map_or(Phase::Closed, |breaker| breaker.phase(Instant::now()));
        let now = (phase, limit(state));
        if state.shown != now {
            state.shown = now;
            self.metrics.show(now.0, now.1);
        }
    }

    fn ended(&self, start: Option<&Start>, started: Instant, end: Option<(&str, &Outcome)>) {
        let now = Instant::now();
        let sign = end.map_or(Sign::None, |(job, outcome)| sign(job, outcome));
        let mut state = self.lock();
        let was_short = limit(&state).is_some() || state.throttle.not_before(now).is_some();
        let failure = match end {
            Some((_, Outcome::Failed(failure))) => Some(failure),
            _ => None,
        };
        match (sign, failure) {
            (_, Some(failure)) if failure.class == Class::Throttled => {
                state.throttle.throttled(started, now, failure.retry_after);
            }
            (Sign::Alive, _) => state.throttle.passed(),
            (Sign::Dead(_) | Sign::None, _) => state.throttle.ended(),
        }
        if let (Sign::Dead(_), Some(failure)) = (sign, failure) {
            state.last = Some(LastFailure::new(failure.class, &failure.message));
        }
        let probe = start.is_some_and(|start| start.probe);
        let change = match (start, &mut state.breaker) {
            (Some(start), Some(breaker)) => breaker.ended(start, sign, now),
            _ => None,
        };
        if let Some(change) = change {
            self.changed(&mut state, change);
        }
        self.show(&mut state);
        drop(state);
        if was_short || probe || change.is_some() {
            self.tell();
        }
    }

    fn changed(&self, state: &mut State, change: Change) {
        let last = state.last.as_ref().map_or("", |last| &last.message);
        match change {
            Change::Opened(seen) => {
                let evidence = format!("{} of the last {} jobs found its target dead", seen.failing, seen.all);
                if state.last.as_ref().is_some_and(|last| last.class == Class::Misconfigured) {
                    tracing::error!(executor = %self.name, "breaker open: it is misconfigured, and its jobs wait: {evidence}; {last}");
                } else {
                    tracing::warn!(executor = %self.name, "breaker open: its jobs wait: {evidence}; {last}");
                }
                (state.seen, state.since) = (seen, self.clock.now());
                state.openings += 1;
                self.metrics.openings.increment(1);
            }
            Change::StaysOpen(wait) => {
                tracing::info!(executor = %self.name, "a probe failed, the next one is in {} s: {last}", wait.as_secs());
            }
            Change::Closed => {
                let took = crate::clock::between(state.since, self.clock.now());
                tracing::info!(executor = %self.name, "breaker closed after {} s: a probe has passed", took.as_secs());
                (state.since, state.held_by) = (self.clock.now(), None);
            }
        }
    }
}

/// How many may run at once now, where that is limited.
fn limit(state: &State) -> Option<usize> {
    let ramp = state.breaker.as_ref().and_then(Breaker::allowed);
    ramp.into_iter().chain(state.throttle.limit()).min()
}

/// What a run's end says about the target: only what found it dead speaks against it, whatever else a job did wrong.
fn sign(job: &str, outcome: &Outcome) -> Sign {
    match outcome {
        Outcome::Done(_) => Sign::Alive,
        Outcome::Interrupted(_) => Sign::None,
        Outcome::Failed(failure) => match failure.class {
            Class::Unavailable | Class::Misconfigured => Sign::Dead(xxh3_64(job.as_bytes())),
            Class::Aborted | Class::Expired | Class::NoRoute => Sign::None,
            _ => Sign::Alive,
        },
    }
}

impl Pass {
    /// The run of this job has ended.
    pub fn ended(mut self, job: &str, outcome: &Outcome) {
        self.over = true;
        self.guard.ended(self.start.as_ref(), self.started, Some((job, outcome)));
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.over {
            self.guard.ended(self.start.as_ref(), self.started, None);
        }
    }
}
