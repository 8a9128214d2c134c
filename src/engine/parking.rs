//! Jobs that wait beside their queue: when they are moved there, and when they are taken again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::select_all;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::admitted::{Admitted, Work};
use super::breaker::Phase;
use super::exit::Exit;
use super::guard::Guard;
use super::intake::Intake;
use super::places::{PlaceKey, Places};
use super::pool::{Feed, InWindow, Pool};
use super::routes::{Route, Routes};
use super::screen::Screen;
use super::settle::{GivenUp, Held, Leave};
use crate::job::decode::life_of;
use crate::job::{JOB_HEADER, Job, Life};
use crate::outcome::{Class, Failure, Verdict};
use crate::ports::{Delivery, End, Outgoing, Room, Settled, Transfer};
use crate::retry;

/// The place of jobs that no route takes.
pub const NO_ROUTE: &str = "no-route";
/// While all its routes are shut, a queue's next job is looked at this often, for its deadline.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What a pool knows of the places beside its queues.
#[derive(Default)]
pub struct Parking {
    pub(super) places: Places,
    exits: Mutex<HashMap<PlaceKey, Arc<Exit>>>,
    /// By queue: when one of its jobs is looked at again although all its routes are shut.
    looks: Mutex<HashMap<Arc<str>, Instant>>,
    /// The places of executors that no route names any more.
    gone: Mutex<HashSet<PlaceKey>>,
    /// Names the round in which jobs without a route are matched again; 0 is none.
    round: AtomicI64,
}

/// A place beside a queue, as a feed.
pub struct Beside {
    pub place: Arc<str>,
    /// Of the executor whose jobs lie here; none when it is gone, and for jobs without a route.
    pub guard: Option<Arc<Guard>>,
}

impl Parking {
    fn are_gone<'a>(&self, queue: &Arc<str>, places: impl Iterator<Item = &'a Arc<str>>) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.retain(|(of, _)| of != queue);
        gone.extend(places.map(|place| (queue.clone(), place.clone())));
    }

    fn next_look(&self) -> Option<Instant> {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.values().copied().filter(|until| *until > Instant::now()).min()
    }

    fn look_at(&self, queue: &Arc<str>) -> Option<Instant> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).get(queue).copied()
    }

    fn looked(&self, queue: &Arc<str>) {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).insert(queue.clone(), Instant::now() + LOOK_AGAIN);
    }

    /// Whether jobs of a queue are being matched again.
    pub(super) fn matches_again(&self, queue: &Arc<str>) -> bool {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let unrouted = self.round().map(|_| (queue.clone(), NO_ROUTE.into()));
        gone.iter().filter(|(of, _)| of == queue).chain(&unrouted).any(|(queue, place)| self.places.holds(queue, place))
    }

    fn round(&self) -> Option<i64> {
        Some(self.round.load(Ordering::Relaxed)).filter(|round| *round != 0)
    }
}

/// The guards of these routes, each once.
fn guards(routes: &Routes) -> Vec<Arc<Guard>> {
    let mut names = HashSet::new();
    let guards = routes.iter().filter_map(|route| route.rules.guard.clone());
    guards.filter(|guard| names.insert(guard.name.clone())).collect()
}

impl Pool {
    /// Has the jobs matched again for which there was no route.
    pub fn try_unrouted_again(&self) {
        let now = self.shared.clock.now().as_nanosecond();
        self.parking.round.store(i64::try_from(now).unwrap_or(1).max(1), Ordering::Relaxed);
        self.window.wake_taker();
    }

    /// Opens the places that jobs may lie in, and closes those of executors that no route names any more once they are
    /// empty: their jobs are matched again.
    pub(super) async fn open_places(&self, intakes: &mut VecDeque<Intake>) -> Arc<Routes> {
        let routes = self.routes.load_full();
        let guards = guards(&routes);
        self.parking.places.lose_count();
        let first = intakes.iter().all(|intake| intake.feed.beside.is_none());
        intakes.retain(|intake| intake.feed.beside.is_none());
        for feed in &self.feeds {
            let held = feed.queue.places().await.unwrap_or_else(|error| {
                tracing::warn!(queue = %feed.name, "cannot list where its jobs are parked: {error}");
                Vec::new()
            });
            for place in &held {
                self.parking.places.changed(&feed.name, place);
                let guard = guards.iter().find(|guard| first && guard.name == *place);
                if let Some(guard) = guard
                    && !feed.queue.parked(place).drained().await.unwrap_or(false)
                {
                    guard.start_slowly();
                }
            }
            let known = guards.iter().map(|guard| (guard.name.clone(), Some(guard.clone())));
            let gone = held.into_iter().filter(|place| guards.iter().all(|guard| guard.name != *place));
            let mut places: HashMap<Arc<str>, Option<Arc<Guard>>> = gone.map(|place| (place, None)).collect();
            self.parking.are_gone(&feed.name, places.keys().filter(|place| ***place != *NO_ROUTE));
            places.insert(NO_ROUTE.into(), None);
            places.extend(known);
            intakes.extend(
                places.into_iter().map(|(place, guard)| Intake::new(beside(feed, Beside { place, guard }), &self.routes)),
            );
        }
        self.try_unrouted_again();
        routes
    }

    /// How much of `room` a feed may use now; none while nothing is to be taken of it.
    pub(super) fn room_by_guards(&self, feed: &Feed, room: Room, routes: &Routes) -> Option<Room> {
        let jobs = match &feed.beside {
            None if self.is_matched_again(feed, routes) => 0,
            None if self.is_shut(feed, routes) => self.probes(feed, routes).max(self.looks(feed, routes)),
            None => usize::MAX,
            Some(Beside { guard: Some(guard), .. }) => guard.wants(feed.waiting.jobs() as usize),
            Some(Beside { place, .. }) if **place == *NO_ROUTE => self.parking.round().map_or(0, |_| usize::MAX),
            Some(_) => usize::MAX,
        };
        let jobs = room.jobs.min(jobs);
        (jobs > 0).then_some(Room { jobs, ..room })
    }

    /// Every route of a queue's jobs is shut, or still has older jobs to run.
    fn is_shut(&self, feed: &Feed, routes: &Routes) -> bool {
        let shut = |route: &Arc<Route>| {
            let Some(guard) = &route.rules.guard else { return false };
            guard.shut().is_some() || self.parking.places.holds(&feed.name, &guard.name)
        };
        routes.iter().next().is_some() && routes.iter().all(shut)
    }

    /// One job is taken all the same where a probe is wanted and no parked job is there to be it.
    fn probes(&self, feed: &Feed, routes: &Routes) -> usize {
        usize::from(feed.waiting.jobs() == 0 && routes.iter().any(|route| self.wants_probe(feed, route)))
    }

    /// One job is looked at all the same from time to time: if its deadline is over it ends, and the next one is looked at;
    /// else it is given back. Whatever ends one without a run wakes the taker for the next. Where one route merely has older
    /// jobs to run, it would run before them.
    fn looks(&self, feed: &Feed, routes: &Routes) -> usize {
        let shut = |route: &Arc<Route>| route.rules.guard.as_ref().is_some_and(|guard| guard.shut().is_some());
        let due = || self.parking.look_at(&feed.name).is_none_or(|at| at <= Instant::now());
        usize::from(feed.waiting.jobs() == 0 && routes.iter().all(shut) && due())
    }

    fn wants_probe(&self, feed: &Feed, route: &Route) -> bool {
        let Some(guard) = &route.rules.guard else { return false };
        let half_open = guard.shut().is_some() && guard.wants(0) > 0;
        half_open && !self.parking.places.holds(&feed.name, &guard.name)
    }

    /// When a queue whose routes are all shut is looked at again.
    pub(super) async fn look_again(&self) {
        match self.parking.next_look() {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Asks the queues which of their places hold nothing any more: newer jobs are taken again then. Never returns.
    pub(super) async fn watch_places(&self) {
        loop {
            for question in self.parking.places.questions().await {
                let (queue, place) = &question.key;
                let Some(feed) = self.feeds.iter().find(|feed| feed.name == *queue) else { continue };
                match feed.queue.parked(place).drained().await {
                    Ok(true) if self.parking.places.empty(&question) => self.window.wake_taker(),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%queue, %place, "cannot see whether jobs are parked there: {error}"),
                }
            }
        }
    }

    /// What is to be admitted of deliveries: a round is over when one comes that was parked again in it.
    pub(super) fn in_round(&self, feed: &Feed, deliveries: Vec<Delivery>) -> Vec<Delivery> {
        let Some(Beside { place, .. }) = &feed.beside else { return deliveries };
        self.parking.places.changed(&feed.name, place);
        let Some(round) = self.parking.round().filter(|_| **place == *NO_ROUTE) else { return deliveries };
        let tried = |delivery: &Delivery| {
            let park = life_of(&delivery.message).ok().and_then(|life| life.park);
            park.and_then(|park| park.round) == Some(round)
        };
        let (over, left): (Vec<_>, Vec<_>) = deliveries.into_iter().partition(tried);
        if !over.is_empty() {
            self.parking.round.store(0, Ordering::Relaxed);
        }
        left
    }

    /// What is to be done with a job that has a route.
    pub(super) fn work_on(&self, job: Box<Job>, route: Arc<Route>, feed: &Feed) -> Work {
        let why = if route.keeps_order(&job) {
            self.must_follow(&job, &route, feed)
        } else {
            route.rules.guard.as_ref().and_then(|guard| {
                let probing = feed.beside.is_some() && guard.phase() != Some(Phase::Open);
                guard.shut().filter(|_| !probing)
            })
        };
        match why {
            Some(why) => Work::Park(job, route, why),
            None => Work::Run(job, route),
        }
    }

    /// A job whose executor is shut: moved without a run. It is given back to its turn if it lies there already, and if
    /// every route is shut: nothing else of its queue can run either, so that it is in nobody's way.
    pub(super) async fn park_unrun(
        &self,
        job: &Job,
        route: &Arc<Route>,
        why: Failure,
        held: Held,
    ) -> Option<(Admitted, Instant)> {
        let moment = self.moment(Duration::ZERO);
        // in its queue with its time it would be behind those that wait for it
        let early = |verdict: &Verdict| matches!(verdict, Verdict::Retry { .. }) && route.keeps_order(job);
        let verdict = match self.before(job, &route.policy, None).filter(|verdict| !early(verdict)) {
            Some(verdict) => verdict,
            None => retry::decide(why.into(), job, &route.policy, &moment),
        };
        let guard = route.rules.guard.as_ref();
        let stays = match &held.feed.beside {
            // of another place, such as that of jobs without a route, it would be taken again at once
            Some(beside) => guard.is_some_and(|guard| guard.name == beside.place),
            None => self.is_shut(&held.feed, &self.routes.load()) && !self.wants_probe(&held.feed, route),
        };
        // behind it in its lane others wait that must not pass it, so that it leaves before them
        if stays && !route.keeps_order(job) && matches!(verdict, Verdict::Park { .. }) {
            match &held.feed.beside {
                Some(beside) => self.parking.places.changed(&held.feed.name, &beside.place),
                None => {
                    self.parking.looked(&held.feed.name);
                    self.window.wake_taker(); // it waits for the next look
                }
            }
            self.metrics.given_back.increment(1);
            return None;
        }
        self.settle(&verdict, job, Some(route), held).await;
        self.window.wake_taker(); // see `Pool::looks`
        None
    }

    /// Where a job waits beside its queue; none when it waits in the queue itself.
    fn place_of(&self, reason: Class, job: &Job, route: Option<&Route>) -> Option<Arc<str>> {
        match reason {
            Class::NoRoute => Some(NO_ROUTE.into()),
            Class::Unavailable | Class::Misconfigured => {
                let (route, guard) = (route?, route?.rules.guard.as_ref()?);
                (guard.shut().is_some() || route.keeps_order(job)).then(|| guard.name.clone())
            }
            _ => None,
        }
    }

    /// Carries out [`Verdict::Park`].
    pub(super) async fn park(&self, verdict: &Verdict, job: &Job, route: Option<&Route>, held: Held) -> Result<Settled, GivenUp> {
        let Verdict::Park { reason, at, until, life } = verdict else { return Err(GivenUp::Stopping) };
        let (at, until, mut life) = (*at, *until, life.clone());
        let Some(place) = self.place_of(*reason, job, route) else { return self.later(at, life, held).await };
        (life.due, life.generation) = (None, life.generation + 1);
        if let Some(park) = &mut life.park {
            park.round = self.parking.round().filter(|_| *reason == Class::NoRoute);
        }
        let (feed, keyed) = (held.feed.clone(), route.and_then(|route| route.keyed(job)));
        self.parking.places.coming(&feed.name, &place, keyed.as_ref());
        let settled = self.move_into(&place, until, life, held).await;
        let stayed = keyed.filter(|_| !matches!(settled, Ok(Settled::Done)));
        self.parking.places.arrived(&feed.name, &place, stayed.as_ref());
        settled
    }

    async fn move_into(&self, place: &Arc<str>, until: Timestamp, life: Life, mut held: Held) -> Result<Settled, GivenUp> {
        let feed = held.feed.clone();
        if feed.queue.capabilities().transfers {
            let park = Transfer::Park { place: place.clone(), until, life };
            self.leave(Leave::Transfer(Box::new(park)), held.lease).await
        } else {
            let mut message = held.message.clone();
            message.set_header(JOB_HEADER, life.to_json());
            let outgoing = Outgoing { message, id: None, due: Some(until), priority: None };
            self.publish_surely(&self.place_exit(&feed, place), outgoing, &mut held.lease).await?;
            self.leave(Leave::Ack(self.ending(End::Moved, None)), held.lease).await
        }
    }

    fn place_exit(&self, feed: &Feed, place: &Arc<str>) -> Arc<Exit> {
        let mut exits = self.parking.exits.lock().unwrap_or_else(PoisonError::into_inner);
        let exit = exits.entry((feed.name.clone(), place.clone())).or_insert_with(|| {
            let sink = feed.queue.parked(place).sink();
            let metrics = self.metrics.exit(sink.address());
            Arc::new(Exit::new(sink, metrics))
        });
        exit.clone()
    }

    /// Has the window look again whenever a breaker opens, wants a probe, or closes. Never returns.
    pub(super) async fn watch_guards(&self) {
        loop {
            let routes = self.routes.load_full();
            let mut watched: Vec<(Arc<Guard>, watch::Receiver<u64>)> =
                guards(&routes).into_iter().map(|guard| (guard.clone(), guard.news())).collect();
            let mut phases = Vec::new();
            while Arc::ptr_eq(&routes, &self.routes.load_full()) {
                let now: Vec<Option<Phase>> = watched.iter().map(|(guard, _)| guard.phase()).collect();
                if now != phases {
                    self.ask_all(&watched);
                    let open = watched.iter().zip(&now).filter(|(_, phase)| **phase == Some(Phase::Open));
                    open.for_each(|((guard, _), _)| self.send_back(guard));
                    self.window.rearrange(|admitted| self.route_again(admitted));
                    phases = now;
                }
                self.window.ask_guards();
                self.window.wake_taker();
                self.guard_news(&mut watched).await;
            }
        }
    }

    /// Other workers may have parked jobs: the places are asked before newer jobs are taken.
    fn ask_all(&self, watched: &[(Arc<Guard>, watch::Receiver<u64>)]) {
        for feed in &self.feeds {
            watched.iter().for_each(|(guard, _)| self.parking.places.changed(&feed.name, &guard.name));
        }
    }

    async fn guard_news(&self, watched: &mut [(Arc<Guard>, watch::Receiver<u64>)]) {
        let now = Instant::now();
        let probe = watched.iter().filter_map(|(guard, _)| guard.probe_at()).filter(|at| *at > now).min();
        let mut news: Vec<_> = watched.iter_mut().map(|(_, news)| news.changed().map(|_| ()).boxed()).collect();
        news.push(self.reloaded.notified().boxed());
        if let Some(at) = probe {
            news.push(tokio::time::sleep_until(at).boxed());
        }
        select_all(news).await;
    }
}

/// The feed of a place: what it yields are jobs of the queue itself.
fn beside(feed: &Arc<Feed>, beside: Beside) -> Arc<Feed> {
    Arc::new(Feed {
        queue: feed.queue.parked(&beside.place),
        name: feed.name.clone(),
        decoding: feed.decoding.clone(),
        again: feed.again.clone(),
        dead_letters: feed.dead_letters.clone(),
        metrics: feed.metrics.clone(),
        state: Mutex::default(),
        waiting: InWindow::default(),
        chooses: feed.chooses,
        // what lies there was wanted when it came
        screen: Screen { wanted: None, max_age: feed.screen.max_age },
        beside: Some(beside),
    })
}
