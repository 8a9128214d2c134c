//! What a worker says of its own progress: deliveries against backlog, exits that take nothing, jobs that do not end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::queues::Systems;
use crate::clock::between;
use crate::engine::Shared;
use crate::engine::exit::Exit;
use crate::engine::pool::{Feed, Pool};
use crate::ports::{Admin, QueueStats};
use crate::telemetry::probes::{Check, Health, Progress, Status};
use crate::telemetry::{QueueMetrics, Telemetry, Wait};

/// A queue with a backlog and free slots that yields nothing for this long is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// Looks at the pools and their queues.
pub struct Watch {
    shared: Arc<Shared>,
    pools: Vec<Arc<Pool>>,
    admins: Vec<Arc<dyn Admin>>,
    telemetry: Telemetry,
    started: Timestamp,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    stats: HashMap<Arc<str>, QueueStats>,
    metrics: HashMap<Arc<str>, QueueMetrics>,
}

impl Watch {
    pub fn new(shared: Arc<Shared>, pools: &[Arc<Pool>], systems: &Systems, telemetry: &Telemetry) -> Self {
        let admins = systems.stores().map(|store| store.clone() as Arc<dyn Admin>).collect();
        let started = shared.clock.now();
        Watch { shared, pools: pools.to_vec(), admins, telemetry: telemetry.clone(), started, seen: Mutex::default() }
    }

    fn source(&self, pool: &Pool, feed: &Feed) -> Check {
        let (name, state, now) = (format!("source {}", feed.name), feed.state().clone(), self.shared.clock.now());
        if let Some((since, why)) = state.trouble {
            return Check { name, status: Status::Degraded, message: why, since: Some(since) };
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = seen.stats.get(&feed.name).filter(|stats| !stats.paused).map_or(0, |stats| stats.waiting);
        let last = state.yielded.unwrap_or(self.started);
        if waiting > 0 && pool.window.used() < pool.window.slots() && between(last, now) > STUCK {
            let message = format!("{waiting} jobs wait and slots are free, but none was taken");
            return Check { name, status: Status::Stuck, message, since: Some(last) };
        }
        Check { name, status: Status::Ok, message: String::new(), since: state.yielded }
    }
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
        for pool in &self.pools {
            #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 slots")]
            pool.metrics.slots_used.set(pool.window.used() as f64);
            pool.window.waited().into_iter().for_each(|(reason, count)| pool.metrics.waits(reason, count));
            let waits = pool.window.waits();
            let alone = usize::from(self.shared.suspects.try_lock().is_err());
            for reason in Wait::IN_WINDOW {
                let more = if reason == Wait::Suspect { alone } else { 0 };
                pool.metrics.waiting(reason, waits.get(&reason).copied().unwrap_or_default() + more);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge need not tell single bytes of petabytes")]
        self.telemetry.delivery_bytes.set(self.shared.budget.used() as f64);
        for admin in &self.admins {
            let Ok(all) = admin.stats().await else { continue };
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            for stats in all {
                let make = || self.telemetry.queue(&stats.queue, self.shared.clock);
                seen.metrics.entry(stats.queue.clone()).or_insert_with(make).observe(&stats);
                seen.stats.insert(stats.queue.clone(), stats);
            }
        }
    }
}
