//! A pool takes jobs from its queues into its window, and runs them in its slots.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Shared;
use super::budget::Reserved;
use super::exit::Exit;
use super::intake::{self, Intake};
use super::parking::{Beside, Parking};
use super::routes::Routes;
use super::screen::Screen;
use super::window::Window;
use crate::job::Decoding;
use crate::ports::{Delivery, Queue, QueueError, Room};
use crate::retry::Policy;
use crate::telemetry::{PoolMetrics, RouteMetrics, SourceMetrics, Wait};

/// Leases of jobs that wait are renewed so many at a time.
const RENEWALS: usize = 64;

/// Sources, routes, exits and limits, as `pools:` in the config.
pub struct Pool {
    pub name: Arc<str>,
    pub shared: Arc<Shared>,
    pub feeds: Vec<Arc<Feed>>,
    pub routes: Arc<ArcSwap<Routes>>,
    /// Where completed and failed events go; a route may name another.
    pub results: Option<Arc<Exit>>,
    /// Where dead letters go instead of beside their source; a route may name another.
    pub dead_letters: Option<Arc<Exit>>,
    pub window: Arc<Window>,
    pub parking: Parking,
    /// Its routes are others now.
    pub reloaded: Notify,
    pub unrouted: Unrouted,
    pub metrics: PoolMetrics,
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
    pub waiting: InWindow,
    /// Its source leaves out what it was told to: see `Capabilities::chooses`.
    pub chooses: bool,
    /// The place beside the queue that this is, where it is not the queue itself.
    pub beside: Option<Beside>,
}

/// What of a feed waits in the window.
#[derive(Debug, Default)]
pub struct InWindow {
    pub(super) jobs: AtomicUsize,
    pub(super) bytes: AtomicUsize,
}

/// What is known of a feed's progress, for `/health`.
#[derive(Clone, Debug, Default)]
pub struct FeedState {
    /// When it last yielded deliveries.
    pub yielded: Option<Timestamp>,
    /// Since when it cannot be taken from, and why.
    pub trouble: Option<(Timestamp, String)>,
}

impl Pool {
    /// Takes jobs until the stop, then waits for those that run.
    pub async fn run(self: Arc<Self>) {
        let mut slots = JoinSet::new();
        for _ in 0..self.window.slots() {
            slots.spawn(self.clone().slot());
        }
        let mut intakes: VecDeque<Intake> = self.feeds.iter().map(|feed| Intake::new(feed.clone(), &self.routes)).collect();
        tokio::select! {
            () = self.shared.stop.cancelled() => {}
            () = self.fill(&mut intakes) => {}
            () = self.window.keep_time() => {}
            () = self.renew_leases() => {}
            () = self.watch_guards() => {}
            () = self.watch_places() => {}
            () = self.clone().replace_slots(&mut slots) => {}
        }
        self.metrics.given_back.increment(self.window.close() as u64);
        drop(intakes);
        self.wind_down(&mut slots).await;
    }

    /// From now on jobs run by `routes`: those that wait are matched again, those that run end by the old ones.
    pub fn reload(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
        self.window.rearrange(|admitted| self.route_again(admitted));
        self.reloaded.notify_one();
        self.window.wake_taker();
    }

    /// Takes from whichever queue yields, as long as the window has room. Never returns.
    async fn fill(&self, intakes: &mut VecDeque<Intake>) {
        let mut routes = self.open_places(intakes).await;
        loop {
            if !Arc::ptr_eq(&routes, &self.routes.load_full()) {
                routes = self.open_places(intakes).await;
            }
            let feeds: Vec<Arc<Feed>> = intakes.iter().map(|intake| intake.feed.clone()).collect();
            let rooms = self.window.room(&feeds).await;
            let mut bytes = self.bytes().await;
            for ((queue, strand), shut) in self.window.strands() {
                let told = intakes.iter_mut().filter(|intake| intake.feed.name == queue);
                told.for_each(|intake| intake.tell(&strand, shut));
            }
            let room = |feed: &Feed| self.room_by_guards(feed, self.room_for(feed, &feeds, &rooms)?, &routes);
            let (feed, deliveries) = tokio::select! {
                next = intake::next(intakes, room, &self.shared.clock) => next,
                () = self.window.news() => continue,
                () = self.look_again() => continue,
            };
            if self.came_too_early(&feed, &routes) {
                deliveries.into_iter().rev().for_each(drop); // given back, the last one first
                continue;
            }
            let deliveries = self.in_round(&feed, deliveries);
            feed.metrics.deliveries.increment(deliveries.len() as u64);
            let admit = |delivery: Delivery| {
                let bytes = bytes.split(delivery.message.size());
                self.admit(&feed, delivery, bytes)
            };
            self.window.admit(deliveries.into_iter().map(admit).collect());
        }
    }

    fn room_for(&self, feed: &Feed, feeds: &[Arc<Feed>], rooms: &[(usize, usize)]) -> Option<Room> {
        let number = feeds.iter().position(|known| std::ptr::eq(&**known, feed))?;
        let (jobs, bytes) = *rooms.get(number)?;
        (jobs > 0).then(|| Room { jobs, bytes: bytes.min(self.shared.body_limit), lease: self.shared.lease })
    }

    /// Waits for the bytes of one message, however large.
    async fn bytes(&self) -> Reserved {
        let budget = &self.shared.budget;
        if let Some(bytes) = budget.reserve(self.shared.body_limit).now_or_never() {
            return bytes;
        }
        let _waiting = self.metrics.wait(Wait::Bytes);
        budget.reserve(self.shared.body_limit).await
    }

    /// Runs one job after another.
    async fn slot(self: Arc<Self>) {
        while let Some((mut taken, mut admitted)) = self.window.take().await {
            admitted.pass = taken.pass();
            if let Some((admitted, until)) = self.process(*admitted).await {
                taken.hold(Box::new(admitted), until);
            }
        }
    }

    /// A slot that panicked is replaced. Never returns.
    async fn replace_slots(self: Arc<Self>, slots: &mut JoinSet<()>) {
        loop {
            match slots.join_next().await {
                Some(Err(panic)) => tracing::error!("a bug of ours ended a slot; its job is given back: {panic}"),
                Some(Ok(())) => continue, // the window is closed
                None => return std::future::pending().await,
            }
            slots.spawn(self.clone().slot());
        }
    }

    /// Renews the leases of jobs that wait; those that run see to their own. Never returns.
    async fn renew_leases(&self) {
        let lease = self.shared.lease;
        let mut tick = tokio::time::interval(lease / 6);
        loop {
            tick.tick().await;
            let renewals = self.window.leases_due(Instant::now()).into_iter().map(async |(mut lease, back)| {
                lease.renew_at = Instant::now() + self.shared.lease / 3;
                match lease.receipt.extend(self.shared.lease).await {
                    Err(QueueError::LeaseLost) => return, // found out when its turn comes
                    Err(error) => tracing::warn!("cannot renew a lease: {error}"),
                    Ok(()) => {}
                }
                let _taken_meanwhile = back.send(lease);
            });
            stream::iter(renewals).for_each_concurrent(RENEWALS, |renewal| renewal).await;
        }
    }

    /// Waits for what runs; when abandoned, hands it back too.
    async fn wind_down(&self, slots: &mut JoinSet<()>) {
        let sweep = async {
            loop {
                self.shared.running.cancel_all(self.shared.abandon.is_cancelled());
                tokio::select! {
                    () = self.shared.abandon.cancelled(), if !self.shared.abandon.is_cancelled() => {}
                    // a job that was taken a moment ago may enter the registry after the sweep
                    () = tokio::time::sleep(Duration::from_millis(50)) => {}
                }
            }
        };
        tokio::select! {
            () = async { while slots.join_next().await.is_some() {} } => {}
            () = sweep => {}
        }
    }
}

impl Feed {
    /// What is known of its progress.
    pub fn state(&self) -> MutexGuard<'_, FeedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InWindow {
    pub(super) fn jobs(&self) -> u64 {
        self.jobs.load(Ordering::Relaxed) as u64
    }

    pub(super) fn add(&self, bytes: usize) {
        self.jobs.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, bytes: usize) {
        self.jobs.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
