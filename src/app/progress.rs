//! What a worker says of its own progress: deliveries against backlog, exits that take nothing, jobs that do not end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::admin::Desk;
use crate::clock::between;
use crate::engine::Shared;
use crate::engine::exit::Exit;
use crate::engine::pool::{Feed, Pool};
use crate::ports::QueueStats;
use crate::telemetry::probes::{Check, Health, Progress, Status};
use crate::telemetry::{QueueMetrics, Telemetry, Wait};

/// A queue with a backlog that nothing holds back, and of which nothing moves for this long, is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// Looks at the pools and their queues.
pub struct Watch {
    shared: Arc<Shared>,
    pools: Vec<Arc<Pool>>,
    desk: Arc<Desk>,
    telemetry: Telemetry,
    seen: Mutex<Seen>,
}

/// By the queues' names in the config.
#[derive(Default)]
struct Seen {
    backlogs: HashMap<Arc<str>, Backlog>,
    metrics: HashMap<Arc<str>, QueueMetrics>,
}

/// The counts of a queue.
struct Backlog {
    stats: QueueStats,
    /// When jobs last left it, or none waited.
    moved: Timestamp,
}

impl Backlog {
    /// The newest counts.
    fn look(&mut self, stats: QueueStats, now: Timestamp) {
        let left = |stats: &QueueStats| (stats.completed, stats.discarded, stats.dead, stats.delayed, stats.parked);
        if stats.waiting == 0 || stats.paused || left(&stats) != left(&self.stats) {
            self.moved = now;
        }
        self.stats = stats;
    }
}

impl Watch {
    pub fn new(shared: Arc<Shared>, pools: &[Arc<Pool>], desk: &Arc<Desk>, telemetry: &Telemetry) -> Self {
        Watch { shared, pools: pools.to_vec(), desk: desk.clone(), telemetry: telemetry.clone(), seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn source(&self, pool: &Pool, feed: &Feed) -> Check {
        let (name, state) = (format!("source {}", feed.name), feed.state().clone());
        if let Some((since, why)) = state.trouble {
            return Check { name, status: Status::Degraded, message: why, since: Some(since) };
        }
        if let Some((waiting, since)) = self.stuck(pool, feed) {
            let message = format!("{waiting} jobs wait and slots are free, but none was taken");
            return Check { name, status: Status::Stuck, message, since: Some(since) };
        }
        Check { name, status: Status::Ok, message: String::new(), since: state.yielded }
    }

    /// How many jobs of a queue nobody takes although nothing holds them back, and since when.
    fn stuck(&self, pool: &Pool, feed: &Feed) -> Option<(u64, Timestamp)> {
        let seen = self.seen();
        let backlog = seen.backlogs.get(&feed.name).filter(|backlog| backlog.stats.waiting > 0 && !backlog.stats.paused)?;
        let since = feed.state().yielded.map_or(backlog.moved, |yielded| yielded.max(backlog.moved));
        let full = pool.window.used() >= pool.window.slots() || self.shared.budget.free() < self.shared.body_limit;
        // jobs that wait here for a limit, and executors that are shut, are reasons to take no more: a restart would not help
        let held_back = full || self.shared.waiting(&feed.name) > 0 || all_shut(pool);
        // a partition, or the turn as the only consumer, may be another's
        let alone = backlog.stats.consumers.is_none_or(|consumers| consumers <= 1);
        let late = between(since, self.shared.clock.now()) > STUCK;
        (late && alone && !held_back).then_some((backlog.stats.waiting, since))
    }

    /// What waits for each reason, of one pool.
    fn show_waits(&self, pool: &Pool) {
        pool.window.waited().into_iter().for_each(|(reason, count)| pool.metrics.waits(reason, count));
        let mut waits = pool.window.waits();
        let seen = self.seen();
        for feed in &pool.feeds {
            *waits.entry(Wait::Suspect).or_default() += self.shared.aside.of(&feed.name);
            *waits.entry(Wait::SourceError).or_default() += usize::from(feed.state().trouble.is_some());
            let Some(Backlog { stats, .. }) = seen.backlogs.get(&feed.name) else { continue };
            let count = |jobs: u64| usize::try_from(jobs).unwrap_or(usize::MAX);
            *waits.entry(Wait::Parked).or_default() += count(stats.parked);
            *waits.entry(Wait::Paused).or_default() += if stats.paused { count(stats.waiting) } else { 0 };
        }
        for reason in Wait::LOOKED_UP {
            pool.metrics.waiting(reason, waits.get(&reason).copied().unwrap_or_default());
        }
    }
}

fn all_shut(pool: &Pool) -> bool {
    let routes = pool.routes.load();
    let shut = |guard: &Arc<crate::engine::guard::Guard>| guard.shut().is_some();
    routes.iter().next().is_some() && routes.iter().all(|route| route.rules.guard.as_ref().is_some_and(shut))
}

fn exit(exit: &Exit) -> Option<Check> {
    let (since, message) = exit.trouble()?;
    Some(Check { name: format!("exit {}", exit.sink.address()), status: Status::Degraded, message, since: Some(since) })
}

#[async_trait]
impl Progress for Watch {
    fn ready(&self) -> bool {
        !self.shared.stop.is_cancelled()
    }

    fn health(&self) -> Health {
        let mut checks = Vec::new();
        for pool in &self.pools {
            checks.extend(pool.feeds.iter().map(|feed| self.source(pool, feed)));
            let beside = pool.feeds.iter().flat_map(|feed| [&feed.again, &feed.dead_letters]);
            let named = pool.results.iter().chain(&pool.dead_letters);
            checks.extend(beside.chain(named).filter_map(|known| exit(known)));
            for route in pool.routes.load().iter() {
                checks.extend(route.results.iter().chain(&route.dead_letters).filter_map(|known| exit(known)));
                let trouble = route.executor.trouble().map(|message| {
                    let name = format!("executor {}", route.executor_name);
                    Check { name, status: Status::Degraded, message, since: None }
                });
                checks.extend(trouble);
            }
        }
        checks.dedup();
        Health::of(checks)
    }

    async fn refresh(&self) {
        let asked = self.desk.systems.iter().map(|system| system.admin.stats());
        for (index, answer) in futures_util::future::join_all(asked).await.into_iter().enumerate() {
            let Ok(all) = answer else { continue };
            let (mut seen, now) = (self.seen(), self.shared.clock.now());
            for stats in all {
                let queue = self.desk.outer(index, &stats.queue);
                let make = || self.telemetry.queue(&queue, self.shared.clock);
                seen.metrics.entry(queue.clone()).or_insert_with(make).observe(&stats);
                match seen.backlogs.get_mut(&queue) {
                    Some(backlog) => backlog.look(stats, now),
                    None => drop(seen.backlogs.insert(queue, Backlog { stats, moved: now })),
                }
            }
        }
        for pool in &self.pools {
            #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 slots")]
            pool.metrics.slots_used.set(pool.window.used() as f64);
            self.show_waits(pool);
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge need not tell single bytes of petabytes")]
        self.telemetry.delivery_bytes.set(self.shared.budget.used() as f64);
    }
}

#[cfg(test)]
mod tests;
