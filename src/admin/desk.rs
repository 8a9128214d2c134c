//! The desk: every queue of the config by its name, with the system that holds it and, in a worker, what runs now.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Refusal;
use crate::batches::Batches;
use crate::engine::Shared;
use crate::engine::budget::Budget;
use crate::job::Decoding;
use crate::ports::{Admin, Cursor, Entry, Filter, Page, QueueStats, State};
use crate::schedules::Schedules;
use crate::telemetry::Wait;

/// The longest that a request waits for the end of a job.
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The largest body of a request that submits many jobs, in bytes; a single job may be larger where `body_limit` is.
const LARGEST_BODY: usize = 16 << 20;
/// Of all request bodies in memory.
const BODIES: usize = 64 << 20;

/// Counts what a system took in against what it holds and what has left it; a JSON document with `ok`.
pub type Auditor = Arc<dyn Fn() -> BoxFuture<'static, Result<serde_json::Value, String>> + Send + Sync>;

/// Has the worker read its config again; what it changed, or why nothing was.
pub type Reload = Arc<dyn Fn() -> BoxFuture<'static, Result<serde_json::Value, String>> + Send + Sync>;

/// One system of queues, such as a database file.
#[derive(Clone)]
pub struct System {
    /// As its users know it: the path of a file.
    pub name: Arc<str>,
    pub admin: Arc<dyn Admin>,
    pub auditor: Option<Auditor>,
}

/// A queue of the config.
#[derive(Clone)]
pub struct Place {
    /// The name of its block.
    pub name: Arc<str>,
    /// Its index in [`Desk::systems`].
    pub system: usize,
    /// Its name inside the system.
    pub inner: Arc<str>,
    pub decoding: Decoding,
    /// A pool takes jobs from it: where a job goes that names no queue.
    pub taken: bool,
}

/// The worker behind the desk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerFacts {
    pub name: Arc<str>,
    pub version: Arc<str>,
    pub pid: u32,
    pub started: Timestamp,
    pub pools: Vec<PoolFacts>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PoolFacts {
    pub name: Arc<str>,
    pub from: Vec<Arc<str>>,
    pub slots: usize,
}

/// The counts of all queues, and which of them could not be counted.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    pub queues: Vec<QueueStats>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<Silent>,
}

/// A system that does not answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Silent {
    /// The queue, or the file that holds some.
    pub queue: Arc<str>,
    pub why: String,
}

/// What the routes of the API work on.
pub struct Desk {
    pub systems: Vec<System>,
    pub queues: Vec<Place>,
    /// Of one job, in bytes.
    pub body_limit: usize,
    /// In a worker: who it is and what it runs.
    pub worker: Option<(WorkerFacts, Arc<Shared>)>,
    pub(super) reload: Option<Reload>,
    /// The periodic jobs of the config.
    pub schedules: Option<Arc<Schedules>>,
    /// How far the batches have come.
    pub batches: Option<Arc<Batches>>,
    /// Ends the waiting of every request.
    pub closing: CancellationToken,
    pub(super) bodies: Budget,
}

impl Desk {
    /// A desk without a worker.
    #[must_use]
    pub fn new(systems: Vec<System>, queues: Vec<Place>, body_limit: usize) -> Self {
        let bodies = Budget::new(BODIES.max(body_limit));
        let closing = CancellationToken::new();
        let (worker, reload, schedules, batches) = (None, None, None, None);
        Desk { systems, queues, body_limit, worker, reload, schedules, batches, closing, bodies }
    }

    /// Puts a living worker behind the desk: running jobs are seen and can be cancelled.
    #[must_use]
    pub fn with_worker(self, facts: WorkerFacts, shared: Arc<Shared>) -> Self {
        Desk { worker: Some((facts, shared)), ..self }
    }

    /// Lets operators have the worker read its config again.
    #[must_use]
    pub fn with_reload(self, reload: Reload) -> Self {
        Desk { reload: Some(reload), ..self }
    }

    #[must_use]
    pub fn with_schedules(self, schedules: Option<Arc<Schedules>>) -> Self {
        Desk { schedules, ..self }
    }

    #[must_use]
    pub fn with_batches(self, batches: Option<Arc<Batches>>) -> Self {
        Desk { batches, ..self }
    }

    pub(super) fn largest_body(&self) -> usize {
        LARGEST_BODY.max(self.body_limit)
    }

    pub(super) fn shared(&self) -> Option<&Shared> {
        self.worker.as_ref().map(|(_, shared)| &**shared)
    }

    pub(super) fn admin(&self, place: &Place) -> &dyn Admin {
        &*self.systems[place.system].admin
    }

    /// The queue for new jobs: the one named, else the only one that a pool takes from.
    pub(super) async fn entrance(&self, named: Option<&str>) -> Result<Place, Refusal> {
        if let Some(name) = named {
            return self.place(name).await;
        }
        let mut taken = self.queues.iter().filter(|place| place.taken);
        match (taken.next(), taken.next()) {
            (Some(only), None) => Ok(only.clone()),
            (None, _) => Err(Refusal::bad("no pool takes jobs from a queue here: name the queue, such as queue=jobs")),
            _ => Err(Refusal::bad(format!("jobs are taken from several queues: name one of them with queue=: {}", self.names()))),
        }
    }

    /// A queue by name: of the config, or one that a system still holds (dead letters, or from an earlier config).
    pub(super) async fn place(&self, name: &str) -> Result<Place, Refusal> {
        if let Some(place) = self.queues.iter().find(|place| &*place.name == name) {
            return Ok(place.clone());
        }
        for (system, held) in self.systems.iter().enumerate() {
            if let Some(stats) = held.admin.stats().await?.into_iter().find(|stats| &*stats.queue == name) {
                let inner = stats.queue;
                return Ok(Place { name: inner.clone(), system, inner, decoding: Decoding::Envelope, taken: false });
            }
        }
        Err(Refusal::not_found(format!("there is no queue {name:?}; there are: {}", self.names())))
    }

    /// The block's name of a queue that a system calls `inner`; what lies beside one keeps its suffix.
    #[must_use]
    pub fn outer(&self, system: usize, inner: &Arc<str>) -> Arc<str> {
        let named = |inner: &str| self.queues.iter().find(|place| place.system == system && &*place.inner == inner);
        if let Some(place) = named(inner) {
            return place.name.clone();
        }
        for beside in [".dead", ".parked."] {
            let home = inner.rfind(beside).and_then(|at| Some((named(&inner[..at])?, &inner[at..])));
            if let Some((home, rest)) = home {
                return format!("{}{rest}", home.name).into();
            }
        }
        inner.clone()
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.queues.iter().map(|place| &*place.name).collect();
        names.join(", ")
    }

    /// One line per queue, dead letters included, system after system.
    pub async fn stats(&self) -> Counts {
        let asked = self.systems.iter().map(|system| system.admin.stats());
        let mut counts = Counts::default();
        for (index, answer) in futures_util::future::join_all(asked).await.into_iter().enumerate() {
            let stats = match answer {
                Ok(stats) => stats,
                Err(error) => {
                    counts.silent.push(Silent { queue: self.systems[index].name.clone(), why: error.to_string() });
                    continue;
                }
            };
            counts.queues.extend(stats.into_iter().map(|stats| {
                let queue = self.outer(index, &stats.queue);
                // what was taken and does not run yet waits, for whoever asks
                let taken = self.shared().map_or(0, |shared| shared.waiting(&queue)).min(stats.running.unwrap_or_default());
                QueueStats { queue, running: stats.running.map(|all| all - taken), waiting: stats.waiting + taken, ..stats }
            }));
        }
        counts
    }

    /// Jobs that match, system after system; a cursor is `<index of the system>:<its own cursor>`.
    pub(super) async fn browse(&self, filter: &Filter, page: &Cursor) -> Result<Page, Refusal> {
        let (only, filter) = match &filter.queue {
            None => (None, filter.clone()),
            Some(name) => {
                let place = self.place(name).await?;
                (Some(place.system), Filter { queue: Some(place.inner.to_string()), ..filter.clone() })
            }
        };
        let (system, after) = match &page.after {
            None => (only.unwrap_or(0), None),
            Some(cursor) => split(cursor)?,
        };
        let Some(held) = self.systems.get(system) else { return Ok(Page::default()) };
        let mut found = held.admin.browse(&filter, &Cursor { after, limit: page.limit }).await?;
        for entry in &mut found.entries {
            entry.queue = self.outer(system, &entry.queue);
            self.why(entry);
        }
        if let Some(looked) = &mut found.looked {
            looked.queue = self.outer(system, &looked.queue);
        }
        let last = only.is_some() || system + 1 == self.systems.len();
        found.next = match found.next {
            Some(next) => Some(format!("{system}:{next}")),
            None => (!last).then(|| format!("{}:", system + 1)),
        };
        Ok(found)
    }

    /// One job with its queue, searched everywhere when none is named.
    pub(super) async fn find(&self, queue: Option<&str>, id: &str) -> Result<(Place, Entry), Refusal> {
        let found = match queue {
            Some(queue) => {
                let place = self.place(queue).await?;
                self.admin(&place).find(Some(&place.inner), id).await?.map(|entry| (place.system, entry))
            }
            None => self.search(id).await?,
        };
        let within = queue.map_or_else(String::new, |queue| format!(" in the queue {queue:?}"));
        let missing = || Refusal::not_found(format!("there is no job {id:?}{within}; its record may have been dropped by now"));
        let (system, mut entry) = found.ok_or_else(missing)?;
        let outer = self.outer(system, &entry.queue);
        let inner = std::mem::replace(&mut entry.queue, outer);
        let place = Place { name: entry.queue.clone(), system, inner, decoding: Decoding::Envelope, taken: false };
        Ok((place, entry))
    }

    /// Why a job waits that was taken from its queue; such a one counts as waiting.
    pub(super) fn why(&self, entry: &mut Entry) -> Option<Wait> {
        let why = self.shared().filter(|_| entry.state == State::Running)?.why(&entry.queue, &entry.id)?;
        entry.state = State::Waiting;
        Some(why)
    }

    async fn search(&self, id: &str) -> Result<Option<(usize, Entry)>, Refusal> {
        for (index, system) in self.systems.iter().enumerate() {
            if let Some(entry) = system.admin.find(None, id).await? {
                return Ok(Some((index, entry)));
            }
        }
        Ok(None)
    }
}

fn split(cursor: &str) -> Result<(usize, Option<String>), Refusal> {
    let wrong = || Refusal::bad(format!("after: {cursor:?} is not what an earlier answer gave as next"));
    let (system, after) = cursor.split_once(':').ok_or_else(wrong)?;
    let after = Some(after.to_owned()).filter(|after| !after.is_empty());
    Ok((system.parse().map_err(|_| wrong())?, after))
}
