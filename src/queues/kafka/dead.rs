//! The dead letters of a queue, for operators: browsed by offset, and those that were dealt with named in a log beside them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::queue::Home;
use super::wire::Beside;
use crate::clock::between;
use crate::job::{DEFAULT_PRIORITY, FAILURE_HEADER, FailureDocument, JOB_HEADER, Message};
use crate::ports::{
    Acted, Action, Admin, Cursor, Entry, Filter, NewJob, Outgoing, Page, Queue, QueueError, QueueStats, State, Submitted,
};

/// Letters that are read at a time.
const CHUNK: usize = 500;

/// A record of a topic, and where it lies.
pub struct Letter {
    pub partition: i32,
    pub offset: i64,
    pub message: Message,
    pub published: Option<Timestamp>,
}

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
    ) -> Result<(Vec<(Letter, FailureDocument)>, Option<(i32, i64)>), QueueError> {
        let (topics, handled, mut found) = (&self.home.topics, self.handled().await?, Vec::new());
        loop {
            let letters = topics.read(&topics.names.dead(), after, CHUNK).await?;
            if letters.is_empty() {
                return Ok((found, None));
            }
            for letter in letters {
                after = (letter.partition, letter.offset + 1);
                let document = letter.message.header(FAILURE_HEADER).and_then(|json| serde_json::from_slice(json).ok());
                let Some(document) = document.filter(|document| wanted(document, &letter.message)) else { continue };
                if !handled.contains(&(letter.partition, letter.offset)) {
                    found.push((letter, document));
                }
                if found.len() == limit {
                    return Ok((found, Some(after)));
                }
            }
        }
    }

    async fn letter(&self, id: &str) -> Result<Option<(Letter, FailureDocument)>, QueueError> {
        Ok(self.letters((0, 0), 1, |document, _| *document.id == *id).await?.0.pop())
    }

    fn entry(&self, letter: Letter, failure: FailureDocument, whole: bool) -> Entry {
        let size = letter.message.size();
        Entry {
            queue: self.home.block.clone(),
            id: failure.id.clone(),
            state: State::Dead,
            kind: failure.kind.clone(),
            tenant: failure.tenant.clone(),
            priority: DEFAULT_PRIORITY,
            submitted: failure.first_seen.or(letter.published).unwrap_or(failure.last_failure),
            due: None,
            ended: Some(letter.published.unwrap_or(failure.last_failure)),
            life: failure.life(),
            failure: Some(failure),
            event: None,
            size,
            message: whole.then_some(letter.message),
        }
    }

    fn is_ours(&self, queue: &str) -> bool {
        queue == &*self.home.block || queue.strip_suffix(".dead") == Some(&*self.home.block)
    }
}

/// Reads `<partition>/<offset>`.
fn place(text: &str) -> Option<(i32, i64)> {
    let (partition, offset) = text.split_once('/')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

fn matches(filter: &Filter, failure: &FailureDocument, message: &Message, now: Timestamp) -> bool {
    let is = |wanted: &Option<String>, found: Option<&str>| wanted.as_ref().is_none_or(|wanted| found == Some(wanted));
    let kind = filter.kind.as_ref().is_none_or(|glob| {
        let kind = failure.kind.as_deref().unwrap_or_default();
        glob.strip_suffix('*').map_or(kind == glob, |start| kind.starts_with(start))
    });
    let age = between(failure.last_failure, now);
    let text = filter
        .text
        .as_ref()
        .is_none_or(|text| failure.message.contains(text) || String::from_utf8_lossy(&message.body).contains(text.as_str()));
    kind && text
        && is(&filter.reason, Some(failure.reason.as_str()))
        && is(&filter.class, Some(failure.class.as_str()))
        && is(&filter.route, failure.route.as_deref())
        && is(&filter.tenant, failure.tenant.as_deref())
        && filter.older_than.is_none_or(|least| age >= least.0)
        && filter.newer_than.is_none_or(|most| age <= most.0)
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
        let parked: Vec<String> = topics.list().await?.into_keys().filter(|topic| names.place_of(topic).is_some()).collect();
        let waiting = topics.left(&[names.topic.to_string(), names.retry()], Default::default()).await?;
        let parked = topics.left(&parked, Default::default()).await?;
        let (letters, _) = self.letters((0, 0), usize::MAX, |_, _| true).await?;
        Ok(vec![QueueStats {
            queue: self.home.block.clone(),
            waiting,
            delayed: 0,
            parked,
            running: 0,
            dead: letters.len() as u64,
            completed: 0,
            discarded: 0,
            oldest: None,
            paused: false,
        }])
    }

    async fn browse(&self, filter: &Filter, page: &Cursor) -> Result<Page, QueueError> {
        let none = Page { entries: Vec::new(), next: None };
        let elsewhere = filter.queue.as_ref().is_some_and(|queue| !self.is_ours(queue));
        if elsewhere || filter.state.is_some_and(|state| state != State::Dead) {
            return Ok(none);
        }
        let wrong = |after: &String| QueueError::Refused(format!("{after:?} is no cursor of an earlier answer"));
        let after = page.after.as_ref().map(|after| place(after).ok_or_else(|| wrong(after))).transpose()?;
        let now = Timestamp::now();
        let wanted = |failure: &FailureDocument, message: &Message| matches(filter, failure, message, now);
        let (letters, next) = self.letters(after.unwrap_or_default(), page.limit, wanted).await?;
        let entries = letters.into_iter().map(|(letter, failure)| self.entry(letter, failure, false)).collect();
        Ok(Page { entries, next: next.map(|(partition, offset)| format!("{partition}/{offset}")) })
    }

    async fn find(&self, queue: Option<&str>, id: &str) -> Result<Option<Entry>, QueueError> {
        if queue.is_some_and(|queue| !self.is_ours(queue)) {
            return Ok(None);
        }
        Ok(self.letter(id).await?.map(|(letter, failure)| self.entry(letter, failure, true)))
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
        let Some((letter, failure)) = self.letter(id).await? else { return Ok(Acted::NotFound) };
        let (producers, names) = (&self.home.producers, &self.home.topics.names);
        if by.is_none() {
            let mut message = letter.message;
            message.remove_header(FAILURE_HEADER);
            message.set_header(JOB_HEADER, failure.life().replayed().to_json());
            producers.send(&names.retry(), &message, &Beside::default()).await?;
        }
        // a death in between leaves a letter that was replayed: twice is better than never
        let note = serde_json::json!({ "id": id, "at": Timestamp::now(), "discarded_by": by });
        let key = Some(format!("{}/{}", letter.partition, letter.offset).into());
        let note = Message { key, ..Message::of(note.to_string()) };
        producers.send(&names.handled(), &note, &Beside::default()).await?;
        Ok(Acted::Done)
    }

    async fn pause(&self, _queue: &str, _paused: bool) -> Result<(), QueueError> {
        Err(unable("to pause a queue"))
    }
}
