//! The sources of a pool: opened, polled in turns, and opened anew when they fail.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, select_all};
use tokio::time::Instant;

use super::pool::{Feed, FeedState};
use super::routes::Routes;
use crate::clock::Clock;
use crate::job::decode::facets::sort;
use crate::ports::{Delivery, QueueError, Room, Sort, Source, Strand};
use crate::retry::{Backoff, Jitter};

/// The wait after a source failed: half a second, doubling to ten.
const SOURCE_DOWN: Backoff =
    Backoff { base: Duration::from_millis(500), factor: 2.0, cap: Duration::from_secs(10), jitter: Jitter::Equal };

/// A feed's open source, with what is known of its failures. Only used by the pool's own task.
pub(super) struct Intake {
    pub feed: Arc<Feed>,
    sort: Sort,
    source: Door,
    /// What the source was told not to yield.
    shut: HashSet<Strand>,
    failures: u32,
    closed_until: Option<Instant>,
}

/// Kept between turns, so that a slow connect goes on while other queues yield.
enum Door {
    Closed,
    Opening(BoxFuture<'static, Result<Box<dyn Source>, QueueError>>),
    Open(Box<dyn Source>),
}

/// Waits for the first intake that yields, of those that there is room for; the one that did goes to the end of the line.
/// Cancel-safe.
pub(super) async fn next(
    intakes: &mut VecDeque<Intake>,
    room: impl Fn(&Feed) -> Option<Room>,
    clock: &Clock,
) -> (Arc<Feed>, Vec<Delivery>) {
    let (mut waits, mut numbers): (Vec<BoxFuture<'_, Vec<Delivery>>>, Vec<usize>) = (Vec::new(), Vec::new());
    for (number, intake) in intakes.iter_mut().enumerate() {
        if let Some(room) = room(&intake.feed) {
            waits.push(intake.next(room, clock).boxed());
            numbers.push(number);
        }
    }
    if waits.is_empty() {
        return std::future::pending().await;
    }
    let (deliveries, index, waiting) = select_all(waits).await;
    drop(waiting); // cancel-safe: the others have taken nothing
    let number = numbers[index];
    let feed = intakes[number].feed.clone();
    intakes.rotate_left(number + 1);
    (feed, deliveries)
}

impl Intake {
    /// `routes` are those of the pool, now and after each reload.
    pub fn new(feed: Arc<Feed>, routes: &Arc<ArcSwap<Routes>>) -> Self {
        let (look, routes) = (sort(&feed.decoding), routes.clone());
        let sort: Sort = Arc::new(move |message| routes.load().sorted(look(message)));
        Intake { feed, sort, source: Door::Closed, shut: HashSet::new(), failures: 0, closed_until: None }
    }

    /// Tells the source what is wanted of it; one that is opened later is told then.
    pub fn tell(&mut self, strand: &Strand, shut: bool) {
        let news = if shut { self.shut.insert(strand.clone()) } else { self.shut.remove(strand) };
        match &mut self.source {
            Door::Open(source) if news && shut => source.shut(strand),
            Door::Open(source) if news => source.open(strand),
            _ => {}
        }
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
            Door::Opening(opening) => {
                let mut source = opening.await?;
                self.shut.iter().for_each(|strand| source.shut(strand));
                self.source = Door::Open(source);
            }
            Door::Closed => {
                let (queue, sort) = (self.feed.queue.clone(), self.sort.clone());
                self.source = Door::Opening(Box::pin(async move { queue.source(sort).await }));
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
