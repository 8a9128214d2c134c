//! Periodic jobs: each due time is submitted once in a fleet, over restarts and clocks that jump.

mod claim;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, after, between};
use crate::job::Message;
use crate::ports::{Outgoing, QueueError, Sink};
use crate::rhythm::Rhythm;
use crate::state::{Change, Held, StateError, StateStore, When, key};
use crate::telemetry::ScheduleMetrics;
use claim::{Claim, Rival};
pub use plan::CatchUp;
use plan::Plan;

/// The wall clock is looked at this often, so that a clock that jumps makes no job late for longer.
const LOOK: Duration = Duration::from_secs(5);
/// While another worker submits a due time, what it has come to is looked at this often.
const TURN: Duration = Duration::from_millis(500);
/// The wait after something failed.
const AGAIN: Duration = Duration::from_secs(2);

/// One periodic job.
pub struct Schedule {
    pub name: Arc<str>,
    pub rhythm: Rhythm,
    /// The rhythm as it was written.
    pub spelled: String,
    pub queue: Arc<str>,
    pub sink: Arc<dyn Sink>,
    /// The queue knows a job again that is submitted twice.
    pub recognised: bool,
    pub job: Template,
    pub catch_up: CatchUp,
    pub jitter: Option<Duration>,
    pub metrics: ScheduleMetrics,
}

/// The job of a schedule but for its id.
#[derive(Clone, Debug, Serialize)]
pub struct Template {
    #[serde(rename = "type")]
    pub kind: String,
    pub data: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
}

/// All schedules of a config. Those of a process that runs them look after each due time; those of a command only show.
pub struct Schedules {
    list: Vec<Schedule>,
    state: Arc<dyn StateStore>,
    clock: Clock,
    /// Names this process among those that run the same schedules.
    me: Arc<str>,
    /// How far each schedule has come, as last read; by the order of the list.
    progress: Mutex<Vec<Option<Known>>>,
}

/// What is remembered of a schedule in the state store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// Every due time up to here was seen to.
    until: Timestamp,
    /// The latest due time that was submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fired: Option<Timestamp>,
    rhythm: String,
    /// Who is submitting the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim: Option<Claim>,
}

#[derive(Clone)]
struct Known {
    progress: Progress,
    when: When,
    /// The one who was submitting when we last looked.
    rival: Option<Rival>,
}

/// A schedule as operators see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScheduleView {
    pub name: Arc<str>,
    /// The pattern and its zone, or the span.
    pub due: String,
    pub queue: Arc<str>,
    #[serde(rename = "type")]
    pub kind: String,
    pub catch_up: CatchUp,
    /// The latest due time that was submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fired: Option<Timestamp>,
    /// The next due times.
    pub next: Vec<Timestamp>,
}

/// Why a due time was not seen to now.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl Schedules {
    #[must_use]
    pub fn new(list: Vec<Schedule>, state: Arc<dyn StateStore>, clock: Clock) -> Self {
        let progress = Mutex::new(vec![None; list.len()]);
        let me = uuid::Uuid::now_v7().simple().to_string().into();
        Schedules { list, state, clock, me, progress }
    }

    /// Sees to every due time until the stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        while let Some(wait) = stop.run_until_cancelled(self.step()).await {
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// Sees to all that is due now; answers how long there is nothing to do.
    pub async fn step(&self) -> Duration {
        let mut known = self.progress.lock().await;
        let mut wait = LOOK;
        for (schedule, known) in self.list.iter().zip(known.iter_mut()) {
            match self.see_to(schedule, known).await {
                Ok(next) => wait = wait.min(next),
                Err(error) => {
                    *known = None;
                    wait = wait.min(AGAIN);
                    schedule.metrics.errors.increment(1);
                    tracing::warn!(schedule = %schedule.name, "cannot submit its job: {error}; trying again");
                }
            }
        }
        wait
    }

    /// Submits what is due, and remembers it; answers how long until the next due time.
    async fn see_to(&self, schedule: &Schedule, known: &mut Option<Known>) -> Result<Duration, ScheduleError> {
        let now = self.clock.now();
        let mut at = match known.take() {
            Some(known) if known.rival.is_none() => known,
            // what its rival has come to is not known
            before => Known { rival: before.and_then(|known| known.rival), ..self.recall(schedule, now).await? },
        };
        let plan = Plan::new(&schedule.rhythm, at.progress.until, now, schedule.catch_up);
        if let Some(sentence) = plan.missed() {
            schedule.metrics.passed_over.increment(plan.over as u64);
            tracing::warn!(schedule = %schedule.name, since = %at.progress.until, "{sentence}");
        }
        for due in plan.fire {
            if !schedule.recognised && !self.claim(schedule, &mut at, due).await? {
                *known = Some(at);
                return Ok(TURN);
            }
            self.submit(schedule, schedule.id(due), due).await?;
            schedule.metrics.fired.increment(1);
            at.progress = Progress { until: due, fired: Some(due), rhythm: schedule.spelled.clone(), claim: None };
            at = self.remember(schedule, at).await?;
        }
        if plan.until > at.progress.until {
            at.progress.until = plan.until;
            at = self.remember(schedule, at).await?;
        }
        let next = schedule.rhythm.next(at.progress.until);
        *known = Some(at);
        Ok(next.map_or(LOOK, |next| between(now, next)))
    }

    /// How far a schedule has come. One that is new, or was written anew, starts now.
    async fn recall(&self, schedule: &Schedule, now: Timestamp) -> Result<Known, StateError> {
        let held = self.state.get(&schedule.key()).await?;
        if let Some(progress) = held.as_ref().and_then(progress).filter(|known| known.rhythm == schedule.spelled) {
            return Ok(Known { progress, when: When::unchanged(held.as_ref()), rival: None });
        }
        let progress = Progress { until: now, fired: None, rhythm: schedule.spelled.clone(), claim: None };
        self.remember(schedule, Known { progress, when: When::unchanged(held.as_ref()), rival: None }).await
    }

    /// Writes how far a schedule has come, unless another worker has; whoever was first has submitted the same jobs.
    async fn remember(&self, schedule: &Schedule, mut known: Known) -> Result<Known, StateError> {
        // a document of plain values cannot fail to serialise
        let value = serde_json::to_vec(&known.progress).unwrap_or_default();
        let key = schedule.key();
        self.state.change(vec![Change::put(&key, known.when, value)]).await?;
        let held = self.state.get(&key).await?;
        known.when = When::unchanged(held.as_ref());
        if let Some(theirs) = held.as_ref().and_then(progress).filter(|theirs| theirs.until > known.progress.until) {
            known.progress = theirs;
        }
        Ok(known)
    }

    async fn submit(&self, schedule: &Schedule, id: Arc<str>, due: Timestamp) -> Result<(), QueueError> {
        let at = schedule.jitter.map(|jitter| after(due, part_of(jitter, &id))).filter(|at| *at > self.clock.now());
        let message = Message::of(schedule.job.message(&id, at));
        let outgoing = Outgoing { message, id: Some(id), due: at, priority: schedule.job.priority };
        schedule.sink.send(outgoing).await
    }

    /// Submits a schedule's job now, beside its due times; answers the queue and the job's id, or none when there is no
    /// such schedule.
    ///
    /// # Errors
    /// When the queue does not take it.
    pub async fn run_now(&self, name: &str) -> Result<Option<(Arc<str>, Arc<str>)>, QueueError> {
        let Some(schedule) = self.list.iter().find(|schedule| &*schedule.name == name) else { return Ok(None) };
        let id: Arc<str> = format!("cron:{name}:run:{}", self.clock.now()).into();
        let message = Message::of(schedule.job.message(&id, None));
        let outgoing = Outgoing { message, id: Some(id.clone()), due: None, priority: schedule.job.priority };
        schedule.sink.send(outgoing).await?;
        Ok(Some((schedule.queue.clone(), id)))
    }

    /// All schedules with their next `count` due times.
    ///
    /// # Errors
    /// When the state store cannot be asked.
    pub async fn view(&self, count: usize) -> Result<Vec<ScheduleView>, StateError> {
        let keys: Vec<_> = self.list.iter().map(Schedule::key).collect();
        let held = self.state.read(&keys).await?;
        let now = self.clock.now();
        let view = |(schedule, held): (&Schedule, Option<Held>)| {
            let known = held.as_ref().and_then(progress).filter(|known| known.rhythm == schedule.spelled);
            let from = known.as_ref().map_or(now, |known| known.until.max(now));
            let next = std::iter::successors(schedule.rhythm.next(from), |last| schedule.rhythm.next(*last));
            ScheduleView {
                name: schedule.name.clone(),
                due: schedule.spelled.clone(),
                queue: schedule.queue.clone(),
                kind: schedule.job.kind.clone(),
                catch_up: schedule.catch_up,
                fired: known.and_then(|known| known.fired),
                next: next.take(count).collect(),
            }
        };
        Ok(self.list.iter().zip(held).map(view).collect())
    }

    /// The names of all schedules.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.list.iter().map(|schedule| &schedule.name)
    }
}

impl Schedule {
    fn key(&self) -> Arc<str> {
        key(&["schedule", &self.name])
    }

    /// The same for everybody who sees to this due time.
    fn id(&self, due: Timestamp) -> Arc<str> {
        format!("cron:{}:{due}", self.name).into()
    }
}

impl Template {
    /// The job as Windlass JSON.
    fn message(&self, id: &str, not_before: Option<Timestamp>) -> Bytes {
        #[derive(Serialize)]
        struct Written<'a> {
            v: u32,
            id: &'a str,
            #[serde(flatten)]
            job: &'a Template,
            #[serde(skip_serializing_if = "Option::is_none")]
            not_before: Option<Timestamp>,
        }
        // a document of plain values cannot fail to serialise
        serde_json::to_vec(&Written { v: 1, id, job: self, not_before }).unwrap_or_default().into()
    }
}

fn progress(held: &Held) -> Option<Progress> {
    serde_json::from_slice(&held.value).ok()
}

/// A part of `jitter` that depends on the id alone, so that all workers wait the same.
fn part_of(jitter: Duration, id: &str) -> Duration {
    let millis = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(xxhash_rust::xxh3::xxh3_64(id.as_bytes()) % millis)
}
