//! Publishing with confirms: a message is held by the server when it says so, and nowhere before.
//!
//! A message is alone on its channel until it is confirmed. The client gives what the server returns to whichever confirm of
//! the channel completes next: of two messages at once, the one that reached no queue could count as held.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::protocol::AMQPErrorKind;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::Semaphore;

use super::link::Link;
use super::trouble;
use crate::ports::QueueError;

/// How long a confirm is waited for without a word.
const SILENCE: Duration = Duration::from_secs(15);
/// Messages at once, and so channels: some servers grant a connection only a few hundred.
const AT_ONCE: usize = 64;

/// Channels with confirms, made when they are needed.
pub(super) struct Publisher {
    /// Where messages go that their sender's word leads to: what the server will not take is refused, not tried again.
    hearsay: bool,
    /// Nothing is on its way on these.
    idle: Mutex<Vec<Channel>>,
    /// Never closed.
    lanes: Semaphore,
}

/// Where a message goes.
#[derive(Clone, Copy)]
pub(super) struct To<'a> {
    /// Empty for the one that leads to queues by their names.
    pub exchange: &'a str,
    pub routing_key: &'a str,
    /// The queue that is meant, for people.
    pub queue: &'a str,
}

impl Publisher {
    pub fn new() -> Self {
        Publisher { hearsay: false, idle: Mutex::default(), lanes: Semaphore::new(AT_ONCE) }
    }

    /// One that goes by the word of senders.
    pub fn by_hearsay() -> Self {
        Publisher { hearsay: true, ..Publisher::new() }
    }

    /// Resolves when the server has confirmed that a queue holds the message.
    ///
    /// # Errors
    /// A sentence; afterwards it is unknown whether the message is held, unless it was refused.
    pub async fn publish(&self, link: &Link, to: To<'_>, properties: BasicProperties, body: &[u8]) -> Result<(), QueueError> {
        // what is handed to the client now would only fill its memory
        if let Some(why) = link.blocked() {
            return Err(QueueError::Unavailable(format!("{} takes no messages until it has room again: {why}", link.place)));
        }
        let mut lane = self.lanes.acquire().await.ok();
        // dropped on the way, and so closed, when this is: nobody would hear what comes back on it
        let channel = self.channel(link).await?;
        // an unroutable message comes back inside a confirm
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let published = channel.basic_publish(to.exchange.into(), to.routing_key.into(), options, body, properties).await;
        let confirm = published.map_err(|error| self.failed(to, &error))?;
        tokio::pin!(confirm);
        let confirmation = loop {
            match tokio::time::timeout(SILENCE, &mut confirm).await {
                Ok(confirmation) => break confirmation.map_err(|error| self.failed(to, &error))?,
                Err(_) => tracing::warn!(
                    "queue {:?}: no confirm for {SILENCE:?}: the queue may have lost its majority, or {} be out of \
                    memory or disk; waiting on",
                    to.queue,
                    link.place
                ),
            }
            lane = None; // a queue that confirms nothing keeps no others waiting
        };
        if lane.is_some() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
        }
        self.told(to, confirmation)
    }

    async fn channel(&self, link: &Link) -> Result<Channel, QueueError> {
        while let Some(channel) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            if channel.status().connected() {
                return Ok(channel);
            }
        }
        let channel = link.channel().await?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirms.map_err(|error| trouble::doing("publisher confirms", &error))?;
        Ok(channel)
    }

    /// A soft error is the server's word on this message, as no other is on the channel; a hard one ends all of the connection.
    fn failed(&self, to: To<'_>, error: &lapin::Error) -> QueueError {
        match trouble::doing(&format!("queue {:?}", to.queue), error) {
            QueueError::Unavailable(why) if self.hearsay && matches!(trouble::said(error), Some((AMQPErrorKind::Soft(_), _))) => {
                QueueError::Refused(why)
            }
            failed => failed,
        }
    }

    fn told(&self, to: To<'_>, confirmation: Confirmation) -> Result<(), QueueError> {
        let queue = to.queue;
        let why = match confirmation {
            Confirmation::Ack(None) => return Ok(()),
            Confirmation::NotRequested => {
                return Err(QueueError::Unavailable(format!("queue {queue:?}: the channel gives no confirms")));
            }
            Confirmation::Nack(None) => {
                format!("queue {queue:?} refuses the message: it is full (x-overflow: reject-publish), or cannot keep it now")
            }
            Confirmation::Ack(Some(back)) | Confirmation::Nack(Some(back)) if self.hearsay => {
                format!("queue {queue:?} cannot be reached ({})", back.reply_text)
            }
            Confirmation::Ack(Some(back)) | Confirmation::Nack(Some(back)) => format!(
                "queue {queue:?} cannot be reached ({}): it does not exist; \"windlass queues create\" makes it, or \
                \"topology: declare\" when it is first needed",
                back.reply_text
            ),
        };
        Err(if self.hearsay { QueueError::Refused(why) } else { QueueError::Unavailable(why) })
    }
}
