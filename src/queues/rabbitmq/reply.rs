//! The result of a job, sent to the queue that its message names (`reply_to`), with its `correlation_id`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::publisher::To;
use super::system::System;
use super::wire;
use crate::job::Message;
use crate::ports::{Outgoing, QueueError, Sink};

/// Where the sender of one message wants its result.
pub(super) struct Reply {
    system: Arc<System>,
    queue: String,
    correlation: Option<Bytes>,
}

impl Reply {
    /// None when its sender asks for none.
    pub fn to(system: &Arc<System>, message: &Message) -> Option<Self> {
        let queue = std::str::from_utf8(message.header(wire::REPLY_TO)?).ok().filter(|queue| !queue.is_empty())?;
        let correlation = message.header(wire::CORRELATION_ID).cloned();
        Some(Reply { system: system.clone(), queue: queue.to_owned(), correlation })
    }
}

#[async_trait]
impl Sink for Reply {
    fn address(&self) -> &str {
        &self.queue
    }

    /// Refused where no such queue is there any more.
    async fn send(&self, mut outgoing: Outgoing) -> Result<(), QueueError> {
        if let Some(correlation) = &self.correlation {
            outgoing.message.set_header(wire::CORRELATION_ID, correlation.clone());
        }
        let (system, queue) = (&self.system, &self.queue);
        let properties = wire::write(&outgoing, None, system.config.key.as_ref())?;
        let to = To { exchange: "", routing_key: queue, queue };
        system.answers.publish(&system.sending, to, properties, &outgoing.message.body).await
    }
}
