//! From what happened to what we do about it: one pure function over an outcome, a job and its policy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::{after, between};
use crate::job::life::{Parked, Run};
use crate::job::{Job, Life};
use crate::outcome::{Class, Failure, Outcome, Reason, Verdict};

/// Waits without a slot between two looks at a shut target or a missing route: 1 s, doubling to a minute.
const PARK: Backoff = Backoff { base: Duration::from_secs(1), factor: 2.0, cap: Duration::from_secs(60), jitter: Jitter::Equal };

/// How a route treats failing jobs. The defaults are those of `config/default.yaml`.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Counted runs in all; the last one's failure is a dead letter.
    pub attempts: u32,
    /// Runs that may take their host process down; the last one makes it `poison`.
    pub crashes: u32,
    /// No retry is started later than this after the first failure.
    pub retry_for: Option<Duration>,
    pub backoff: Backoff,
    /// What differs for single classes.
    pub classes: BTreeMap<Class, Override>,
    /// Of one run.
    pub timeout: Duration,
    /// How long a shut target or wrong configuration is waited for before the job is dead-lettered.
    pub unavailable_for: Duration,
    /// How long a job waits for a route of its type.
    pub no_route: Duration,
    pub unknown_outcome: OnUnknown,
}

/// What differs from the route's policy for one class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Override {
    pub attempts: Option<u32>,
    pub backoff: Option<Backoff>,
}

/// What to do when a call was sent and no answer came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    #[default]
    Retry,
    DeadLetter,
}

/// Exponential delays: `min(cap, base × factor^n)`, then jitter.
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    pub base: Duration,
    pub factor: f64,
    pub cap: Duration,
    pub jitter: Jitter,
}

/// How a delay is spread, after "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// Anywhere between nothing and the delay.
    #[default]
    Full,
    /// Between half the delay and all of it.
    Equal,
    None,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { base: Duration::from_secs(1), factor: 2.0, cap: Duration::from_secs(3600), jitter: Jitter::Full }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            attempts: 20,
            crashes: 3,
            retry_for: None,
            backoff: Backoff::default(),
            classes: BTreeMap::new(),
            timeout: Duration::from_secs(300),
            unavailable_for: Duration::from_secs(24 * 3600),
            no_route: Duration::from_secs(15 * 60),
            unknown_outcome: OnUnknown::Retry,
        }
    }
}

impl Backoff {
    /// The delay before the retry that follows `failures` failures (≥ 1); `jitter` is drawn from [0, 1).
    #[must_use]
    pub fn delay(&self, failures: u32, jitter: f64) -> Duration {
        let exponent = f64::from(failures.saturating_sub(1));
        let full = (self.base.as_secs_f64() * self.factor.powf(exponent)).min(self.cap.as_secs_f64());
        let spread = match self.jitter {
            Jitter::Full => full * jitter,
            Jitter::Equal => full * (0.5 + jitter / 2.0),
            Jitter::None => full,
        };
        Duration::try_from_secs_f64(spread).unwrap_or(self.cap)
    }
}

/// When and where a run ended, and the die that was rolled for it.
#[derive(Clone, Debug)]
pub struct Moment {
    pub now: Timestamp,
    /// From [0, 1).
    pub jitter: f64,
    pub took: Duration,
    pub worker: Arc<str>,
}

/// Decides what becomes of a job.
#[must_use]
pub fn decide(outcome: Outcome, job: &Job, policy: &Policy, moment: &Moment) -> Verdict {
    match outcome {
        Outcome::Done(output) => Verdict::Complete(output),
        Outcome::Interrupted(why) => Verdict::GiveBack(why),
        Outcome::Failed(failure) => match failure.class {
            Class::Throttled | Class::Unavailable | Class::Misconfigured => park(failure, job, policy.unavailable_for, moment),
            Class::NoRoute => park(failure, job, policy.no_route, moment),
            Class::Rejected | Class::Aborted | Class::Expired => bury(failure, noted(job, moment, None), None),
            Class::UnknownOutcome if policy.unknown_outcome == OnUnknown::DeadLetter => {
                let life = counted(&failure, job, moment);
                bury(failure, life, None)
            }
            Class::Crashed if failure.shared_host => run_alone(&failure, job, moment),
            Class::Crashed => crash(failure, job, policy, moment),
            Class::Timeout | Class::Failed | Class::UnknownOutcome => retry(failure, job, policy, moment),
        },
    }
}

/// The verdict for a job whose deadline has passed before it could run.
#[must_use]
pub fn expired(job: &Job, deadline: Timestamp, moment: &Moment) -> Verdict {
    let failure = Failure::new(Class::Expired, format!("its deadline {deadline} has passed"));
    bury(failure, noted(job, moment, None), None)
}

/// For the head of a key that keeps its order: a retry for which the key would have waited longer than `longest` is a dead
/// letter instead. `failing` is how long the key has waited by then for runs that failed.
#[must_use]
pub fn in_order(verdict: Verdict, failing: Duration, longest: Option<Duration>) -> Verdict {
    match (verdict, longest) {
        (Verdict::Retry { mut life, .. }, Some(longest)) if failing > longest => {
            let last = life.last.clone();
            let class = last.as_ref().map_or(Class::Failed, |last| last.class);
            let last = last.map_or_else(String::new, |last| format!("; the last run: {}", last.message));
            let message = format!("the other jobs of its key have waited for it longer than order_hold allows{last}");
            life.due = None;
            Verdict::DeadLetter { reason: Reason::ORDER_HOLD, class, message, life }
        }
        (verdict, _) => verdict,
    }
}

fn retry(failure: Failure, job: &Job, policy: &Policy, moment: &Moment) -> Verdict {
    let life = counted(&failure, job, moment);
    let special = policy.classes.get(&failure.class);
    let attempts = special.and_then(|class| class.attempts).unwrap_or(policy.attempts);
    if life.attempt >= attempts {
        return bury(failure, life, None);
    }
    let backoff = special.and_then(|class| class.backoff.as_ref()).unwrap_or(&policy.backoff);
    let wait = failure.retry_after.unwrap_or_else(|| backoff.delay(life.attempt, moment.jitter));
    again(failure, life, job, policy, after(moment.now, wait))
}

fn crash(failure: Failure, job: &Job, policy: &Policy, moment: &Moment) -> Verdict {
    let mut life = noted(job, moment, Some(&failure));
    life.crashes += 1;
    if life.crashes >= policy.crashes {
        return bury(failure, life, Some(Reason::POISON));
    }
    let at = after(moment.now, policy.backoff.delay(life.crashes, moment.jitter));
    again(failure, life, job, policy, at)
}

/// The life of a job that was run alone in its worker, once that run is over. Where the worker lived, a crash is taken off:
/// of a job that kills its worker most of the times the count still grows, and of one that was there each time when something
/// else did it is brought back to nothing.
#[must_use]
pub fn survived(life: &Life, outcome: &Outcome) -> Life {
    let speaks_for_it = match outcome {
        Outcome::Done(_) => true,
        Outcome::Failed(failure) => failure.class != Class::Crashed,
        Outcome::Interrupted(_) => false,
    };
    Life { suspect: false, crashes: life.crashes.saturating_sub(u32::from(speaks_for_it)), ..life.clone() }
}

/// A host died with several jobs in it: nothing is charged, the next run has a host of its own.
fn run_alone(failure: &Failure, job: &Job, moment: &Moment) -> Verdict {
    let mut life = noted(job, moment, Some(failure));
    life.alone = true;
    Verdict::Retry { at: moment.now, life }
}

/// A retry at `at`, unless the job's time is over by then.
fn again(failure: Failure, mut life: Life, job: &Job, policy: &Policy, at: Timestamp) -> Verdict {
    if let Some(deadline) = job.deadline
        && at > deadline
    {
        let message = format!("its deadline {deadline} passes before the next attempt; the last run: {}", failure.message);
        return bury(Failure::new(Class::Expired, message), life, None);
    }
    if let (Some(limit), Some(first)) = (policy.retry_for, life.first_failure)
        && between(first, at) > limit
    {
        return bury(failure, life, None);
    }
    life.due = Some(at);
    Verdict::Retry { at, life }
}

fn park(failure: Failure, job: &Job, limit: Duration, moment: &Moment) -> Verdict {
    let before = job.life.park.clone().filter(|parked| (parked.reason == Class::NoRoute) == (failure.class == Class::NoRoute));
    let (since, count) = before.map_or((moment.now, 1), |parked| (parked.since, parked.count + 1));
    let over = after(since, limit);
    let mut life = job.life.clone();
    life.suspect = false;
    life.park = Some(Parked { reason: failure.class, since, count, round: None });
    if moment.now >= over {
        return bury(failure, life, None);
    }
    if let Some(deadline) = job.deadline.filter(|deadline| *deadline <= moment.now) {
        return bury(
            Failure::new(Class::Expired, format!("its deadline {deadline} has passed while it waited: {}", failure.message)),
            life,
            None,
        );
    }
    let wait = failure.retry_after.unwrap_or_else(|| PARK.delay(count, moment.jitter));
    let at = after(moment.now, wait).min(over);
    life.due = Some(at);
    life.last_was(failure.class, &failure.message);
    let until = job.deadline.map_or(over, |deadline| deadline.min(over));
    Verdict::Park { reason: failure.class, at, until, life }
}

fn counted(failure: &Failure, job: &Job, moment: &Moment) -> Life {
    let mut life = noted(job, moment, Some(failure));
    life.attempt += 1;
    life
}

/// The job's life after a run: unmarked, unparked, and with a line of history where the run failed.
fn noted(job: &Job, moment: &Moment, failure: Option<&Failure>) -> Life {
    let mut life = Life { suspect: false, alone: false, park: None, ..job.life.clone() };
    if let Some(failure) = failure {
        let took = u64::try_from(moment.took.as_millis()).unwrap_or(u64::MAX);
        life.note(Run { at: moment.now, class: failure.class, took, worker: moment.worker.clone() }, &failure.message);
    }
    life
}

fn bury(failure: Failure, mut life: Life, reason: Option<Reason>) -> Verdict {
    life.due = None;
    let reason = reason.unwrap_or(Reason::Class(failure.class));
    Verdict::DeadLetter { reason, class: failure.class, message: failure.message, life }
}

#[cfg(test)]
mod tests;
