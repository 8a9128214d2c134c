//! What would become of one message: the job it is, the route it takes, how its failures are treated, where it ends.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde::Serialize;

use crate::config::problem::wrap;
use crate::config::queue::QueueKind;
use crate::config::{Config, Pool, Queue, Route};
use crate::expression::{Expression, Scope, Subject};
use crate::job::decode::{self, Received};
use crate::job::{Job, Message, Origin};
use crate::outcome::Verdict;
use crate::ports::Order;
use crate::retry::{Jitter, OnUnknown};
use crate::units::Span;

/// Shown for a job that brings no id.
const NO_ID: &str = "(none of its own: the queue gives it one)";

/// The path of a message, without running it.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    pub queue: String,
    pub pool: String,
    #[serde(flatten)]
    pub fate: Fate,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Dead-lettered at once, for this reason.
    Malformed(String),
    /// Its queue does not take it.
    Refused {
        job: JobFields,
        #[serde(flatten)]
        end: Refusal,
        exits: Exits,
    },
    /// No route takes it: it waits this long for one, then it is dead-lettered.
    NoRoute { job: JobFields, no_route: Span, exits: Exits },
    Runs {
        job: JobFields,
        route: String,
        executor: String,
        kind: &'static str,
        policy: Treatment,
        #[serde(skip_serializing_if = "Option::is_none")]
        order: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        unique: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        then: Option<String>,
        exits: Exits,
    },
}

/// What becomes of a job that its queue does not take.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Ended without a trace but a count, by this.
    DiscardedBy(String),
    DeadLettered {
        reason: String,
        why: String,
    },
}

#[derive(Clone, Debug, Serialize)]
pub struct JobFields {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub version: Option<String>,
    pub key: Option<String>,
    pub tenant: String,
    pub priority: u8,
    pub not_before: Option<Timestamp>,
    pub deadline: Option<Timestamp>,
    pub batch: Option<String>,
    /// Of the payload.
    pub bytes: usize,
}

/// The policy, with the longest wait before each of the first retries.
#[derive(Clone, Debug, Serialize)]
pub struct Treatment {
    pub timeout: Span,
    pub attempts: u32,
    pub waits: Vec<Span>,
    pub cap: Span,
    pub jitter: Jitter,
    pub retry_for: Option<Span>,
    pub crashes: u32,
    pub unavailable_for: Span,
    pub unknown_outcome: OnUnknown,
}

#[derive(Clone, Debug, Serialize)]
pub struct Exits {
    /// None: kept by the queue itself, where it can.
    pub results: Option<String>,
    pub dead_letters: String,
}

/// Explains a message as if it came from `queue` (the first one of the first pool when none is named).
///
/// # Errors
/// A sentence when no pool takes from the queue, or the routes tie.
pub fn explain_message(config: &Config, queue: Option<&str>, message: &Message, now: Timestamp) -> Result<Explanation, String> {
    let takes = |pool: &&String| queue.is_none_or(|queue| config.pools[*pool].from.iter().any(|from| from == queue));
    let wanted =
        || queue.map_or_else(|| "there is no pool".to_owned(), |queue| format!("no pool takes from the queue {queue:?}"));
    let name = config.pools.keys().find(takes).ok_or_else(wanted)?;
    let pool = &config.pools[name];
    let queue = queue.map(str::to_owned).or_else(|| pool.from.first().cloned()).ok_or_else(wanted)?;
    let block = config.queues.get(&queue).ok_or_else(|| format!("there is no queue {queue:?}"))?;
    let origin = Origin { queue: queue.as_str().into(), id: Some(NO_ID.into()), ..Origin::default() };
    let received = Received { origin, published: Some(now), now };
    let fate = match decode::decode(message, &block.decode.decoding(), &received) {
        Ok(job) => match refusal(block, &job, now) {
            Some(end) => Fate::Refused { job: fields(&job), end, exits: exits(config, pool, &queue, None) },
            None => fate(config, pool, &queue, &job)?,
        },
        Err(malformed) => Fate::Malformed(malformed.0),
    };
    Ok(Explanation { queue, pool: name.clone(), fate })
}

fn refusal(block: &Queue, job: &Job, now: Timestamp) -> Option<Refusal> {
    match block.screen().ok()?.verdict(job, now)? {
        Verdict::DeadLetter { reason, message, .. } => Some(Refusal::DeadLettered { reason: reason.to_string(), why: message }),
        Verdict::Discard { by } => Some(Refusal::DiscardedBy(by.to_string())),
        _ => None,
    }
}

fn fate(config: &Config, pool: &Pool, queue: &str, job: &Job) -> Result<Fate, String> {
    let table = config.route_table().map_err(|_| "two routes take the same jobs: see windlass check".to_owned())?;
    let route = table.find(&job.kind, job.version.as_deref()).and_then(|number| config.routes.get(number));
    let exits = exits(config, pool, queue, route);
    let order = route.and_then(|route| order(route, config.queues.get(queue), job));
    let (unique, then) = (route.and_then(|route| unique(route, job)), route.and_then(|route| then(route, queue)));
    let job = fields(job);
    Ok(match route {
        None => Fate::NoRoute { job, no_route: pool.no_route, exits },
        Some(route) => Fate::Runs {
            job,
            route: route.name(),
            executor: route.run.clone(),
            kind: config.executors.get(&route.run).map_or("unknown", |executor| executor.kind.word()),
            policy: treatment(route, pool),
            order,
            unique,
            then,
            exits,
        },
    })
}

/// Which other jobs it waits for.
fn order(route: &Route, queue: Option<&Queue>, job: &Job) -> Option<String> {
    route.order_by?;
    let Some(key) = &job.key else { return Some("none: it has no key".into()) };
    let whole = queue.is_none_or(|queue| queue.kind.order() == Order::Key);
    let scope = if whole { "" } else { ", in each worker alone" };
    Some(format!("after every earlier job with the key {key:?}{scope}"))
}

/// Which other jobs are discarded on account of this one.
fn unique(route: &Route, job: &Job) -> Option<String> {
    let unique = route.unique.as_ref()?;
    let key = Expression::compile(&unique.key, Scope::Job).ok()?.text(Subject { job, result: None });
    Some(match key {
        Ok(Some(key)) => format!("no other job with the key {key:?} while it waits or runs, and {} after", spell(unique.span)),
        Ok(None) => "its key is null: like no other".into(),
        Err(why) => format!("dead-lettered as rejected: {} has no answer: {why}", unique.key),
    })
}

fn then(route: &Route, queue: &str) -> Option<String> {
    let then = route.then.as_ref()?;
    Some(format!("a job of type {} in {} gets the result", then.kind, then.queue.as_deref().unwrap_or(queue)))
}

fn fields(job: &Job) -> JobFields {
    JobFields {
        id: job.id.to_string(),
        kind: job.kind.to_string(),
        version: job.version.as_deref().map(str::to_owned),
        key: job.key.as_deref().map(str::to_owned),
        tenant: job.tenant.to_string(),
        priority: job.priority,
        not_before: job.not_before,
        deadline: job.deadline,
        batch: job.batch.as_ref().map(|batch| batch.id.to_string()),
        bytes: job.data.bytes().len(),
    }
}

fn treatment(route: &Route, pool: &Pool) -> Treatment {
    let policy = route.policy(pool);
    let steady = crate::retry::Backoff { jitter: Jitter::None, ..policy.backoff.clone() };
    Treatment {
        timeout: Span(policy.timeout),
        attempts: policy.attempts,
        waits: (1..policy.attempts.min(6)).map(|failures| Span(steady.delay(failures, 0.0))).collect(),
        cap: Span(policy.backoff.cap),
        jitter: policy.backoff.jitter,
        retry_for: policy.retry_for.map(Span),
        crashes: policy.crashes,
        unavailable_for: Span(policy.unavailable_for),
        unknown_outcome: policy.unknown_outcome,
    }
}

fn exits(config: &Config, pool: &Pool, queue: &str, route: Option<&Route>) -> Exits {
    let results = route.and_then(|route| route.results.clone()).or_else(|| pool.results.clone());
    let dead_letters = route.and_then(|route| route.dead_letters.clone()).or_else(|| pool.dead_letters.clone());
    let inside = match config.queues.get(queue).map(|queue| &queue.kind) {
        Some(QueueKind::Embedded(embedded)) => embedded.queue.as_deref().unwrap_or(queue),
        _ => queue,
    };
    Exits { results, dead_letters: dead_letters.unwrap_or_else(|| format!("{inside}.dead")) }
}

impl fmt::Display for Explanation {
    /// A line per fact, for a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fact(f, "comes from", &format!("queue {}, pool {}", self.queue, self.pool))?;
        match &self.fate {
            Fate::Malformed(why) => fact(f, "is no job", &format!("dead-lettered at once as malformed: {why}")),
            Fate::Refused { job, end, exits } => {
                job.fmt(f)?;
                match end {
                    Refusal::DiscardedBy(by) => fact(f, "not wanted", &format!("discarded by {by}, and counted"))?,
                    Refusal::DeadLettered { reason, why } => fact(f, "not run", &format!("dead-lettered as {reason}: {why}"))?,
                }
                exits.fmt(f)
            }
            Fate::NoRoute { job, no_route, exits } => {
                job.fmt(f)?;
                fact(f, "route", &format!("none: waits up to {}, then dead-lettered as no_route", spell(*no_route)))?;
                exits.fmt(f)
            }
            Fate::Runs { job, route, executor, kind, policy, order, unique, then, exits } => {
                job.fmt(f)?;
                fact(f, "route", route)?;
                fact(f, "runs on", &format!("{executor} ({kind}), up to {} a run", spell(policy.timeout)))?;
                policy.fmt(f)?;
                for (label, sentence) in [("order", order), ("unique", unique), ("then", then)] {
                    if let Some(sentence) = sentence {
                        fact(f, label, sentence)?;
                    }
                }
                exits.fmt(f)
            }
        }
    }
}

impl fmt::Display for JobFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fact(f, "job", &self.id)?;
        let mut kind = self.kind.clone();
        if let Some(version) = &self.version {
            // writing to a string cannot fail
            let _ = write!(kind, ", version {version}");
        }
        fact(f, "type", &kind)?;
        let ours = [
            ("key", self.key.clone()),
            ("batch", self.batch.clone()),
            ("not before", self.not_before.map(|at| at.to_string())),
            ("deadline", self.deadline.map(|at| at.to_string())),
        ];
        for (label, value) in ours {
            if let Some(value) = value {
                fact(f, label, &value)?;
            }
        }
        fact(f, "for", &format!("tenant {}, priority {}, {} bytes of data", self.tenant, self.priority, self.bytes))
    }
}

impl fmt::Display for Treatment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits: Vec<String> = self.waits.iter().map(|wait| spell(*wait)).collect();
        let jitter = match self.jitter {
            Jitter::Full => "up to",
            Jitter::Equal => "half of to all of",
            Jitter::None => "exactly",
        };
        let waits = match (waits.is_empty(), self.attempts as usize > waits.len() + 1) {
            (true, _) => String::new(),
            (false, false) => format!("; waits {jitter} {}", waits.join(", ")),
            (false, true) => format!("; waits {jitter} {} ... {}", waits.join(", "), spell(self.cap)),
        };
        fact(f, "attempts", &format!("{} runs in all{waits}", self.attempts))?;
        if let Some(limit) = self.retry_for {
            fact(f, "", &format!("none later than {} after the first failure", spell(limit)))?;
        }
        fact(f, "crashes", &format!("poison after {}", self.crashes))?;
        fact(f, "target down", &format!("waits up to {}, no attempt spent", spell(self.unavailable_for)))?;
        let unknown = match self.unknown_outcome {
            OnUnknown::Retry => "retried",
            OnUnknown::DeadLetter => "dead-lettered for a human",
        };
        fact(f, "no answer", unknown)
    }
}

impl fmt::Display for Exits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fact(f, "results", self.results.as_deref().unwrap_or("kept by the queue itself, where it can"))?;
        fact(f, "dead letters", &self.dead_letters)
    }
}

fn fact(f: &mut fmt::Formatter<'_>, label: &str, value: &str) -> fmt::Result {
    let mut lines = String::new();
    wrap(&mut lines, &format!("{label:<13} "), value);
    f.write_str(&lines)
}

fn spell(span: Span) -> String {
    crate::units::spell_duration(span.0)
}
