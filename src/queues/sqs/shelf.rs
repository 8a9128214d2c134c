//! What was received and is not settled: in turn on the shelf, or in somebody's hands, each under a lease that is renewed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::job::Message;
use crate::ports::{QueueError, Room};

/// The service ends every lease after twelve hours in all.
pub(super) const LONGEST_LEASE: Duration = Duration::from_secs(12 * 3600);
/// What has waited here for so long goes back, so that who takes it next has twelve hours again.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Bytes on the shelf above which nothing more is asked for.
const AHEAD: usize = 16 << 20;
/// Messages of one request.
const MOST: usize = super::batch::MOST;
/// Requests for messages at once.
const POLLS: usize = 16;

/// One message, not settled yet.
#[derive(Clone)]
pub(super) struct Item {
    pub message: Message,
    /// Of the message in the server.
    pub message_id: Arc<str>,
    pub id: Arc<str>,
    pub published: Option<Timestamp>,
    /// Of a parked one: when it goes back into its queue.
    pub due: Option<Timestamp>,
    /// How often it was delivered before, and those of them that are held against it.
    pub deliveries: u32,
    pub unsettled: u32,
    pub marked: bool,
}

struct Entry {
    handle: Arc<str>,
    until: Instant,
    came: Instant,
    renewing: bool,
    key: Option<Bytes>,
    /// None while it is in somebody's hands.
    waiting: Option<Item>,
}

/// A lease to be renewed: whose, and for how long.
pub(super) struct Renewal {
    pub turn: u64,
    pub handle: Arc<str>,
    pub lease: Duration,
}

#[derive(Default)]
pub(super) struct Shelf {
    inner: Mutex<Inner>,
    pub changed: Notify,
    /// Messages of one key come in order, and are given back together.
    ordered: bool,
}

#[derive(Default)]
struct Inner {
    last: u64,
    entries: BTreeMap<u64, Entry>,
    ready: BTreeSet<u64>,
    early: BTreeSet<(Instant, u64)>,
    bytes: usize,
    /// Of all that came.
    seen: usize,
    error: Option<QueueError>,
    /// Requests on their way, and how many messages they ask for.
    polls: usize,
    asked: usize,
    /// How many requests there may be: as many as come back full.
    most: usize,
    /// Nobody takes from it any more: what comes goes back to the server.
    closed: bool,
}

impl Shelf {
    pub fn new(ordered: bool) -> Self {
        Shelf { ordered, ..Shelf::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts down what was received and is leased `until` then; `early` is when it may go. Answers it when nobody takes any
    /// more.
    pub fn put(&self, item: Item, handle: &Arc<str>, until: Instant, early: Option<Instant>) -> Option<Item> {
        let mut inner = self.inner();
        if inner.closed {
            return Some(item);
        }
        inner.last += 1;
        let turn = inner.last;
        let size = item.message.size();
        (inner.bytes, inner.seen) = (inner.bytes + size, inner.seen + size);
        let now = Instant::now();
        let key = item.message.key.clone();
        let entry = Entry { handle: handle.clone(), until, came: now, renewing: false, key, waiting: Some(item) };
        inner.entries.insert(turn, entry);
        match early {
            Some(at) => drop(inner.early.insert((at, turn))),
            None => drop(inner.ready.insert(turn)),
        }
        None
    }

    /// When the next one that came early may go.
    pub fn next_due(&self) -> Option<Instant> {
        self.inner().early.first().map(|(at, _)| *at)
    }

    /// Hands out what fits into `room`, in turn.
    pub fn take(&self, room: Room) -> Vec<(u64, Item)> {
        let mut guard = self.inner();
        let inner = &mut *guard;
        let now = Instant::now();
        while let Some((_, turn)) = inner.early.first().copied().filter(|(at, _)| *at <= now) {
            inner.early.pop_first();
            inner.ready.insert(turn);
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(turn) = inner.ready.first().copied().filter(|_| taken.len() < room.jobs) {
            let Some(entry) = inner.entries.get_mut(&turn) else {
                inner.ready.pop_first();
                continue;
            };
            let size = entry.waiting.as_ref().map_or(0, |item| item.message.size());
            if bytes + size > room.bytes && !taken.is_empty() {
                break;
            }
            inner.ready.pop_first();
            if entry.until <= now {
                inner.forget(turn); // it comes again from the server
                continue;
            }
            bytes += size;
            inner.bytes -= size;
            taken.extend(entry.waiting.take().map(|item| (turn, item)));
        }
        taken
    }

    /// The handle of a message that is still ours.
    pub fn handle(&self, turn: u64) -> Option<Arc<str>> {
        let inner = self.inner();
        inner.entries.get(&turn).filter(|entry| entry.until > Instant::now()).map(|entry| entry.handle.clone())
    }

    /// It is settled, or somebody else's.
    pub fn forget(&self, turn: u64) {
        self.inner().forget(turn);
    }

    /// Takes one back that was handed out; answers its handle when it has to go back to the server.
    pub fn put_back(&self, turn: u64, item: Item) -> Option<Arc<str>> {
        let mut inner = self.inner();
        let closed = inner.closed;
        let entry = inner.entries.get_mut(&turn).filter(|entry| entry.until > Instant::now())?;
        if closed {
            return inner.entries.remove(&turn).map(|entry| entry.handle);
        }
        let size = item.message.size();
        entry.waiting = Some(item);
        inner.ready.insert(turn);
        inner.bytes += size;
        drop(inner);
        self.changed.notify_one();
        None
    }

    /// The leases that have run for a third of `lease`, and what has waited for too long and is to go back.
    pub fn renewals(&self, lease: Duration) -> (Vec<Renewal>, Vec<Arc<str>>) {
        let (mut inner, now) = (self.inner(), Instant::now());
        let old = |entry: &Entry| entry.waiting.is_some() && now - entry.came > LONGEST_WAIT && !entry.renewing;
        let back: Vec<u64> = inner.entries.iter().filter(|(_, entry)| old(entry)).map(|(turn, _)| *turn).collect();
        let back = back.into_iter().filter_map(|turn| inner.forget(turn)).collect();
        let due = inner.entries.iter_mut().filter(|(_, entry)| !entry.renewing && entry.until < now + lease * 2 / 3);
        let renewals = due.filter_map(|(turn, entry)| {
            let left = (entry.came + LONGEST_LEASE).saturating_duration_since(now);
            let lease = Duration::from_secs(lease.min(left).as_secs());
            (entry.until > now && lease > Duration::ZERO).then(|| {
                entry.renewing = true;
                Renewal { turn: *turn, handle: entry.handle.clone(), lease }
            })
        });
        (renewals.collect(), back)
    }

    /// What became of a renewal; one whose answer came too late is lost. Where messages come in order, those that wait behind
    /// one that was lost go back, too.
    pub fn renewed(&self, turn: u64, until: Result<Option<Instant>, ()>) -> Vec<Arc<str>> {
        let mut inner = self.inner();
        let Some(entry) = inner.entries.get_mut(&turn) else { return Vec::new() };
        entry.renewing = false;
        // who asked meanwhile was told that it is lost
        let lapsed = entry.until <= Instant::now();
        match until {
            Ok(until) if !lapsed => {
                entry.until = until.unwrap_or(entry.until);
                Vec::new()
            }
            _ => {
                let key = entry.key.clone().filter(|_| self.ordered);
                inner.forget(turn);
                let behind = |entry: &Entry| key.is_some() && entry.key == key && entry.waiting.is_some();
                let behind: Vec<u64> = inner.entries.iter().filter(|(_, entry)| behind(entry)).map(|(turn, _)| *turn).collect();
                behind.into_iter().filter_map(|turn| inner.forget(turn)).collect()
            }
        }
    }

    /// What waits here although its time in a parked place is over; it is settled by whoever asks.
    pub fn overdue(&self, now: Timestamp) -> Vec<(Arc<str>, Item)> {
        let mut inner = self.inner();
        let over = |entry: &Entry| entry.waiting.as_ref().is_some_and(|item| item.due.is_some_and(|due| due <= now));
        let over: Vec<u64> = inner.entries.iter().filter(|(_, entry)| over(entry)).map(|(turn, _)| *turn).collect();
        let mut take = |turn| {
            let item = inner.entries.get_mut(&turn)?.waiting.take()?;
            inner.bytes -= item.message.size();
            inner.forget(turn).map(|handle| (handle, item))
        };
        over.into_iter().filter_map(&mut take).collect()
    }

    /// Nobody takes from it any more; answers the handles of what waits, in turn.
    pub fn close(&self) -> Vec<Arc<str>> {
        let mut inner = self.inner();
        inner.closed = true;
        let waiting: Vec<u64> =
            inner.entries.iter().filter(|(_, entry)| entry.waiting.is_some()).map(|(turn, _)| *turn).collect();
        waiting.into_iter().filter_map(|turn| inner.forget(turn)).collect()
    }

    pub fn is_closed(&self) -> bool {
        self.inner().closed
    }

    pub fn waiting(&self) -> usize {
        let inner = self.inner();
        inner.ready.len() + inner.early.len()
    }

    /// Whether anything is in somebody's hands.
    pub fn holds(&self) -> bool {
        self.inner().entries.values().any(|entry| entry.waiting.is_none())
    }

    /// How many messages the next request may ask for; none when there are requests enough.
    pub fn ask(&self, room: Room) -> Option<usize> {
        let mut inner = self.inner();
        if inner.polls >= inner.most.max(1) || inner.bytes > AHEAD || inner.closed || inner.error.is_some() {
            return None;
        }
        let average = inner.seen / usize::try_from(inner.last.max(1)).unwrap_or(usize::MAX);
        let fit = room.jobs.min((room.bytes / average.max(1)).max(1));
        let asked = fit.saturating_sub(inner.ready.len() + inner.asked).min(MOST);
        (asked > 0).then(|| {
            (inner.polls, inner.asked) = (inner.polls + 1, inner.asked + asked);
            asked
        })
    }

    /// A request that asked for so many has brought so many.
    pub fn asked(&self, asked: usize, brought: Result<usize, QueueError>) {
        let mut inner = self.inner();
        (inner.polls, inner.asked) = (inner.polls - 1, inner.asked - asked);
        inner.most = match brought {
            Ok(0) => inner.most / 2,
            Ok(brought) if brought * 2 >= asked => (inner.most * 2).clamp(1, POLLS),
            _ => inner.most,
        };
        if let Err(error) = brought {
            inner.error = Some(error);
        }
        drop(inner);
        self.changed.notify_one();
    }

    pub fn error(&self) -> Option<QueueError> {
        self.inner().error.take()
    }
}

impl Inner {
    fn forget(&mut self, turn: u64) -> Option<Arc<str>> {
        let entry = self.entries.remove(&turn)?;
        self.ready.remove(&turn);
        self.early.retain(|(_, other)| *other != turn);
        self.bytes -= entry.waiting.map_or(0, |item| item.message.size());
        Some(entry.handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_lost_stays_lost_when_the_answer_to_its_renewal_comes() {
        let (shelf, lease) = (Shelf::default(), Duration::from_secs(3));
        let item = Item {
            message: Message::of("a".to_owned()),
            message_id: "m".into(),
            id: "a".into(),
            published: None,
            due: None,
            deliveries: 0,
            unsettled: 0,
            marked: false,
        };
        shelf.put(item, &"handle".into(), Instant::now() + lease, None);
        let room = Room { jobs: 1, bytes: 100, lease };
        let (turn, _) = shelf.take(room).remove(0);
        tokio::time::advance(lease / 2).await;
        let (asked, (renewals, _)) = (Instant::now(), shelf.renewals(lease));
        assert_eq!(renewals.len(), 1);
        tokio::time::advance(lease / 2).await;
        assert!(shelf.handle(turn).is_none(), "its time is over");
        shelf.renewed(turn, Ok(Some(asked + lease)));
        assert!(shelf.handle(turn).is_none(), "it came to life again");
    }
}
