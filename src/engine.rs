//! The path of one job, whatever queue it comes from and whatever runs it.

pub mod breaker;
pub mod budget;
pub mod context;
pub mod exit;
pub mod pool;
pub mod routes;
pub mod running;
mod settle;
pub mod throttle;
pub mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, RwLock};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use budget::Budget;
use pool::Pool;
use running::Running;

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
    /// Held for reading by every run, for writing by a suspect: it runs alone in the process.
    pub alone: RwLock<()>,
    /// Held by the suspect whose turn it is.
    pub suspects: Mutex<()>,
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
            alone: RwLock::new(()),
            suspects: Mutex::new(()),
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
        }
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
