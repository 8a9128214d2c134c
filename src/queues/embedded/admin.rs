//! What operators see and do: counts, listings, single jobs.

mod browse;
mod entry;
mod matching;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::ledger::{self, Line, Lines};
use super::located::Located;
use super::operation::{Act, Arrival, Operation};
use super::place::{Lane, Place, QueueNumber};
use super::ready_queue::{DEAD_SUFFIX, ReadyQueue};
use super::store::{Shared, Store, check, unavailable};
use crate::ports::{Acted, Action, Admin, Cursor, Entry, Filter, NewJob, Page, QueueError, QueueStats, State, Submitted};

/// How often a job is looked for that moves on while it is looked for.
const LOOKS: usize = 8;

#[async_trait]
impl Admin for Store {
    /// All in one commit.
    async fn submit(&self, queue: &str, jobs: Vec<NewJob>) -> Result<Vec<Submitted>, QueueError> {
        for job in &jobs {
            check(&job.id, &job.message)?;
        }
        let queue = self.shared.registry.named(queue);
        let arrivals = jobs.into_iter().map(|job| Arrival::new(&queue, job)).collect();
        self.shared.ask(|reply| Operation::Submit { queue: queue.clone(), arrivals, reply }).await
    }

    async fn stats(&self) -> Result<Vec<QueueStats>, QueueError> {
        self.shared.read(Shared::stats).await
    }

    /// Live jobs first, in the order in which they came to where they stand, then those that ended. One call looks at a
    /// bounded number of rows, so a page may hold fewer entries than asked for and still have a next one.
    async fn browse(&self, filter: &Filter, page: &Cursor) -> Result<Page, QueueError> {
        let browse = browse::Browse::new(&self.shared, filter.clone(), page)?;
        tokio::task::spawn_blocking(move || browse.page()).await.unwrap_or_else(|_| Err(self.shared.closed()))
    }

    async fn find(&self, queue: Option<&str>, id: &str) -> Result<Option<Entry>, QueueError> {
        let queue = match queue {
            None => None,
            Some(name) => match self.shared.registry.find(name).and_then(|queue| queue.number()) {
                Some(number) => Some(number),
                None => return Ok(None),
            },
        };
        let id: Arc<str> = id.into();
        // between the answer and the read the job may move on
        for _ in 0..LOOKS {
            let locate = |reply| Operation::Locate { id: id.clone(), found: Vec::new(), reply };
            let found = self.shared.ask(locate).await?;
            let Some(located) = Located::choose(&found, queue) else { return Ok(None) };
            let id = id.clone();
            let entry = self.shared.read(move |shared, connection| entry::read(shared, connection, located, &id)).await?;
            if entry.is_some() {
                return Ok(entry);
            }
        }
        Ok(None)
    }

    /// A job that has not ended when `wait` is over is answered as it stands; an unknown id is none at once.
    async fn ended(&self, queue: &str, id: &str, wait: Duration) -> Result<Option<Entry>, QueueError> {
        let Some(home) = self.shared.registry.find(queue).and_then(|queue| queue.number()) else { return Ok(None) };
        let watch = self.shared.watchers.watch(home, id.into());
        let over = tokio::time::sleep(wait);
        tokio::pin!(over);
        loop {
            let ended = watch.ended.notified();
            let entry = self.find(Some(queue), id).await?;
            let state = entry.as_ref().map(|entry| entry.state);
            if !matches!(state, Some(State::Waiting | State::Delayed | State::Parked | State::Running)) {
                return Ok(entry);
            }
            tokio::select! {
                () = ended => {}
                () = &mut over => return Ok(entry),
            }
        }
    }

    async fn act(&self, queue: &str, id: &str, action: &Action) -> Result<Acted, QueueError> {
        let Some(queue) = self.shared.registry.find(queue) else { return Ok(Acted::NotFound) };
        self.shared.ask(|reply| Operation::Act(Box::new(Act::new(queue, id, action.clone(), reply)))).await
    }

    async fn pause(&self, queue: &str, paused: bool) -> Result<(), QueueError> {
        let queue = self.shared.registry.named(queue);
        self.shared.ask(|reply| Operation::Pause { queue, paused, reply }).await
    }
}

impl Shared {
    /// Reads in one transaction, on a thread that may block.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Shared, &Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueueError> {
        let shared = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let found = shared.readers.read(|connection| read(&shared, connection));
            found.map_err(|error| unavailable(&shared.options.path, &error))
        });
        read.await.unwrap_or_else(|_| Err(self.closed()))
    }

    fn stats(&self, connection: &Connection) -> rusqlite::Result<Vec<QueueStats>> {
        let lines = ledger::read_lines(connection)?;
        let mut running: HashMap<QueueNumber, u64> = HashMap::new();
        self.leases().jobs().for_each(|job| *running.entry(job.place.queue()).or_default() += 1);
        let queues = self.registry.all();
        let stats = queues.iter().map(|queue| {
            let running = queue.number().and_then(|number| running.get(&number)).copied().unwrap_or_default();
            Ok(QueueStats { oldest: oldest(connection, queue)?, ..self.counts(queue, &lines, running) })
        });
        let mut stats = stats.collect::<rusqlite::Result<Vec<QueueStats>>>()?;
        add_beside(&queues, &mut stats);
        Ok(stats)
    }

    /// A dead letter is counted once: with the queue it came from where that is known, else where it lies.
    fn counts(&self, queue: &Arc<ReadyQueue>, lines: &Lines, running: u64) -> QueueStats {
        let dead = if queue.is_dead() { queue.number() } else { self.registry.dead_of(queue).number() };
        let count = |number: Option<QueueNumber>, line| {
            let tally = number.and_then(|number| lines.get(&(number, line)));
            tally.map_or(0, |tally| u64::try_from(tally.count).unwrap_or_default())
        };
        let own = |line| count(queue.number(), line);
        let home = queue.name.strip_suffix(DEAD_SUFFIX).and_then(|home| self.registry.find(home)).and_then(|home| home.number());
        let dead = dead.filter(|_| home.is_none());
        let standing = |line| if queue.is_dead() { 0 } else { own(line) };
        let beside = queue.parked_from().is_some();
        let ready = standing(Line::Waiting).saturating_sub(running);
        QueueStats {
            queue: queue.name.clone(),
            waiting: if beside { 0 } else { ready },
            delayed: Some(standing(Line::Delayed)),
            parked: if beside { ready } else { standing(Line::Parked) },
            running: Some(running),
            dead: if beside {
                0
            } else {
                [Line::Waiting, Line::Delayed, Line::Parked].map(|line| count(dead, line)).iter().sum()
            },
            completed: Some(own(Line::Completed)),
            discarded: Some(own(Line::Discarded)),
            paused: self.registry.home_of(queue).ready().paused,
            ..QueueStats::default()
        }
    }
}
/// What lies in the places beside a queue is counted with the queue; an empty place is not listed.
fn add_beside(queues: &[Arc<ReadyQueue>], stats: &mut Vec<QueueStats>) {
    for (index, queue) in queues.iter().enumerate() {
        let Some(home) = queue.parked_from() else { continue };
        let (parked, running) = (stats[index].parked, stats[index].running.unwrap_or_default());
        if let Some(home) = stats.iter_mut().find(|stats| *stats.queue == *home) {
            home.parked += parked;
            home.running = home.running.map(|ours| ours + running);
            (stats[index].parked, stats[index].running) = (0, Some(0));
        }
        if parked + running == 0 {
            stats[index].queue = "".into();
        }
    }
    stats.retain(|stats| !stats.queue.is_empty());
}

/// Submit time of the first job that waits: from memory where the queue is being worked on, else from the heads of its
/// lanes.
fn oldest(connection: &Connection, queue: &ReadyQueue) -> rusqlite::Result<Option<Timestamp>> {
    let in_memory = queue.ready().oldest();
    if let Some(oldest) = in_memory {
        let Some(place) = oldest else { return Ok(None) };
        let mut select = connection.prepare_cached("SELECT submitted FROM jobs WHERE place = ?")?;
        let submitted: Option<i64> = select.query_row([place.0], |row| row.get(0)).optional()?;
        return Ok(submitted.and_then(|millis| Timestamp::from_millisecond(millis).ok()));
    }
    let Some(number) = queue.number() else { return Ok(None) };
    let mut head = connection.prepare_cached("SELECT submitted FROM jobs WHERE place BETWEEN ? AND ? ORDER BY place LIMIT 1")?;
    let mut oldest: Option<i64> = None;
    for lane in (0..).take(Lane::READY).map(Lane) {
        let (first, last) = Place::lane_bounds(number, lane);
        let submitted = head.query_row([first.0, last.0], |row| row.get(0)).optional()?;
        oldest = [oldest, submitted].into_iter().flatten().min();
    }
    Ok(oldest.and_then(|millis| Timestamp::from_millisecond(millis).ok()))
}
