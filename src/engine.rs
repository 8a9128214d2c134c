//! The path of one job, whatever queue it comes from and whatever runs it.

mod admitted;
pub mod aside;
mod beyond;
pub mod breaker;
pub mod budget;
pub mod exit;
mod fair;
mod follow;
pub mod guard;
pub mod guards;
mod intake;
pub mod limits;
mod older;
mod order;
pub mod parking;
mod places;
pub mod pool;
mod reply;
pub mod routes;
pub mod running;
pub mod screen;
mod settle;
pub mod then;
pub mod throttle;
pub mod turns;
pub mod unique;
pub mod window;
pub mod worker;

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::{Mutex, RwLock};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::batches::Batches;
use crate::clock::Clock;
use aside::Aside;
use budget::Budget;
use guards::Guards;
use pool::Pool;
use running::{Cancelled, Running};

use crate::telemetry::Wait;

/// After the grace is over, how long interrupted runs may take to hand their jobs back.
const HAND_BACK: Duration = Duration::from_secs(5);

/// What all pools of a process share.
pub struct Shared {
    /// The name of this worker process, for histories and logs.
    pub worker: Arc<str>,
    pub clock: Clock,
    /// Bytes of messages in memory, for the whole process.
    pub budget: Budget,
    /// The largest message taken, in bytes.
    pub body_limit: usize,
    pub lease: Duration,
    pub running: Running,
    /// One per executor.
    pub guards: Guards,
    /// Where jobs wait.
    pools: OnceLock<Vec<Weak<Pool>>>,
    /// Held for reading by every run, for writing by a suspect: it runs alone in the process.
    pub alone: RwLock<()>,
    /// Held by the suspect whose turn it is.
    pub suspects: Mutex<()>,
    /// Those that wait in their slot for either.
    pub aside: Aside,
    /// Counts the jobs of batches, where that can be remembered.
    pub batches: Option<Arc<Batches>>,
    /// First stage: admit nothing more.
    pub stop: CancellationToken,
    /// Second stage: hand back what still runs.
    pub abandon: CancellationToken,
}

impl Shared {
    #[must_use]
    pub fn new(worker: &str, clock: Clock, budget: Budget) -> Self {
        Shared {
            worker: worker.into(),
            clock,
            budget,
            body_limit: 1 << 20,
            lease: Duration::from_secs(30),
            running: Running::default(),
            guards: Guards::default(),
            pools: OnceLock::new(),
            alone: RwLock::new(()),
            suspects: Mutex::new(()),
            aside: Aside::default(),
            batches: None,
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
        }
    }
}

impl Shared {
    /// Ends a job that waits in a window or runs; false when it does neither.
    pub fn cancel(&self, queue: &str, id: &str, why: &Cancelled) -> bool {
        self.pools().any(|pool| pool.window.cancel(queue, id, why.clone())) || self.running.cancel(queue, id, why.clone())
    }

    /// Why a job that was taken from its queue does not run yet.
    #[must_use]
    pub fn why(&self, queue: &str, id: &str) -> Option<Wait> {
        let aside = || self.aside.has(queue, id).then_some(Wait::Suspect);
        self.pools().find_map(|pool| pool.window.why(queue, id)).or_else(aside)
    }

    /// How many jobs of a queue were taken and do not run yet.
    #[must_use]
    pub fn waiting(&self, queue: &str) -> u64 {
        let jobs = |pool: Arc<Pool>| pool.feeds.iter().find(|feed| *feed.name == *queue).map(|feed| feed.waiting.jobs());
        self.pools().find_map(jobs).unwrap_or_default()
    }

    /// The pools that run.
    pub fn pools(&self) -> impl Iterator<Item = Arc<Pool>> {
        self.pools.get().into_iter().flatten().filter_map(Weak::upgrade)
    }
}

/// The pools of one process, running.
pub struct Engine {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Engine {
    /// Starts every pool.
    #[must_use]
    pub fn start(shared: Arc<Shared>, pools: &[Arc<Pool>]) -> Self {
        let _first = shared.pools.set(pools.iter().map(Arc::downgrade).collect());
        let mut tasks = JoinSet::new();
        for pool in pools {
            tasks.spawn(pool.clone().run());
        }
        Engine { shared, tasks }
    }

    /// Stops in two stages: admits nothing more and hands back what has not started; waits up to `grace` for what runs,
    /// then hands that back too, uncounted. Cancelling [`Shared::abandon`] meanwhile ends the waiting.
    pub async fn stop(mut self, grace: Duration) {
        self.shared.stop.cancel();
        let hand_back = async {
            tokio::select! {
                () = tokio::time::sleep(grace) => self.shared.abandon.cancel(),
                () = self.shared.abandon.cancelled() => {}
            }
            tokio::time::sleep(HAND_BACK).await;
        };
        tokio::select! {
            () = async { while self.tasks.join_next().await.is_some() {} } => {}
            () = hand_back => tracing::warn!("gave up waiting for {} jobs; their queues will hand them out again", self.shared.running.len()),
        }
    }
}
