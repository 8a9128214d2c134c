//! The dead letters of a queue, for operators: browsed by offset, and those that were dealt with named in a log beside them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::queue::Home;
use super::wire::Beside;
use crate::job::{FailureDocument, Message};
use crate::ports::{
    Acted, Action, Admin, Cursor, Entry, Filter, NewJob, Outgoing, Page, PartitionLag, Queue, QueueError, QueueStats, Submitted,
};
use crate::queues::letters::{self, Letter};

/// Letters that are read at a time.
const CHUNK: usize = 500;

/// A record of a topic, and where it lies.
pub struct Lying {
    pub partition: i32,
    pub offset: i64,
    pub message: Message,
    pub published: Option<Timestamp>,
}

/// A letter, and where it lies.
type Found = (Letter, (i32, i64));

pub struct Desk {
    pub home: Arc<Home>,
    pub queue: Arc<dyn Queue>,
    /// One action at a time: what was dealt with is looked up first.
    pub acting: tokio::sync::Mutex<()>,
}

fn unable(what: &str) -> QueueError {
    QueueError::Refused(format!("{what} is not possible on Kafka: only dead letters are seen and acted on"))
}

impl Desk {
    /// The letters that nobody has dealt with.
    async fn handled(&self) -> Result<HashSet<(i32, i64)>, QueueError> {
        let (topics, mut handled, mut after) = (&self.home.topics, HashSet::new(), (0, 0));
        loop {
            let records = topics.read(&topics.names.handled(), after, CHUNK).await?;
            let Some(last) = records.last() else { return Ok(handled) };
            after = (last.partition, last.offset + 1);
            handled.extend(records.iter().filter_map(|record| place(std::str::from_utf8(record.message.key.as_ref()?).ok()?)));
        }
    }

    /// The letters that match, at most `limit`, and where to go on.
    async fn letters(
        &self,
        mut after: (i32, i64),
        limit: usize,
        wanted: impl Fn(&FailureDocument, &Message) -> bool,
    ) -> Result<(Vec<Found>, Option<(i32, i64)>), QueueError> {
        let (topics, handled, mut found) = (&self.home.topics, self.handled().await?, Vec::new());
        loop {
            let records = topics.read(&topics.names.dead(), after, CHUNK).await?;
            if records.is_empty() {
                return Ok((found, None));
            }
            for Lying { partition, offset, message, published } in records {
                after = (partition, offset + 1);
                let Some(failure) = letters::ours(&message).filter(|failure| wanted(failure, &message)) else { continue };
                if !handled.contains(&(partition, offset)) {
                    found.push((Letter { message, failure, published }, (partition, offset)));
                }
                if found.len() == limit {
                    return Ok((found, Some(after)));
                }
            }
        }
    }

    async fn letter(&self, id: &str) -> Result<Option<Found>, QueueError> {
        Ok(self.letters((0, 0), 1, |failure, _| *failure.id == *id).await?.0.pop())
    }
}

/// Reads `<partition>/<offset>`.
fn place(text: &str) -> Option<(i32, i64)> {
    let (partition, offset) = text.split_once('/')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

#[async_trait]
impl Admin for Desk {
    /// One after the other, not all or none; ids that are known are not recognised.
    async fn submit(&self, _queue: &str, jobs: Vec<NewJob>) -> Result<Vec<Submitted>, QueueError> {
        let (sink, mut submitted) = (self.queue.sink(), Vec::new());
        for job in jobs {
            sink.send(Outgoing { message: job.message, id: None, due: job.due, priority: None }).await?;
            submitted.push(Submitted { id: job.id, existing: false });
        }
        Ok(submitted)
    }

    async fn stats(&self) -> Result<Vec<QueueStats>, QueueError> {
        let (topics, names) = (&self.home.topics, &self.home.topics.names);
        let there = topics.list().await?;
        let lags = topics.lags(&names.own(there.keys()), Default::default()).await?;
        let parked: Vec<String> = there.into_keys().filter(|topic| names.place_of(topic).is_some()).collect();
        let parked = topics.left(&parked, Default::default()).await?;
        let (letters, _) = self.letters((0, 0), usize::MAX, |_, _| true).await?;
        Ok(vec![QueueStats {
            queue: self.home.block.clone(),
            waiting: lags.iter().map(|lag| lag.records).sum(),
            parked,
            dead: letters.len() as u64,
            oldest: topics.oldest(&lags).await?,
            consumers: topics.members().await,
            lag: lags.into_iter().map(PartitionLag::from).collect(),
            ..QueueStats::default()
        }])
    }

    async fn browse(&self, filter: &Filter, page: &Cursor) -> Result<Page, QueueError> {
        if !letters::asked_for(filter, &self.home.block) {
            return Ok(Page::default());
        }
        let wrong = |after: &String| QueueError::Refused(format!("{after:?} is no cursor of an earlier answer"));
        let after = page.after.as_ref().map(|after| place(after).ok_or_else(|| wrong(after))).transpose()?;
        let now = Timestamp::now();
        let wanted = |failure: &FailureDocument, message: &Message| letters::matches(filter, failure, message, now);
        let (found, next) = self.letters(after.unwrap_or_default(), page.limit, wanted).await?;
        let entries = found.iter().map(|(letter, _)| letters::entry(&self.home.block, letter, false)).collect();
        Ok(Page { entries, next: next.map(|(partition, offset)| format!("{partition}/{offset}")), looked: None })
    }

    async fn find(&self, queue: Option<&str>, id: &str) -> Result<Option<Entry>, QueueError> {
        if queue.is_some_and(|queue| !letters::is_of(queue, &self.home.block)) {
            return Ok(None);
        }
        Ok(self.letter(id).await?.map(|(letter, _)| letters::entry(&self.home.block, &letter, true)))
    }

    async fn ended(&self, queue: &str, id: &str, _wait: Duration) -> Result<Option<Entry>, QueueError> {
        self.find(Some(queue), id).await
    }

    async fn act(&self, _queue: &str, id: &str, action: &Action) -> Result<Acted, QueueError> {
        let by = match action {
            Action::Replay => None,
            Action::Discard { by } => Some(by.as_str()),
            Action::Cancel { .. } | Action::RunNow => return Err(unable("to cancel or run now a job that waits")),
        };
        let _turn = self.acting.lock().await;
        let Some((letter, (partition, offset))) = self.letter(id).await? else { return Ok(Acted::NotFound) };
        let (producers, names) = (&self.home.producers, &self.home.topics.names);
        if by.is_none() {
            producers.send(&names.retry(), &letters::again(&letter), &Beside::default()).await?;
        }
        // a death in between leaves a letter that was replayed: twice is better than never
        let note = serde_json::json!({ "id": id, "at": Timestamp::now(), "discarded_by": by });
        let key = Some(format!("{partition}/{offset}").into());
        let note = Message { key, ..Message::of(note.to_string()) };
        producers.send(&names.handled(), &note, &Beside::default()).await?;
        Ok(Acted::Done)
    }

    async fn pause(&self, _queue: &str, _paused: bool) -> Result<(), QueueError> {
        Err(unable("to pause a queue"))
    }
}
