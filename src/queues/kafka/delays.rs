//! The forwarder: takes what lies in the delay topics when its time there is over, and sends it on, to a shorter delay or to
//! where it is due. It is acknowledged once it is confirmed there. All workers share the work in one group.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::task::JoinSet;

use super::client::Options;
use super::config::Start;
use super::names::{Names, TIERS};
use super::sink::Producers;
use super::state::{Spot, Taken};
use super::taker::{Taker, Wish};
use super::trim::trim;
use super::wire::Beside;
use crate::clock::{after, between};
use crate::ports::{QueueError, Room};

/// Records of one tier that are waited for at a time. They lie there in the order in which they are due, but for those of
/// the shortest: they are due at any time within it.
const AT_A_TIME: usize = 256;
const AT_A_TIME_IN_THE_SHORTEST: usize = 4096;
const BYTES: usize = 4 << 20;
/// How often what was sent on is deleted.
const TRIM_EVERY: Duration = Duration::from_secs(10);
/// The wait after something failed.
const AGAIN: Duration = Duration::from_millis(500);

/// Serves the delay topics as long as it lives.
pub struct Forwarder {
    _tiers: JoinSet<()>,
}

impl Forwarder {
    /// # Errors
    /// What is wrong with the options.
    pub fn start(options: &Options, names: &Names, producers: &Arc<Producers>) -> Result<Self, QueueError> {
        let known = names.clone();
        let wish = Wish {
            group: names.forwarders(),
            queue: names.topic.clone(),
            topics: names.delays(),
            place_of: Box::new(move |topic| known.span(topic).map(|_| topic.into())),
            start: ("".into(), Start::Earliest),
            drain: Duration::from_secs(2),
        };
        let taker = Arc::new(Taker::start(options, wish)?);
        let mut tiers = JoinSet::new();
        for (span, tier) in TIERS {
            let (names, producers, taker) = (names.clone(), producers.clone(), taker.clone());
            let tier = Tier { topic: names.delay(tier), span, names, producers, taker };
            tiers.spawn(tier.serve());
        }
        tiers.spawn(trim_all(options.clone(), Arc::downgrade(&taker)));
        Ok(Forwarder { _tiers: tiers })
    }
}

/// The topics are kept for ever: what was sent on is deleted here.
async fn trim_all(options: Options, taker: Weak<Taker>) {
    let mut done: HashMap<Spot, i64> = HashMap::new();
    loop {
        tokio::time::sleep(TRIM_EVERY).await;
        let Some(taker) = taker.upgrade() else { return };
        let lows: Vec<(Spot, i64)> =
            taker.shared.state().parts.iter().map(|(spot, part)| (spot.clone(), part.tracker.low())).collect();
        drop(taker);
        let more = lows.iter().filter(|(spot, low)| *low > done.get(spot).copied().unwrap_or(0));
        let before: Vec<(&str, i32, i64)> = more.map(|(spot, low)| (&*spot.0, spot.1, *low)).collect();
        if before.is_empty() {
            continue;
        }
        match trim(&options, &before).await {
            Ok(()) => done.extend(lows),
            Err(error) => {
                tracing::warn!("kafka: delays that were served cannot be deleted (grant DELETE on their topics): {error}");
                tokio::time::sleep(TRIM_EVERY * 30).await;
            }
        }
    }
}

struct Tier {
    topic: String,
    span: Duration,
    names: Names,
    producers: Arc<Producers>,
    taker: Arc<Taker>,
}

impl Tier {
    async fn serve(self) {
        let shortest = TIERS.last().is_some_and(|(span, _)| *span == self.span);
        let most = if shortest { AT_A_TIME_IN_THE_SHORTEST } else { AT_A_TIME };
        let (mut waiting, mut bytes) = (FuturesUnordered::new(), 0);
        loop {
            let room = Room { jobs: most - waiting.len(), bytes: BYTES, lease: Duration::ZERO };
            tokio::select! {
                Some(size) = waiting.next(), if !waiting.is_empty() => bytes -= size,
                taken = self.next(room), if room.jobs > 0 && bytes < BYTES => for taken in taken {
                    bytes += taken.waiting.message.size();
                    waiting.push(self.forward(taken));
                },
            }
        }
    }

    async fn next(&self, room: Room) -> Vec<Taken> {
        loop {
            let arrived = self.taker.shared.arrived.notified();
            match self.taker.shared.take(Some(&self.topic), room) {
                Ok(taken) if taken.is_empty() => arrived.await,
                Ok(taken) => return taken,
                Err(error) => {
                    tracing::warn!("kafka: the delays of {} are not served: {error}", self.names.queue);
                    self.taker.shared.state().trouble = None;
                    tokio::time::sleep(AGAIN * 10).await;
                }
            }
        }
    }

    /// Waits out the time of a record here, then sends it on until that is confirmed. Answers its size.
    async fn forward(&self, taken: Taken) -> usize {
        let size = taken.waiting.message.size();
        let now = Timestamp::now();
        let due = taken.waiting.due.unwrap_or(now);
        let here = taken.waiting.published.map_or(due, |published| after(published, self.span));
        tokio::time::sleep(between(now, due.min(here))).await;
        while let Err(error) = self.send_on(&taken, due).await {
            tracing::warn!("kafka: cannot send on what was delayed: {error}; trying again");
            tokio::time::sleep(AGAIN).await;
            if self.taker.shared.part(&taken.spot, taken.epoch, |_| ()).is_none() {
                return size; // somebody else's by now
            }
        }
        self.taker.shared.settle(&taken.spot, taken.epoch, taken.offset, None);
        size
    }

    async fn send_on(&self, taken: &Taken, due: Timestamp) -> Result<(), QueueError> {
        let (message, left) = (&taken.waiting.message, between(Timestamp::now(), due));
        let Some(to) = &taken.waiting.to else {
            tracing::error!("kafka: {} holds a record that says not where it goes; it is left behind", self.topic);
            return Ok(());
        };
        if left.is_zero() {
            return self.producers.send(to, message, &Beside::default()).await;
        }
        let beside = Beside { due: Some(due), to: Some(to.clone()) };
        self.producers.send(&self.names.tier(left), message, &beside).await
    }
}
