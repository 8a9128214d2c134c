//! The result of a job, answered to whoever sent it and asked for that.

use super::pool::Pool;
use super::settle::{GivenUp, Held};
use crate::job::Message;
use crate::ports::{Outgoing, QueueError, Sink};
use std::sync::Arc;

impl Pool {
    /// Sends the event of a job's end to the sender that asked for it, until it is confirmed. A sender that cannot be reached is
    /// said and counted, and keeps no job from its end.
    pub(super) async fn reply(
        &self,
        sink: Arc<dyn Sink>,
        (event, id): (Message, String),
        held: &mut Held,
    ) -> Result<(), GivenUp> {
        let outgoing = Outgoing { message: event, id: Some(id.into()), ..Outgoing::default() };
        let mut failures = 0;
        loop {
            match self.while_leased(&mut held.lease, sink.send(outgoing.clone())).await? {
                Ok(()) => {
                    self.metrics.replied(true);
                    return Ok(());
                }
                Err(QueueError::Refused(why)) => {
                    tracing::warn!("the sender of a job wants its result, but cannot be reached: {why}");
                    self.metrics.replied(false);
                    return Ok(());
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(exit = sink.address(), "cannot send a result to the sender of its job: {error}; trying again");
                    self.while_leased(&mut held.lease, self.pause(failures)).await??;
                }
            }
        }
    }
}
