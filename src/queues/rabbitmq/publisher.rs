//! Publishing with confirms: a message is held by the server when it says so, and nowhere before.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation};

use super::link::Link;
use super::trouble;
use crate::ports::QueueError;

/// How long a confirm is waited for without a word.
const SILENCE: Duration = Duration::from_secs(15);

/// One channel with confirms, made anew when it is gone.
#[derive(Default)]
pub(super) struct Publisher {
    /// Where messages go that their sender's word leads to: what the server will not take is refused, not tried again.
    hearsay: bool,
    channel: Mutex<Option<Channel>>,
    /// Held by whoever opens one; the others wait for it.
    opening: tokio::sync::Mutex<()>,
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
    /// One that goes by the word of senders.
    pub fn by_hearsay() -> Self {
        Publisher { hearsay: true, ..Publisher::default() }
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
        let channel = self.channel(link).await?;
        let what = || format!("queue {:?}", to.queue);
        // an unroutable message comes back inside a confirm
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let published = channel.basic_publish(to.exchange.into(), to.routing_key.into(), options, body, properties).await;
        let failed = |error: lapin::Error| match trouble::doing(&what(), &error) {
            QueueError::Unavailable(why) if self.hearsay && trouble::said(&error).is_some() => QueueError::Refused(why),
            failed => failed,
        };
        let confirm = published.map_err(failed)?;
        tokio::pin!(confirm);
        let confirmation = loop {
            match tokio::time::timeout(SILENCE, &mut confirm).await {
                Ok(confirmation) => break confirmation.map_err(failed)?,
                Err(_) => tracing::warn!(
                    "{}: no confirm for {SILENCE:?}: the queue may have lost its majority, or {} be out of \
                    memory or disk; waiting on",
                    what(),
                    link.place
                ),
            }
        };
        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(back)) | Confirmation::Nack(Some(back)) if self.hearsay => {
                Err(QueueError::Refused(format!("queue {:?} cannot be reached ({})", to.queue, back.reply_text)))
            }
            Confirmation::Ack(Some(back)) | Confirmation::Nack(Some(back)) => Err(returned(to, &back)),
            Confirmation::Nack(None) => Err(QueueError::Unavailable(format!(
                "{} refuses the message: it is full (x-overflow: reject-publish), or cannot keep it now",
                what()
            ))),
            Confirmation::NotRequested => Err(QueueError::Unavailable(format!("{}: the channel gives no confirms", what()))),
        }
    }

    async fn channel(&self, link: &Link) -> Result<Channel, QueueError> {
        if let Some(channel) = self.open_channel() {
            return Ok(channel);
        }
        let _opening = self.opening.lock().await;
        if let Some(channel) = self.open_channel() {
            return Ok(channel);
        }
        let channel = link.channel().await?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirms.map_err(|error| trouble::doing("publisher confirms", &error))?;
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel.clone());
        Ok(channel)
    }

    fn open_channel(&self) -> Option<Channel> {
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        channel.as_ref().filter(|channel| channel.status().connected()).cloned()
    }
}

fn returned(to: To<'_>, back: &lapin::message::BasicReturnMessage) -> QueueError {
    QueueError::Unavailable(format!(
        "queue {:?} cannot be reached ({}): it does not exist; \"windlass queues create\" makes it, or \"topology: declare\" \
         when it is first needed",
        to.queue, back.reply_text
    ))
}
