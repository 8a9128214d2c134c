//! Dead letters that can only be received, held and given back: operators look at a bounded window of them, oldest first.
//!
//! What is looked at is held while somebody looks, and given back in its order a moment later, so that other programs get
//! it again. What was dealt with makes room for what lies behind it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep, timeout};

use super::Letter;
use crate::ports::{Delivery, End, Ending, QueueError, QueueStats, Receipt, Room, Settled, Sink, Source};

/// The most that is held.
pub const MOST: usize = 10_000;
const MOST_BYTES: usize = 64 << 20;
/// Received at a time.
const STEP: usize = 500;
/// How long letters that wait are waited for, and those of which nobody knows.
const SILENCE: Duration = Duration::from_secs(2);
const GLANCE: Duration = Duration::from_millis(50);
/// How often letters that others hold are asked for once more, before only the rest is looked at.
const LOOKS: usize = 10;
const LOOK: Duration = Duration::from_millis(100);
/// What nobody has looked at for so long is given back.
const IDLE: Duration = Duration::from_secs(5);
/// Where what is held is leased.
const LEASE: Duration = Duration::from_secs(30);

/// The dead letters of a queue whose system does not let them be browsed.
#[async_trait]
pub trait Peeked: Send + Sync {
    /// Starts to receive them, oldest first. What is received is held until its receipt is used, or given back when that is
    /// dropped, in the order of the receipts.
    async fn open(&self) -> Result<Box<dyn Source>, QueueError>;
    /// How many wait there and are held by nobody, and how many receive them now, whoever they are.
    async fn waiting(&self) -> Result<(u64, u64), QueueError>;
    /// What a delivery says; none when it was put behind the others instead, since it was received too often.
    async fn read(&self, delivery: Delivery) -> Result<Option<(Letter, Box<dyn Receipt>)>, QueueError>;
    /// Sends a letter to where it is run again; resolves when that is confirmed.
    async fn again(&self, letter: &Letter) -> Result<(), QueueError>;
    /// Where new jobs go.
    fn jobs(&self) -> Arc<dyn Sink>;
    async fn stats(&self) -> Result<QueueStats, QueueError>;
}

/// What of the letters is held for operators.
pub struct Window {
    letters: Arc<dyn Peeked>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By the turn in which they came. Before the source, so that they are given back in order before it is gone.
    held: BTreeMap<u64, Held>,
    source: Option<Box<dyn Source>>,
    bytes: usize,
    /// Turns go on when a window is opened again, so that no page is missed.
    last: u64,
    /// Behind those that are held.
    behind: u64,
    /// Others received from there when it was opened.
    others: bool,
    used: Option<Instant>,
    /// Dealt with, but not taken away, since the connection was lost in between: how often each.
    done: HashMap<u128, usize>,
}

struct Held {
    letter: Letter,
    receipt: Box<dyn Receipt>,
}

/// How much of the letters could be looked at.
pub struct Seen {
    pub held: u64,
    pub in_all: u64,
    pub others: bool,
}

impl Window {
    #[must_use]
    pub fn new(letters: Arc<dyn Peeked>) -> Arc<Self> {
        Arc::new(Window { letters, inner: Mutex::default() })
    }

    async fn inner(self: &Arc<Self>) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().await;
        if inner.used.replace(Instant::now()).is_none() {
            tokio::spawn(self.clone().watch());
        }
        inner
    }

    /// Renews what is held, and gives it back once nobody looks any more.
    async fn watch(self: Arc<Self>) {
        loop {
            sleep(IDLE).await;
            let mut inner = self.inner.lock().await;
            if inner.used.is_none_or(|used| used.elapsed() >= IDLE) {
                return inner.give_back();
            }
            inner.renew().await;
        }
    }

    /// How many are held.
    pub async fn held(&self) -> u64 {
        self.inner.lock().await.held.len() as u64
    }

    /// Gives back what is held, in its order.
    pub async fn release(&self) {
        self.inner.lock().await.give_back();
    }

    /// Those after a turn that `wanted` makes something of, at most `limit`; and the turn to go on after.
    ///
    /// # Errors
    /// When the system cannot be asked.
    pub async fn look<T>(
        self: &Arc<Self>,
        after: u64,
        limit: usize,
        wanted: impl Fn(&Letter) -> Option<T>,
    ) -> Result<(Vec<T>, Option<u64>, Seen), QueueError> {
        let mut inner = self.inner().await;
        let (mut found, mut after) = (Vec::new(), after);
        loop {
            for (turn, held) in inner.held.range(after + 1..) {
                after = *turn;
                found.extend(wanted(&held.letter));
                if found.len() == limit {
                    return Ok((found, Some(after), inner.seen()));
                }
            }
            if !self.more(&mut inner).await? {
                return Ok((found, None, inner.seen()));
            }
        }
    }

    /// Receives some more; false when there are none, or no room for them.
    async fn more(&self, inner: &mut Inner) -> Result<bool, QueueError> {
        (inner.behind, inner.others) = match inner.source {
            None => self.unheld().await?,
            Some(_) => (self.letters.waiting().await?.0, inner.others),
        };
        if inner.source.is_none() && inner.behind == 0 {
            return Ok(false);
        }
        let before = inner.last;
        while inner.last < before + STEP as u64 && inner.held.len() < MOST && inner.bytes < MOST_BYTES {
            let room = Room { jobs: STEP.min(MOST - inner.held.len()), bytes: MOST_BYTES - inner.bytes, lease: LEASE };
            let patience = if inner.behind > 0 { SILENCE } else { GLANCE };
            let source = match &mut inner.source {
                Some(source) => source,
                none => none.insert(self.letters.open().await?),
            };
            match timeout(patience, source.next(room)).await {
                Err(_) => break,
                Ok(Ok(deliveries)) => self.hold(inner, deliveries).await?,
                Ok(Err(error)) => {
                    inner.give_back();
                    return Err(error);
                }
            }
        }
        Ok(inner.last > before)
    }

    /// How many wait, and who else receives them: a window that was closed a moment ago may still be on its way back.
    async fn unheld(&self) -> Result<(u64, bool), QueueError> {
        for _ in 0..LOOKS {
            let (waiting, consumers) = self.letters.waiting().await?;
            if consumers == 0 {
                return Ok((waiting, false));
            }
            sleep(LOOK).await;
        }
        Ok((self.letters.waiting().await?.0, true))
    }

    async fn hold(&self, inner: &mut Inner, deliveries: Vec<Delivery>) -> Result<(), QueueError> {
        for delivery in deliveries {
            inner.behind = inner.behind.saturating_sub(1);
            let Some((letter, receipt)) = self.letters.read(delivery).await? else { continue };
            if inner.was_done(&letter) {
                let _it_comes_again = receipt.ack(moved()).await;
                continue;
            }
            inner.last += 1;
            inner.bytes += letter.message.size();
            let turn = inner.last;
            inner.held.insert(turn, Held { letter, receipt });
        }
        Ok(())
    }

    /// Replays the first letter of this id, or with somebody's name ends it; false when there is none. Once begun it is
    /// carried through, whoever waits for it.
    ///
    /// # Errors
    /// Why it is still there.
    pub async fn deal(self: &Arc<Self>, id: &str, discarded_by: Option<&str>) -> Result<bool, QueueError> {
        let find = |letter: &Letter| (*letter.failure.id == *id).then_some(());
        let (turn, held) = loop {
            let (_, Some(turn), _) = self.look(0, 1, find).await? else { return Ok(false) };
            // another operator may have been faster
            if let Some(taken) = self.inner().await.take(turn) {
                break (turn, taken);
            }
        };
        let (window, by) = (self.clone(), discarded_by.map(str::to_owned));
        let done = tokio::spawn(async move { window.settle(turn, held, by.as_deref()).await });
        done.await.map_err(|error| QueueError::Unavailable(error.to_string()))?.map(|()| true)
    }

    async fn settle(&self, turn: u64, held: Held, discarded_by: Option<&str>) -> Result<(), QueueError> {
        let Held { letter, receipt } = held;
        match discarded_by {
            Some(by) => tracing::info!(job = %letter.failure.id, "dead letter discarded by {by}"),
            None => {
                if let Err(error) = self.letters.again(&letter).await {
                    self.inner.lock().await.put_back(turn, Held { letter, receipt });
                    return Err(error);
                }
            }
        }
        if !matches!(receipt.ack(moved()).await, Ok(Settled::Done)) {
            // it comes again, and is not to be dealt with twice
            *self.inner.lock().await.done.entry(fingerprint(&letter)).or_default() += 1;
        }
        Ok(())
    }
}

impl Inner {
    fn seen(&self) -> Seen {
        let held = self.held.len() as u64;
        Seen { held, in_all: held + self.behind, others: self.others }
    }

    fn give_back(&mut self) {
        *self = Inner { last: self.last, done: std::mem::take(&mut self.done), ..Inner::default() };
    }

    async fn renew(&mut self) {
        let mut lost = Vec::new();
        for (turn, held) in &self.held {
            if matches!(held.receipt.extend(LEASE).await, Err(QueueError::LeaseLost)) {
                lost.push(*turn);
            }
        }
        lost.into_iter().for_each(|turn| drop(self.take(turn)));
    }

    fn take(&mut self, turn: u64) -> Option<Held> {
        let held = self.held.remove(&turn)?;
        self.bytes -= held.letter.message.size();
        Some(held)
    }

    fn put_back(&mut self, turn: u64, held: Held) {
        // of an earlier window: it went back with that, and so does its receipt
        if self.source.is_some() {
            self.bytes += held.letter.message.size();
            self.held.insert(turn, held);
        }
    }

    fn was_done(&mut self, letter: &Letter) -> bool {
        let print = fingerprint(letter);
        let Some(times) = self.done.get_mut(&print) else { return false };
        *times -= 1;
        if *times == 0 {
            self.done.remove(&print);
        }
        true
    }
}

fn moved() -> Ending {
    Ending { end: End::Moved, event: None, at: Timestamp::now() }
}

/// The same for the same letter whenever it comes.
fn fingerprint(letter: &Letter) -> u128 {
    let mut bytes = letter.failure.to_json();
    bytes.extend_from_slice(&letter.message.body);
    xxhash_rust::xxh3::xxh3_128(&bytes)
}
