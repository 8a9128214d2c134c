//! Takes messages of one queue: a consumer that is opened again whenever its channel is gone, with as much ahead as bytes
//! allow.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use futures_util::future::FusedFuture as _;
use futures_util::{FutureExt as _, Stream as _};
use lapin::message::Delivery as Delivered;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::protocol::AMQPSoftError;
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::runtime::Handle;

use super::receipt::Issuer;
use super::shelf::Load;
use super::topology::{Role, Wanted};
use super::trouble;
use crate::ports::{Delivery, QueueError, Room, Source};
use crate::queues::letters::window;

/// Messages ahead before anything is known of their size.
const FIRST: u16 = 16;
/// As many dead letters as a window over them holds.
#[expect(clippy::cast_possible_truncation, reason = "it is small")]
const LETTERS: u16 = window::MOST as u16;
/// Bytes on the shelf above which fewer messages are taken ahead.
const AHEAD: usize = 16 << 20;

pub(super) struct RabbitmqSource {
    issuer: Arc<Issuer>,
    wanted: Wanted,
    taking: Option<Taking>,
    checked: bool,
    /// The most that is taken ahead of its acknowledgement.
    most: u16,
    /// One consumer at a time takes, and others wait for its turn.
    single: bool,
}

/// An open channel with its consumers: the last one takes, those before it were told to end.
struct Taking {
    channel: Arc<Channel>,
    consumers: Vec<Consumer>,
    prefetch: u16,
}

impl RabbitmqSource {
    pub fn new(issuer: Arc<Issuer>, wanted: Wanted) -> Self {
        // letters are held while operators look at them
        let most = if wanted.role == Role::Dead { LETTERS } else { issuer.system.config.prefetch };
        let single = issuer.system.config.single_active_consumer && wanted.role != Role::Dead;
        RabbitmqSource { issuer, wanted, taking: None, checked: false, most, single }
    }

    async fn open(&mut self) -> Result<(), QueueError> {
        let system = self.issuer.system.clone();
        if !self.checked {
            system.check(&self.wanted).await?;
            self.checked = true;
        }
        system.ready(&self.wanted).await?;
        let channel = system.taking.channel().await?;
        // who is alone, or takes turns with others, cannot take more later without losing the turn
        let first = if self.single { u16::MAX } else { FIRST };
        let mut taking = Taking { channel: Arc::new(channel), consumers: Vec::new(), prefetch: 0 };
        taking.resize(&self.wanted.name, first.min(self.most)).await?;
        self.issuer.open(&taking.channel);
        self.taking = Some(taking);
        Ok(())
    }

    /// The channel is of no use any more. Closing it gives back what it has brought.
    async fn lost(&mut self, why: Option<lapin::Error>) -> QueueError {
        let queue = &self.wanted.name;
        self.taking = None;
        self.issuer.lost().await;
        match why {
            Some(error) if trouble::is(&error, AMQPSoftError::PRECONDITIONFAILED) => QueueError::Unavailable(format!(
                "queue {queue:?}: {}: a message was held for longer than the server's consumer_timeout allows: raise it there, \
                 and \"consumer_timeout\" here",
                trouble::said(&error).map_or("", |(_, words)| words)
            )),
            Some(error) => trouble::doing(&format!("queue {queue:?}"), &error),
            None => QueueError::Unavailable(format!("queue {queue:?} was deleted, or its consumer was ended by the server")),
        }
    }

    /// Puts on the shelf what has come; an error of the channel, or its end.
    fn collect(&mut self) -> Result<(), Option<lapin::Error>> {
        let Some(taking) = &mut self.taking else { return Ok(()) };
        while let Some(came) = taking.next().now_or_never() {
            let came = came?;
            self.issuer.put(&taking.channel, came);
        }
        Ok(())
    }

    /// Takes more ahead when that is what keeps the taker waiting, and less when messages are large. A consumer's limit
    /// counts what it has brought itself: what those before it brought comes on top.
    async fn adapt(&mut self) -> Result<(), QueueError> {
        let Load { waiting, bytes, held, fresh, average } = self.issuer.shelf.load();
        let Some(taking) = self.taking.as_mut().filter(|_| !self.single) else { return Ok(()) };
        let now = usize::from(taking.prefetch);
        let by_bytes = (AHEAD / average).max(1);
        let starved = waiting == 0 && fresh >= now;
        let flooded = bytes > AHEAD && by_bytes < now / 2;
        if !starved && !flooded {
            return Ok(());
        }
        let wanted = by_bytes.min(now * 4).min(usize::from(self.most).saturating_sub(held));
        let Some(wanted) = u16::try_from(wanted).ok().filter(|wanted| *wanted > 0) else { return Ok(()) };
        taking.resize(&self.wanted.name, wanted).await?;
        self.issuer.shelf.next_consumer();
        Ok(())
    }
}

impl Drop for RabbitmqSource {
    /// What was taken can still be settled; what waits goes back, and what is on its way follows it.
    fn drop(&mut self) {
        let (Some(mut taking), Ok(runtime)) = (self.taking.take(), Handle::try_current()) else {
            return self.issuer.shelf.close();
        };
        let (channel, last) = (taking.channel.clone(), taking.consumers.last().map(Consumer::tag));
        let mut cancelled = Box::pin(
            async move {
                if let Some(last) = last {
                    let _gone_already = channel.basic_cancel(last, BasicCancelOptions::default()).await;
                }
            }
            .fuse(),
        );
        // told before anything is given back, or that would come here again and go back behind what waits
        let _told = cancelled.as_mut().now_or_never();
        self.issuer.shelf.close();
        let issuer = self.issuer.clone();
        runtime.spawn(async move {
            if !cancelled.is_terminated() {
                cancelled.await;
            }
            while let Ok(late) = taking.next().await {
                issuer.put(&taking.channel, late);
            }
        });
    }
}

impl Taking {
    /// A new consumer takes over, with this many messages ahead of their acknowledgement.
    async fn resize(&mut self, queue: &str, prefetch: u16) -> Result<(), QueueError> {
        let failed = |error| trouble::doing(&format!("queue {queue:?}"), &error);
        if let Some(last) = self.consumers.last() {
            let (tag, options) = (last.tag(), BasicCancelOptions::default());
            self.channel.basic_cancel(tag, options).await.map_err(failed)?;
        }
        self.channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(failed)?;
        let options = BasicConsumeOptions::default();
        let consumer = self.channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await;
        self.consumers.push(consumer.map_err(failed)?);
        self.prefetch = prefetch;
        Ok(())
    }

    /// The next delivery; an error, or none of it, when there will be no more. Cancel-safe.
    async fn next(&mut self) -> Result<Delivered, Option<lapin::Error>> {
        std::future::poll_fn(|context| {
            let mut number = 0;
            while number < self.consumers.len() {
                match Pin::new(&mut self.consumers[number]).poll_next(context) {
                    Poll::Ready(Some(came)) => return Poll::Ready(came.map_err(Some)),
                    Poll::Ready(None) if number + 1 < self.consumers.len() => drop(self.consumers.remove(number)),
                    Poll::Ready(None) => return Poll::Ready(Err(None)),
                    Poll::Pending => number += 1,
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[async_trait]
impl Source for RabbitmqSource {
    async fn next(&mut self, room: Room) -> Result<Vec<Delivery>, QueueError> {
        if room.jobs == 0 {
            return Ok(Vec::new());
        }
        loop {
            if self.taking.is_none() {
                self.open().await?;
            }
            let issuer = self.issuer.clone();
            let changed = issuer.shelf.changed.notified();
            if let Err(why) = self.collect() {
                return Err(self.lost(why).await);
            }
            issuer.look_for_marks(room.jobs).await?;
            let taken = issuer.shelf.take(room);
            if !taken.is_empty() {
                return Ok(issuer.deliver(taken));
            }
            self.adapt().await?;
            let Some(taking) = &mut self.taking else { continue };
            let early = issuer.shelf.next_due();
            let came = tokio::select! {
                came = taking.next() => came,
                () = changed => continue,
                () = tokio::time::sleep_until(early.unwrap_or_else(tokio::time::Instant::now)), if early.is_some() => continue,
            };
            match came {
                Ok(delivered) => issuer.put(&taking.channel, delivered),
                Err(why) => return Err(self.lost(why).await),
            }
        }
    }
}
