//! `then:` of a route: a job that was done is followed by another one, which gets its result.

use std::sync::Arc;

use super::exit::Exit;
use super::pool::Pool;
use super::settle::{GivenUp, Held};
use crate::expression::{Expression, Subject};
use crate::job::{Job, next};
use crate::outcome::Output;
use crate::ports::Outgoing;

/// What a route says of it.
pub struct Then {
    pub kind: Arc<str>,
    /// The queue of the job that was done, when there is none.
    pub exit: Option<Arc<Exit>>,
    /// The key of the job that was done, when there is none.
    pub key: Option<Expression>,
}

impl Then {
    fn key(&self, job: &Job, output: &Output) -> Result<Option<Arc<str>>, String> {
        let Some(key) = &self.key else { return Ok(job.key.clone()) };
        let text = key.text(Subject { job, result: Some(output) });
        text.map(|text| text.map(Into::into)).map_err(|why| format!("then: {key} has no answer for this job: {why}"))
    }
}

impl Pool {
    /// Publishes the next job and waits for the confirm; why there cannot be one, otherwise.
    pub(super) async fn follow(
        &self,
        then: &Then,
        output: &Output,
        job: &Job,
        held: &mut Held,
    ) -> Result<Option<String>, GivenUp> {
        let key = match then.key(job, output) {
            Ok(key) => key,
            Err(why) => return Ok(Some(why)),
        };
        let message = next::message(job, &then.kind, key.as_deref(), output);
        let size = message.body.len();
        if size > self.shared.body_limit {
            return Ok(Some(format!("the job after it would be {size} bytes long (worker.body_limit)")));
        }
        let outgoing = Outgoing { message, id: Some(next::id(job)), due: None, priority: Some(job.priority) };
        let exit = then.exit.as_ref().unwrap_or(&held.feed.again).clone();
        self.publish(&exit, outgoing, &mut held.lease).await
    }
}
