//! The result of a job, answered to whoever sent it and asked for that.

use super::pool::Pool;
use super::settle::{GivenUp, Held};
use crate::job::Message;
use crate::ports::{Outgoing, QueueError, Sink};
use std::sync::Arc;
use std::time::Duration;

/// How long a sender's queue may fail to confirm before its result is given up.
const PATIENCE: Duration = Duration::from_secs(30);

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
        let answer = tokio::time::timeout(PATIENCE, self.answer(&*sink, outgoing));
        let answered = match self.while_leased(&mut held.lease, answer).await? {
            Ok(answered) => answered?,
            Err(_) => Err(format!("{} confirms nothing within {PATIENCE:?}", sink.address())),
        };
        if let Err(why) = &answered {
            tracing::warn!("the sender of a job wants its result, but cannot be reached: {why}");
        }
        self.metrics.replied(answered.is_ok());
        Ok(())
    }

    /// Again and again until it is confirmed or refused.
    async fn answer(&self, sink: &dyn Sink, outgoing: Outgoing) -> Result<Result<(), String>, GivenUp> {
        let mut failures = 0;
        loop {
            match sink.send(outgoing.clone()).await {
                Ok(()) => return Ok(Ok(())),
                Err(QueueError::Refused(why)) => return Ok(Err(why)),
                Err(error) => {
                    failures += 1;
                    tracing::warn!(exit = sink.address(), "cannot send a result to the sender of its job: {error}; trying again");
                    self.pause(failures).await?;
                }
            }
        }
    }
}
