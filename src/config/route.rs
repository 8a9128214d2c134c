//! The block of one route: which jobs, what runs them, and how their failures are treated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::after::{NextJob, UniqueJobs};
use super::pool::Pool;
use crate::engine::guard::Guard;
use crate::engine::limits::Limit;
use crate::engine::turns::Rules;
use crate::outcome::Class;
use crate::retry::{Backoff, Jitter, OnUnknown, Override, Policy};
use crate::units::{Rate, Span, parse_duration};

/// `{ type: "image.*", run: thumbs }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// A job type, or a prefix of types that ends in `*`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Only jobs of this version; jobs of every version when absent.
    #[serde(default)]
    pub version: Option<String>,
    /// The name of an executor.
    pub run: String,
    /// Of one run.
    #[serde(default = "timeout")]
    pub timeout: Span,
    #[serde(default)]
    pub retry: Retry,
    /// Runs that may take their host process down; the last one makes the job `poison`.
    #[serde(default = "crashes")]
    pub crashes: u32,
    /// How long a shut target or wrong configuration is waited for.
    #[serde(default = "unavailable_for")]
    pub unavailable_for: Span,
    /// What to do when a call was sent and no answer came.
    #[serde(default)]
    pub unknown_outcome: OnUnknown,
    /// `key`: jobs of one key run one at a time, in order.
    #[serde(default)]
    pub order_by: Option<OrderBy>,
    /// How far that order must hold.
    #[serde(default)]
    pub order_scope: OrderScope,
    /// How long a key waits for a job that fails.
    #[serde(default)]
    pub order_hold: Hold,
    /// The share of its types within a tenant.
    #[serde(default = "weight")]
    pub weight: u32,
    /// Starts in a time, in this worker.
    #[serde(default)]
    pub rate_per_worker: Option<Rate>,
    /// Runs at once, in this worker.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// Limits on the jobs of each tenant.
    #[serde(default)]
    pub per_tenant: Limits,
    /// Limits on the jobs of each key.
    #[serde(default)]
    pub per_key: Limits,
    /// Of jobs with the same key only one runs.
    #[serde(default)]
    pub unique: Option<UniqueJobs>,
    /// The job that gets the result of one that was done.
    #[serde(default)]
    pub then: Option<NextJob>,
    /// The queue for results; the pool's when absent.
    #[serde(default)]
    pub results: Option<String>,
    /// The queue for dead letters; the pool's when absent.
    #[serde(default)]
    pub dead_letters: Option<String>,
}

/// What keeps jobs in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderBy {
    Key,
}

/// How far the order of a key must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderScope {
    /// Whichever workers take from the queue.
    #[default]
    Queue,
    /// Within each worker: two of them may run jobs of one key at the same time.
    Worker,
}

/// Limits on starts, in this worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub rate_per_worker: Option<Rate>,
    pub concurrency: Option<u32>,
}

impl Limits {
    fn limit(self) -> Limit {
        Limit { rate: self.rate_per_worker, concurrency: self.concurrency }
    }
}

/// `"15m"`, or `forever`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    For(Span),
    Forever,
}

impl Hold {
    /// None is for ever.
    #[must_use]
    pub fn longest(self) -> Option<Duration> {
        match self {
            Hold::For(span) => Some(span.0),
            Hold::Forever => None,
        }
    }
}

impl Default for Hold {
    fn default() -> Self {
        Hold::For(Span(Duration::from_secs(15 * 60)))
    }
}

impl Serialize for Hold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Hold::For(span) => span.serialize(serializer),
            Hold::Forever => serializer.serialize_str("forever"),
        }
    }
}

impl<'de> Deserialize<'de> for Hold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "forever" {
            return Ok(Hold::Forever);
        }
        parse_duration(&text).map(|span| Hold::For(Span(span))).map_err(|why| de::Error::custom(format!("{why}, or forever")))
    }
}

fn weight() -> u32 {
    1
}

fn timeout() -> Span {
    Span(Policy::default().timeout)
}

fn crashes() -> u32 {
    Policy::default().crashes
}

fn unavailable_for() -> Span {
    Span(Policy::default().unavailable_for)
}

/// How counted failures are tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Runs in all.
    pub attempts: u32,
    /// No retry is started later than this after the first failure.
    pub retry_for: Option<Span>,
    pub base: Span,
    pub factor: f64,
    pub cap: Span,
    pub jitter: Jitter,
    /// What differs for single failure classes.
    pub classes: BTreeMap<Class, ClassRetry>,
}

/// What one class does differently; an absent key is the route's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassRetry {
    pub attempts: Option<u32>,
    pub base: Option<Span>,
    pub factor: Option<f64>,
    pub cap: Option<Span>,
    pub jitter: Option<Jitter>,
}

impl Default for Retry {
    fn default() -> Self {
        let Policy { attempts, retry_for, backoff, .. } = Policy::default();
        Retry {
            attempts,
            retry_for: retry_for.map(Span),
            base: Span(backoff.base),
            factor: backoff.factor,
            cap: Span(backoff.cap),
            jitter: backoff.jitter,
            classes: BTreeMap::new(),
        }
    }
}

impl Retry {
    fn backoff(&self) -> Backoff {
        Backoff { base: self.base.0, factor: self.factor, cap: self.cap.0, jitter: self.jitter }
    }

    fn class(&self, class: &ClassRetry) -> Override {
        let route = self.backoff();
        let own = Backoff {
            base: class.base.map_or(route.base, |base| base.0),
            factor: class.factor.unwrap_or(route.factor),
            cap: class.cap.map_or(route.cap, |cap| cap.0),
            jitter: class.jitter.unwrap_or(route.jitter),
        };
        Override { attempts: class.attempts, backoff: (own != route).then_some(own) }
    }
}

impl Route {
    /// The route's name in logs, metrics and dead letters: its type, and its version where it has one.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.version {
            Some(version) => format!("{}@{version}", self.kind),
            None => self.kind.clone(),
        }
    }

    /// How its jobs take turns, behind the guard of its executor.
    #[must_use]
    pub fn rules(&self, guard: Option<Arc<Guard>>) -> Rules {
        Rules {
            route: self.name().into(),
            weight: self.weight,
            ordered: self.order_by.is_some(),
            limit: Limits { rate_per_worker: self.rate_per_worker, concurrency: self.concurrency }.limit(),
            per_tenant: self.per_tenant.limit(),
            per_key: self.per_key.limit(),
            guard,
        }
    }

    /// How the jobs of this route are treated when they come through `pool`.
    #[must_use]
    pub fn policy(&self, pool: &Pool) -> Policy {
        let classes = self.retry.classes.iter().map(|(class, retry)| (*class, self.retry.class(retry)));
        Policy {
            attempts: self.retry.attempts,
            crashes: self.crashes,
            retry_for: self.retry.retry_for.map(|span| span.0),
            backoff: self.retry.backoff(),
            classes: classes.collect(),
            timeout: self.timeout.0,
            unavailable_for: self.unavailable_for.0,
            no_route: pool.no_route.0,
            unknown_outcome: self.unknown_outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::read;
    use crate::config::yaml::parse;

    fn route(yaml: &str) -> Route {
        let (route, problems) = read(&parse(yaml).unwrap().root);
        assert_eq!(problems, []);
        route.unwrap()
    }

    #[test]
    fn a_route_that_says_nothing_has_the_default_policy() {
        assert_eq!(route("{ type: t, run: x }").policy(&Pool::default()), Policy::default());
    }

    #[test]
    fn a_class_differs_only_in_what_it_names() {
        let yaml = "{ type: t, run: x, retry: { base: 5s, cap: 1m, classes: { timeout: { attempts: 3, base: 10s }, \
                    failed: { attempts: 2 } } } }";
        let policy = route(yaml).policy(&Pool::default());
        let timeout = &policy.classes[&Class::Timeout];
        let expected = Backoff { base: Duration::from_secs(10), cap: Duration::from_secs(60), ..Backoff::default() };
        assert_eq!(timeout, &Override { attempts: Some(3), backoff: Some(expected) });
        assert_eq!(policy.classes[&Class::Failed], Override { attempts: Some(2), backoff: None });
        assert_eq!(policy.backoff.base, Duration::from_secs(5));
    }
}
