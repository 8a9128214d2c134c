//! What was delivered and is not settled: in turn on the shelf, or in somebody's hands, until its channel is gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::between;
use crate::job::{JOB_HEADER, Life, Message};
use crate::ports::Room;

/// What comes before its time waits here, at most so long: delays are whole seconds, and clocks differ.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// One message, not settled yet.
#[derive(Clone)]
pub(super) struct Item {
    pub message: Message,
    pub id: Option<Arc<str>>,
    pub published: Option<Timestamp>,
    /// How often it was delivered before, as the server counts.
    pub deliveries: u32,
    /// Those of them that are held against it.
    pub unsettled: u32,
    /// Its mark, once it was looked for or written.
    pub mark: Mark,
    pub tag: Tag,
    /// Which of the consumers of its channel brought it; set on the shelf.
    pub consumer: u32,
}

/// What the server calls a delivery. Settled on its channel itself: the client's own `Acker` spawns a task for each, and these
/// overtake each other.
#[derive(Clone)]
pub(super) struct Tag {
    pub channel: Arc<Channel>,
    pub number: u64,
}

impl Tag {
    /// False when the channel is gone, or goes meanwhile: the message comes again, perhaps elsewhere.
    pub async fn ack(&self) -> bool {
        self.channel.basic_ack(self.number, BasicAckOptions::default()).await.is_ok()
    }

    pub fn usable(&self) -> bool {
        self.channel.status().connected()
    }

    /// Has the server deliver it again, to whomever. It is told with the first poll; nobody waits for the answer.
    fn give_back(&self) {
        let options = BasicNackOptions { requeue: true, multiple: false };
        let _told = self.channel.basic_nack(self.number, options).now_or_never();
    }
}

/// What is known of the mark that belongs to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Never delivered before: there is none.
    None,
    /// It may have one, of this name.
    Unknown(String),
    /// It has this one.
    Written(String),
}

/// Names one delivery: its channel and its turn on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    channel: u64,
    number: u64,
}

/// How much there is.
pub(super) struct Load {
    /// Messages on the shelf, and their bytes.
    pub waiting: usize,
    pub bytes: usize,
    /// Messages in somebody's hands.
    pub held: usize,
    /// What the consumer that takes now has brought and is not settled.
    pub fresh: usize,
    /// Bytes of one of those that came.
    pub average: usize,
}

#[derive(Default)]
pub(super) struct Shelf {
    inner: Mutex<Inner>,
    pub changed: Notify,
}

#[derive(Default)]
struct Inner {
    channel: u64,
    last: u64,
    ready: BTreeMap<u64, Item>,
    early: BTreeMap<(Instant, u64), Item>,
    bytes: usize,
    /// Of all that came on this channel.
    came: usize,
    held: usize,
    /// The consumer that takes now, and what of its messages is not settled.
    consumer: u32,
    fresh: usize,
    /// Nobody takes from it any more: what comes back goes to the server.
    closed: bool,
}

impl Shelf {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The channel is gone: its messages come again from the server, what is in hands is settled too late.
    pub fn clear(&self) {
        let mut inner = self.inner();
        *inner = Inner { channel: inner.channel + 1, ..Inner::default() };
    }

    /// Puts down what was delivered now.
    pub fn put(&self, mut item: Item, due: Option<Timestamp>, now: Timestamp) {
        let mut inner = self.inner();
        if inner.closed {
            return item.tag.give_back();
        }
        inner.last += 1;
        let turn = inner.last;
        inner.bytes += item.message.size();
        inner.came += item.message.size();
        inner.fresh += 1;
        item.consumer = inner.consumer;
        match due.filter(|due| *due > now) {
            Some(due) => {
                let wait = between(now, due).min(LONGEST_WAIT);
                inner.early.insert((Instant::now() + wait, turn), item);
            }
            None => {
                inner.ready.insert(turn, item);
            }
        }
    }

    /// When the next one that came early may go.
    pub fn next_due(&self) -> Option<Instant> {
        self.inner().early.first_key_value().map(|((at, _), _)| *at)
    }

    /// Those of the first so many messages whose mark must be looked for before they go.
    pub fn unknown(&self, among: usize) -> Vec<(Turn, String)> {
        let inner = self.inner();
        let unknown = inner.ready.iter().take(among).filter_map(|(number, item)| match &item.mark {
            Mark::Unknown(name) => Some((Turn { channel: inner.channel, number: *number }, name.clone())),
            _ => None,
        });
        unknown.collect()
    }

    /// Notes the mark that was found.
    pub fn looked(&self, turn: Turn, name: &str, found: Option<(Life, u32)>) {
        let mut guard = self.inner();
        let inner = &mut *guard;
        if turn.channel != inner.channel {
            return;
        }
        let Some(item) = inner.ready.get_mut(&turn.number) else { return };
        inner.bytes -= item.message.size();
        item.mark = Mark::None;
        if let Some((life, deliveries)) = found {
            item.mark = Mark::Written(name.to_owned());
            item.unsettled = item.deliveries.saturating_sub(deliveries);
            item.message.set_header(JOB_HEADER, life.to_json());
        }
        inner.bytes += item.message.size();
    }

    /// Hands out what fits into `room`, in turn.
    pub fn take(&self, room: Room) -> Vec<(Turn, Item)> {
        let mut inner = self.inner();
        let now = Instant::now();
        while let Some(first) = inner.early.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, turn), item) = first.remove_entry();
            inner.ready.insert(turn, item);
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(first) = inner.ready.first_entry() {
            let size = first.get().message.size();
            bytes += size;
            let unknown = matches!(first.get().mark, Mark::Unknown(_));
            if unknown || taken.len() >= room.jobs || (bytes > room.bytes && !taken.is_empty()) {
                break;
            }
            let (number, item) = first.remove_entry();
            inner.bytes -= size;
            inner.held += 1;
            taken.push((Turn { channel: inner.channel, number }, item));
        }
        taken
    }

    /// Takes one back that was handed out; what cannot be settled any more comes again from the server.
    pub fn put_back(&self, turn: Turn, item: Item) {
        let mut inner = self.inner();
        if turn.channel != inner.channel {
            return;
        }
        inner.held -= 1;
        if inner.closed {
            item.tag.give_back();
        } else if item.tag.usable() {
            inner.bytes += item.message.size();
            inner.ready.insert(turn.number, item);
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Nobody takes from it any more: what lies on it goes back to the server, in turn.
    pub fn close(&self) {
        let mut inner = self.inner();
        inner.closed = true;
        let mut ready = std::mem::take(&mut inner.ready);
        ready.extend(std::mem::take(&mut inner.early).into_iter().map(|((_, turn), item)| (turn, item)));
        ready.values().for_each(|item| item.tag.give_back());
    }

    /// One that was handed out is settled.
    pub fn settled(&self, turn: Turn, consumer: u32) {
        let mut inner = self.inner();
        if turn.channel == inner.channel {
            inner.held -= 1;
            inner.fresh -= usize::from(consumer == inner.consumer);
        }
    }

    /// Another consumer takes from now on.
    pub fn next_consumer(&self) {
        let mut inner = self.inner();
        inner.consumer += 1;
        inner.fresh = 0;
    }

    pub fn load(&self) -> Load {
        let inner = self.inner();
        let average = inner.came / usize::try_from(inner.last.max(1)).unwrap_or(usize::MAX);
        Load {
            waiting: inner.ready.len() + inner.early.len(),
            bytes: inner.bytes,
            held: inner.held,
            fresh: inner.fresh,
            average: average.max(1),
        }
    }
}
