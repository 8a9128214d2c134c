//! The admission window of a pool: jobs that were taken from queues and wait for their turn and a slot.

mod appetite;
mod taken;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::admitted::{Admitted, Lease, Work};
use super::pool::Feed;
use super::running::Cancelled;
use super::turns::{Ticket, Turns};
use crate::job::Job;
use crate::ports::Strand;
use crate::telemetry::Wait;
use appetite::Pace;
pub(super) use taken::Taken;

/// The bounds of a window.
#[derive(Clone, Debug)]
pub struct WindowOptions {
    /// Jobs that run at once.
    pub slots: usize,
    /// Jobs and bytes that wait, for each source.
    pub jobs: usize,
    pub bytes: usize,
    /// Jobs that are taken although every slot is taken, at least; a fast pool takes more. When absent: as many as may
    /// wait, or a quarter of the slots where the source chooses what it yields.
    pub ahead: Option<usize>,
    /// Slots that only tenants get who run fewer jobs than this, while more than one is around. When absent: one in 32, and
    /// none of fewer than 16.
    pub kept_free: Option<usize>,
    /// Shares of tenants that have another than 1.
    pub weights: HashMap<Arc<str>, u32>,
}

impl WindowOptions {
    #[must_use]
    pub fn new(slots: usize) -> Self {
        WindowOptions { slots, jobs: 1000, bytes: 64 << 20, ahead: None, kept_free: None, weights: HashMap::new() }
    }
}

/// Jobs that wait, and the slots they wait for.
pub struct Window {
    options: WindowOptions,
    state: Mutex<State>,
    /// Something may be started.
    work: Notify,
    /// There is room, or something to tell the sources.
    space: Notify,
    /// Something wakes earlier than the clock was told.
    alarm: Notify,
}

struct State {
    turns: Turns<Box<Admitted>>,
    /// Those that need no turn: they end at once.
    urgent: VecDeque<Box<Admitted>>,
    running: usize,
    pace: Pace,
    /// When the clock wakes.
    wakes_at: Option<Instant>,
    /// The taker waits for room; how many jobs waited when it looked.
    hungry: Option<usize>,
    /// Jobs that came when every slot was taken, since the last time somebody asked.
    crowded: u64,
    closed: bool,
}

impl Window {
    #[must_use]
    pub fn new(options: WindowOptions) -> Self {
        let state = State {
            turns: Turns::new(options.weights.clone(), options.jobs / 2),
            urgent: VecDeque::new(),
            running: 0,
            pace: Pace::new(Instant::now()),
            wakes_at: None,
            hungry: None,
            crowded: 0,
            closed: false,
        };
        Window { options, state: Mutex::new(state), work: Notify::new(), space: Notify::new(), alarm: Notify::new() }
    }

    #[must_use]
    pub fn slots(&self) -> usize {
        self.options.slots
    }

    /// Slots with a job in them.
    #[must_use]
    pub fn used(&self) -> usize {
        self.lock().running
    }

    /// Jobs that wait here.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let state = self.lock();
        state.turns.len() + state.urgent.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many jobs may be taken of each feed now, and their bytes; waits until there is room in any.
    pub(super) async fn room(&self, feeds: &[Arc<Feed>]) -> Vec<(usize, usize)> {
        loop {
            {
                let mut state = self.lock();
                let rooms: Vec<_> = feeds.iter().map(|feed| self.room_of(feed, &state)).collect();
                state.hungry = rooms.iter().any(|(jobs, _)| *jobs == 0).then_some(state.turns.len());
                if rooms.iter().any(|(jobs, _)| *jobs > 0) {
                    return rooms;
                }
            }
            self.space.notified().await;
        }
    }

    /// Of a source that cannot choose, as many are taken as may wait: what is not seen cannot be treated fairly.
    fn room_of(&self, feed: &Feed, state: &State) -> (usize, usize) {
        let jobs = self.options.jobs.saturating_sub(feed.waiting.jobs.load(Ordering::Relaxed));
        let bytes = self.options.bytes.saturating_sub(feed.waiting.bytes.load(Ordering::Relaxed));
        let wanted = match self.options.ahead {
            None if !feed.chooses => {
                if jobs >= self.step() || state.idles(&self.options) {
                    jobs
                } else {
                    0
                }
            }
            _ => jobs.min(state.wanted(&self.options)),
        };
        (if bytes == 0 { 0 } else { wanted }, bytes)
    }

    /// Jobs are asked for when so many have gone, so that each call brings many.
    fn step(&self) -> usize {
        self.options.jobs.div_ceil(8)
    }

    /// Returns when sources are to be told something.
    pub(super) async fn news(&self) {
        self.space.notified().await;
    }

    /// What queues are to be told since the last time: true shuts a strand.
    pub(super) fn strands(&self) -> Vec<((Arc<str>, Strand), bool)> {
        self.lock().turns.strands()
    }

    /// Takes jobs in.
    pub(super) fn admit(&self, admitted: Vec<Admitted>) {
        let (mut state, now) = (self.lock(), Instant::now());
        if state.running == self.options.slots || state.few(&self.options).is_some() {
            state.crowded += admitted.len() as u64;
        }
        for admitted in admitted {
            admitted.feed.waiting.add(admitted.message.size());
            state.admit(Box::new(admitted), now);
        }
        self.wake_slots(&state);
        self.after(&mut state);
    }

    /// Waits for the next job that may run; none after [`Window::close`].
    pub(super) async fn take(&self) -> Option<(Taken<'_>, Box<Admitted>)> {
        loop {
            {
                let mut state = self.lock();
                if state.closed {
                    return None;
                }
                if let Some((ticket, admitted)) = state.next(&self.options, Instant::now()) {
                    admitted.feed.waiting.remove(admitted.message.size());
                    self.wake_slots(&state);
                    self.after(&mut state);
                    return Some((Taken { window: self, ticket, over: false }, admitted));
                }
                self.after(&mut state); // timers have fired
            }
            self.work.notified().await;
        }
    }

    /// One slot is woken at a time, and wakes the next one when there is work for it.
    fn wake_slots(&self, state: &State) {
        if state.may_start(&self.options) {
            self.work.notify_one();
        }
    }

    /// Wakes the clock and the taker if they have something to do now.
    fn after(&self, state: &mut State) {
        if self.wakes_at(state).is_some_and(|at| state.wakes_at.is_none_or(|known| at < known)) {
            self.alarm.notify_one();
        }
        if state.turns.has_news() || state.is_hungry(&self.options, self.step()) {
            self.space.notify_one();
        }
    }

    /// When a slot is to be woken for what waits for a time. With every slot busy nobody could act on it, and it would be due
    /// again at once: the next one that is free looks by itself.
    fn wakes_at(&self, state: &State) -> Option<Instant> {
        state.turns.wakes_at().filter(|_| state.running < self.options.slots)
    }

    /// Wakes slots when jobs may run that could not before. Never returns.
    pub(super) async fn keep_time(&self) {
        loop {
            let at = {
                let mut state = self.lock();
                state.wakes_at = self.wakes_at(&state);
                state.wakes_at
            };
            match at {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => self.work.notify_one(),
                    () = self.alarm.notified() => {}
                },
                None => self.alarm.notified().await,
            }
        }
    }

    /// The leases that are due for renewal, each to be sent back.
    pub(super) fn leases_due(&self, now: Instant) -> Vec<(Lease, oneshot::Sender<Lease>)> {
        self.lock().turns.items_mut().filter_map(|admitted| admitted.lease.take_due(now)).collect()
    }

    /// Takes out the jobs that wait behind the head of a key, the first one first.
    pub(super) fn take_lane(&self, route: &Arc<str>, job: &Job) -> Vec<Admitted> {
        let Some(key) = &job.key else { return Vec::new() };
        let waiting = self.lock().turns.take_lane(route, &job.tenant, key, Instant::now());
        waiting.iter().for_each(|admitted| admitted.feed.waiting.remove(admitted.message.size()));
        waiting.into_iter().map(|admitted| *admitted).collect()
    }

    /// Takes out jobs that wait here, the last one first, so that a queue that takes back at its head has them in order.
    pub(super) fn take_out(&self, which: impl Fn(&Admitted) -> bool) -> Vec<Admitted> {
        let mut state = self.lock();
        let out = state.turns.take_all(|admitted| which(admitted), Instant::now());
        out.iter().for_each(|admitted| admitted.feed.waiting.remove(admitted.message.size()));
        self.wake_slots(&state);
        self.after(&mut state);
        out.into_iter().map(|admitted| *admitted).collect()
    }

    /// Ends a job that waits here as an operator asks; false when it does not.
    pub fn cancel(&self, queue: &str, id: &str, why: Cancelled) -> bool {
        let mut state = self.lock();
        let Some(mut admitted) = state.turns.take_where(|admitted| admitted.is(queue, id), Instant::now()) else { return false };
        admitted.cancelled = Some(why);
        state.urgent.push_back(admitted);
        self.wake_slots(&state);
        true
    }

    /// Wait a job waits here, if it does.
    #[must_use]
    pub fn why(&self, queue: &str, id: &str) -> Option<Wait> {
        self.lock().turns.iter().find(|(admitted, _)| admitted.is(queue, id)).map(|(_, why)| why)
    }

    /// How often something had to wait since the last time.
    pub fn waited(&self) -> HashMap<Wait, u64> {
        let mut state = self.lock();
        let mut waited = state.turns.waits();
        waited.insert(Wait::NoSlot, std::mem::take(&mut state.crowded));
        waited
    }

    /// How many jobs wait for each reason.
    #[must_use]
    pub fn waits(&self) -> HashMap<Wait, usize> {
        let mut counts = HashMap::new();
        for (_, why) in self.lock().turns.iter() {
            *counts.entry(why).or_default() += 1;
        }
        counts
    }

    /// How many jobs of each route wait for each reason.
    #[must_use]
    pub fn census(&self) -> HashMap<Arc<str>, BTreeMap<&'static str, usize>> {
        let mut census: HashMap<Arc<str>, BTreeMap<&'static str, usize>> = HashMap::new();
        for (admitted, why) in self.lock().turns.iter() {
            if let Work::Run(_, route) = &admitted.work {
                *census.entry(route.name.clone()).or_default().entry(why.as_str()).or_default() += 1;
            }
        }
        census
    }

    /// Has every job that waits find its place anew.
    pub(super) fn rearrange(&self, again: impl Fn(Admitted) -> Admitted) {
        let mut state = self.lock();
        let now = Instant::now();
        for (admitted, held) in state.turns.clear(now) {
            let admitted = Box::new(again(*admitted));
            match (held, admitted.facts()) {
                (Some(until), Some(facts)) if !facts.leaves => state.turns.add_held(facts, admitted, until, now),
                _ => state.admit(admitted, now),
            }
        }
        self.wake_slots(&state);
        self.after(&mut state);
    }

    /// Asks the executors' guards again for those that wait for them.
    pub(super) fn ask_guards(&self) {
        let mut state = self.lock();
        state.turns.ask_guards(Instant::now());
        self.wake_slots(&state);
        self.after(&mut state);
    }

    /// Has the taker look again how much it may take.
    pub(super) fn wake_taker(&self) {
        self.space.notify_one();
    }

    /// Gives back what waits and hands out nothing more; answers how many there were.
    pub(super) fn close(&self) -> usize {
        let mut state = self.lock();
        state.closed = true;
        let mut given_back: Vec<_> = state.turns.clear(Instant::now()).into_iter().map(|(admitted, _)| admitted).collect();
        given_back.extend(state.urgent.drain(..));
        drop(state);
        self.work.notify_waiters();
        self.work.notify_one();
        let count = given_back.len();
        // the last one first: a queue that takes back at its head has them in order again
        while let Some(admitted) = given_back.pop() {
            admitted.feed.waiting.remove(admitted.message.size());
        }
        count
    }
}

impl State {
    fn admit(&mut self, admitted: Box<Admitted>, now: Instant) {
        match admitted.facts() {
            Some(facts) => {
                self.turns.add(facts, admitted, now);
            }
            None => self.urgent.push_back(admitted),
        }
    }

    fn next(&mut self, options: &WindowOptions, now: Instant) -> Option<(Option<Ticket>, Box<Admitted>)> {
        let few = self.few(options);
        let next = match self.urgent.pop_front() {
            Some(admitted) => (None, admitted),
            None => self.turns.next(few, now).map(|(ticket, admitted)| (Some(ticket), admitted))?,
        };
        self.running += 1;
        self.pace.count(now);
        Some(next)
    }
}
