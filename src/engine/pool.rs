//! A pool takes jobs from its queues: a slot first, then a message, in fair turns.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, select_all};
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::budget::Reserved;
use super::exit::Exit;
use super::routes::Routes;
use super::screen::Screen;
use crate::clock::Clock;
use crate::job::Decoding;
use crate::ports::{Delivery, Queue, QueueError, Room, Source};
use crate::retry::{Backoff, Jitter, Policy};
use crate::telemetry::{PoolMetrics, RouteMetrics, SourceMetrics, Wait};

/// The wait after a source failed: half a second, doubling to ten.
const SOURCE_DOWN: Backoff =
    Backoff { base: Duration::from_millis(500), factor: 2.0, cap: Duration::from_secs(10), jitter: Jitter::Equal };

/// Sources, routes, exits and limits, as `pools:` in the config.
pub struct Pool {
    pub name: Arc<str>,
    pub shared: Arc<Shared>,
    pub feeds: Vec<Arc<Feed>>,
    pub routes: Routes,
    /// Where completed and failed events go; a route may name another.
    pub results: Option<Arc<Exit>>,
    /// Where dead letters go instead of beside their source; a route may name another.
    pub dead_letters: Option<Arc<Exit>>,
    pub slots: Slots,
    pub unrouted: Unrouted,
    pub metrics: PoolMetrics,
}

/// The places for jobs that run at once.
pub struct Slots {
    total: usize,
    free: Arc<Semaphore>,
}

/// How jobs fare that no route matches.
pub struct Unrouted {
    pub policy: Policy,
    pub metrics: RouteMetrics,
}

/// A queue that the pool takes from.
pub struct Feed {
    pub queue: Arc<dyn Queue>,
    pub name: Arc<str>,
    pub decoding: Decoding,
    /// What the source asks of its jobs.
    pub screen: Screen,
    /// The queue itself: where retries go on kinds that publish them.
    pub again: Arc<Exit>,
    /// The dead letters beside the queue.
    pub dead_letters: Arc<Exit>,
    pub metrics: SourceMetrics,
    pub state: Mutex<FeedState>,
}

/// What is known of a feed's progress, for `/health`.
#[derive(Clone, Debug, Default)]
pub struct FeedState {
    /// When it last yielded deliveries.
    pub yielded: Option<Timestamp>,
    /// Since when it cannot be taken from, and why.
    pub trouble: Option<(Timestamp, String)>,
}

impl Slots {
    #[must_use]
    pub fn new(total: usize) -> Self {
        Slots { total, free: Arc::new(Semaphore::new(total)) }
    }

    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    #[must_use]
    pub fn used(&self) -> usize {
        self.total - self.free.available_permits().min(self.total)
    }
}

/// A place in the pool and the bytes of the job in it; dropping frees both.
pub struct Slot {
    _permit: OwnedSemaphorePermit,
    _bytes: Reserved,
}

/// A feed's open source, with what is known of its failures. Only used by the pool's own task.
struct Intake {
    feed: Arc<Feed>,
    source: Door,
    failures: u32,
    closed_until: Option<Instant>,
}

/// Kept between turns, so that a slow connect goes on while other queues yield.
enum Door {
    Closed,
    Opening(BoxFuture<'static, Result<Box<dyn Source>, QueueError>>),
    Open(Box<dyn Source>),
}

impl Pool {
    /// Takes jobs until the stop, then waits for those that run.
    pub async fn run(self: Arc<Self>) {
        let jobs = TaskTracker::new();
        let mut intakes: VecDeque<Intake> = self.feeds.iter().cloned().map(Intake::new).collect();
        let stopped = self.shared.stop.clone();
        while let Some(()) = stopped.run_until_cancelled(self.turn(&mut intakes, &jobs)).await {}
        drop(intakes);
        jobs.close();
        self.wind_down(&jobs).await;
    }

    /// One turn: waits for a slot, then for any queue, and starts what it yields.
    async fn turn(self: &Arc<Self>, intakes: &mut VecDeque<Intake>, jobs: &TaskTracker) {
        let Some((mut permits, mut bytes)) = self.room(intakes.len()).await else { return };
        let room = Room { jobs: permits.num_permits(), bytes: self.shared.body_limit, lease: self.shared.lease };
        let (feed, deliveries) = next(intakes, room, &self.shared.clock).await;
        feed.metrics.deliveries.increment(deliveries.len() as u64);
        for delivery in deliveries {
            let Some(permit) = permits.split(1) else { break }; // a source never yields more than its room
            let slot = Slot { _permit: permit, _bytes: bytes.split(delivery.message.size()) };
            jobs.spawn(self.clone().process(feed.clone(), delivery, slot));
        }
    }

    /// Waits for a free slot and the bytes of one message; takes as many more slots as are free, up to a fair share.
    async fn room(&self, intakes: usize) -> Option<(OwnedSemaphorePermit, Reserved)> {
        let free = &self.slots.free;
        let mut permits = match free.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = self.metrics.wait(Wait::NoSlot);
                free.clone().acquire_owned().await.ok()?
            }
        };
        let share = self.slots.total.div_ceil(intakes.max(1));
        let more = free.available_permits().min(share - 1);
        if let Ok(more) = free.clone().try_acquire_many_owned(u32::try_from(more).unwrap_or(u32::MAX)) {
            permits.merge(more);
        }
        let bytes = match self.shared.budget.reserve(self.shared.body_limit).now_or_never() {
            Some(bytes) => bytes,
            None => {
                let _waiting = self.metrics.wait(Wait::Bytes);
                self.shared.budget.reserve(self.shared.body_limit).await
            }
        };
        Some((permits, bytes))
    }

    /// Hands back what has not started; when abandoned, what runs too.
    async fn wind_down(&self, jobs: &TaskTracker) {
        let sweep = async {
            loop {
                self.shared.running.cancel_all(self.shared.abandon.is_cancelled());
                tokio::select! {
                    () = self.shared.abandon.cancelled(), if !self.shared.abandon.is_cancelled() => {}
                    // a job admitted a moment ago may enter the registry after the sweep
                    () = tokio::time::sleep(Duration::from_millis(50)) => {}
                }
            }
        };
        tokio::select! {
            () = jobs.wait() => {}
            () = sweep => {}
        }
    }
}

/// Waits for the first intake that yields; the one that did goes to the end of the line.
async fn next(intakes: &mut VecDeque<Intake>, room: Room, clock: &Clock) -> (Arc<Feed>, Vec<Delivery>) {
    let waits: Vec<BoxFuture<'_, Vec<Delivery>>> = intakes.iter_mut().map(|intake| intake.next(room, clock).boxed()).collect();
    let (deliveries, index, waiting) = select_all(waits).await;
    drop(waiting); // cancel-safe: the others have taken nothing
    let feed = intakes[index].feed.clone();
    intakes.rotate_left(index + 1);
    (feed, deliveries)
}

impl Feed {
    /// What is known of its progress.
    pub fn state(&self) -> MutexGuard<'_, FeedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intake {
    fn new(feed: Arc<Feed>) -> Self {
        Intake { feed, source: Door::Closed, failures: 0, closed_until: None }
    }

    /// Waits out failures and yields what the source has; a broken source is opened anew.
    async fn next(&mut self, room: Room, clock: &Clock) -> Vec<Delivery> {
        loop {
            if let Some(until) = self.closed_until {
                tokio::time::sleep_until(until).await;
                self.closed_until = None;
            }
            match self.poll(room).await {
                Ok(deliveries) if deliveries.is_empty() => {}
                Ok(deliveries) => {
                    self.failures = 0;
                    *self.feed.state() = FeedState { yielded: Some(clock.now()), trouble: None };
                    return deliveries;
                }
                Err(error) => self.failed(&error, clock),
            }
        }
    }

    async fn poll(&mut self, room: Room) -> Result<Vec<Delivery>, QueueError> {
        match &mut self.source {
            Door::Open(source) => return source.next(room).await,
            Door::Opening(opening) => self.source = Door::Open(opening.await?),
            Door::Closed => {
                let queue = self.feed.queue.clone();
                self.source = Door::Opening(Box::pin(async move { queue.source().await }));
            }
        }
        Ok(Vec::new())
    }

    fn failed(&mut self, error: &QueueError, clock: &Clock) {
        self.source = Door::Closed;
        self.failures += 1;
        self.feed.metrics.errors.increment(1);
        self.feed.state().trouble.get_or_insert_with(|| (clock.now(), error.to_string()));
        let wait = SOURCE_DOWN.delay(self.failures, fastrand::f64());
        tracing::warn!(queue = %self.feed.name, "cannot take jobs: {error}; trying again in {:.1} s", wait.as_secs_f64());
        self.closed_until = Some(Instant::now() + wait);
    }
}
