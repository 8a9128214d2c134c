//! What is written over a message that lies in the service and cannot be changed there: a tag of the queue of dead letters,
//! named after the message. It is there until the marked message is settled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::system::System;
use super::{topology, trouble};
use crate::job::Life;
use crate::ports::QueueError;

/// What the names of our tags begin with.
const PREFIX: &str = "windlass-mark-";
/// The most marks at once: a queue has fifty tags, and some may be its owner's.
const MOST: usize = 40;
/// A mark that nobody has renewed for so long is nobody's: no message lives longer.
const FORGOTTEN: Duration = Duration::from_secs(14 * 24 * 3600);
/// How long what was read holds: a mark is written well before the message can come again.
const FRESH: Duration = Duration::from_secs(1);

/// What a mark says: what of the life is counted, and how many deliveries are held against the job no more.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mark {
    pub suspect: bool,
    pub attempt: u32,
    pub crashes: u32,
    pub due: Option<Timestamp>,
    pub forgiven: u32,
    written: Timestamp,
}

impl Mark {
    pub fn new(life: &Life, forgiven: u32) -> Self {
        let Life { suspect, attempt, crashes, due, .. } = *life;
        Mark { suspect, attempt, crashes, due, forgiven, written: Timestamp::now() }
    }

    /// Onto the life that the message carries.
    pub fn onto(&self, life: &mut Life) {
        (life.suspect, life.attempt, life.crashes, life.due) = (self.suspect, self.attempt, self.crashes, self.due);
    }

    /// Digits and spaces: a tag holds no braces.
    fn spell(&self) -> String {
        let due = self.due.map_or(-1, Timestamp::as_millisecond);
        let (suspect, written) = (u8::from(self.suspect), self.written.as_millisecond());
        format!("{suspect} {} {} {due} {} {written}", self.attempt, self.crashes, self.forgiven)
    }

    fn read(text: &str) -> Option<Self> {
        let numbers: Vec<i64> = text.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [suspect, attempt, crashes, due, forgiven, written] = numbers[..] else { return None };
        Some(Mark {
            suspect: suspect == 1,
            attempt: attempt.try_into().ok()?,
            crashes: crashes.try_into().ok()?,
            due: (due >= 0).then(|| Timestamp::from_millisecond(due).ok()).flatten(),
            forgiven: forgiven.try_into().ok()?,
            written: Timestamp::from_millisecond(written).ok()?,
        })
    }
}

type Marks = Arc<HashMap<String, Mark>>;

/// What was read last.
#[derive(Default)]
pub(super) struct Seen(Mutex<Option<(Instant, Marks)>>);

/// All marks, by the id of the message.
///
/// # Errors
/// When the service cannot be asked.
pub(super) async fn read(system: &System) -> Result<Marks, QueueError> {
    let known = system.marks.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((_, marks)) = known.filter(|(at, _)| at.elapsed() < FRESH) {
        return Ok(marks);
    }
    let (began, dead) = (Instant::now(), topology::dead(&system.home));
    let mut marks = HashMap::new();
    if let Some(url) = system.find(&dead.name).await? {
        match system.client().await.list_queue_tags().queue_url(&*url).send().await {
            Ok(answer) => {
                let ours = answer
                    .tags
                    .into_iter()
                    .flatten()
                    .filter_map(|(name, text)| Some((name.strip_prefix(PREFIX)?.to_owned(), Mark::read(&text)?)));
                marks.extend(ours);
            }
            Err(error) if trouble::is_missing(&error) => system.forget(&dead.name),
            Err(error) if trouble::is_denied(&error) => {
                tracing::warn!("jobs that kill their worker cannot be found: {}", said(system, &dead.name, &error));
            }
            Err(error) => return Err(said(system, &dead.name, &error)),
        }
    }
    let marks = Arc::new(marks);
    *system.marks.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((began, marks.clone()));
    Ok(marks)
}

/// Writes a mark, durably.
///
/// # Errors
/// Why it is not written, or not known to be.
pub(super) async fn write(system: &System, message: &str, mark: &Mark) -> Result<(), QueueError> {
    let marks = read(system).await?;
    if marks.len() >= MOST && !marks.contains_key(message) {
        let old = marks.iter().filter(|(_, mark)| mark.written + FORGOTTEN < Timestamp::now()).map(|(id, _)| id.as_str());
        let old: Vec<&str> = old.collect();
        if old.is_empty() {
            return Err(QueueError::Unavailable(format!("{MOST} messages are marked already, as many as there can be")));
        }
        remove(system, &old).await;
    }
    let dead = topology::dead(&system.home);
    let url = system.url(&dead).await?;
    let tagged = system.client().await.tag_queue().queue_url(&*url).tags(format!("{PREFIX}{message}"), mark.spell()).send().await;
    system.marks.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    tagged.map(drop).map_err(|error| said(system, &dead.name, &error))
}

/// The marked messages are settled.
pub(super) async fn remove(system: &System, messages: &[&str]) {
    let dead = topology::dead(&system.home);
    let Ok(Some(url)) = system.find(&dead.name).await else { return };
    let keys = messages.iter().map(|message| format!("{PREFIX}{message}")).collect();
    let untagged = system.client().await.untag_queue().queue_url(&*url).set_tag_keys(Some(keys)).send().await;
    system.marks.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Err(error) = untagged {
        tracing::debug!("marks are left to be forgotten: {}", said(system, &dead.name, &error));
    }
}

fn said<E>(
    system: &System,
    queue: &str,
    error: &aws_sdk_sqs::error::SdkError<E, aws_sdk_sqs::config::http::HttpResponse>,
) -> QueueError
where
    E: aws_sdk_sqs::error::ProvideErrorMetadata + std::error::Error + 'static,
{
    trouble::doing(&format!("the marks of suspects, tags of queue {queue:?},"), &system.place, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let due = Some(Timestamp::from_millisecond(1_764_322_222_123).unwrap());
        for life in [Life { suspect: true, attempt: 7, crashes: 2, due, ..Life::default() }, Life::default()] {
            let mark = Mark::new(&life, 4);
            let again = Mark::read(&mark.spell()).unwrap();
            let mut read = Life::default();
            again.onto(&mut read);
            assert_eq!((read, again.forgiven), (life, 4));
        }
        assert_eq!(Mark::read("1 2"), None);
    }
}
