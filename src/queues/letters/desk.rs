//! What operators do to a queue of which they see a window of dead letters, and the counts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::window::{Peeked, Window};
use crate::ports::{
    Acted, Action, Admin, Cursor, Entry, Filter, Looked, NewJob, Outgoing, Page, QueueError, QueueStats, Submitted,
};

/// One queue with the window over its dead letters.
pub struct Desk {
    /// The name of its block.
    queue: Arc<str>,
    /// What people call its kind.
    kind: &'static str,
    letters: Arc<dyn Peeked>,
    window: Arc<Window>,
}

impl Desk {
    #[must_use]
    pub fn new(queue: Arc<str>, kind: &'static str, letters: Arc<dyn Peeked>) -> Self {
        Desk { queue, kind, window: Window::new(letters.clone()), letters }
    }

    /// Gives back what operators look at.
    pub async fn release(&self) {
        self.window.release().await;
    }

    fn unable(&self, what: &str) -> QueueError {
        QueueError::Refused(format!("{what} is not possible on {}: only dead letters are seen and acted on", self.kind))
    }
}

#[async_trait]
impl Admin for Desk {
    /// One after the other, not all or none; ids that are known are not recognised.
    async fn submit(&self, _queue: &str, jobs: Vec<NewJob>) -> Result<Vec<Submitted>, QueueError> {
        let (sink, mut submitted) = (self.letters.jobs(), Vec::new());
        for job in jobs {
            let (id, priority) = (Some(job.id.clone()), Some(job.priority));
            sink.send(Outgoing { message: job.message, id, due: job.due, priority }).await?;
            submitted.push(Submitted { id: job.id, existing: false });
        }
        Ok(submitted)
    }

    async fn stats(&self) -> Result<Vec<QueueStats>, QueueError> {
        let stats = self.letters.stats().await?;
        // those that operators look at now are held, and as dead as before
        let dead = stats.dead + self.window.held().await;
        Ok(vec![QueueStats { queue: self.queue.clone(), dead, ..stats }])
    }

    async fn browse(&self, filter: &Filter, page: &Cursor) -> Result<Page, QueueError> {
        if !super::asked_for(filter, &self.queue) {
            return Ok(Page::default());
        }
        let wrong = |after: &String| QueueError::Refused(format!("{after:?} is no cursor of an earlier answer"));
        let after = page.after.as_ref().map(|after| after.parse().map_err(|_| wrong(after))).transpose()?;
        let now = Timestamp::now();
        let wanted = |letter: &super::Letter| {
            super::matches(filter, &letter.failure, &letter.message, now).then(|| super::entry(&self.queue, letter, false))
        };
        let (entries, next, seen) = self.window.look(after.unwrap_or_default(), page.limit, wanted).await?;
        let looked = Looked { queue: self.queue.clone(), at: seen.held, of: seen.in_all, others: seen.others };
        Ok(Page { entries, next: next.map(|turn| turn.to_string()), looked: Some(looked) })
    }

    async fn find(&self, queue: Option<&str>, id: &str) -> Result<Option<Entry>, QueueError> {
        if queue.is_some_and(|queue| !super::is_of(queue, &self.queue)) {
            return Ok(None);
        }
        let wanted = |letter: &super::Letter| (*letter.failure.id == *id).then(|| super::entry(&self.queue, letter, true));
        Ok(self.window.look(0, 1, wanted).await?.0.pop())
    }

    async fn ended(&self, queue: &str, id: &str, _wait: Duration) -> Result<Option<Entry>, QueueError> {
        self.find(Some(queue), id).await
    }

    async fn act(&self, _queue: &str, id: &str, action: &Action) -> Result<Acted, QueueError> {
        let by = match action {
            Action::Replay => None,
            Action::Discard { by } => Some(by.as_str()),
            Action::Cancel { .. } | Action::RunNow => return Err(self.unable("to cancel or run now a job that waits")),
        };
        Ok(if self.window.deal(id, by).await? { Acted::Done } else { Acted::NotFound })
    }

    async fn pause(&self, _queue: &str, _paused: bool) -> Result<(), QueueError> {
        Err(self.unable("to pause a queue"))
    }
}
