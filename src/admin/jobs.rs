//! Jobs: list them, look at one, wait for its end, cancel it, run it now.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::desk::{LONGEST_WAIT, Place};
use super::request::{Asked, Named, instructions};
use super::view::JobView;
use super::{Desk, Refusal};
use crate::engine::running::Cancelled;
use crate::ports::{Acted, Action, Cursor, Entry, Page, State as JobState};

/// Entries of a page when none is asked for, and at most.
const PAGE: usize = 100;
const LONGEST_PAGE: usize = 1000;

/// A job that starts or ends right now is neither waiting nor running for a moment.
const TRIES: usize = 10;
const BETWEEN: Duration = Duration::from_millis(20);

/// Who did it, where a caller does not say.
pub(super) const SOMEBODY: &str = "operator";

pub(super) async fn list(State(desk): State<Arc<Desk>>, mut asked: Asked) -> Result<Json<Page>, Refusal> {
    let cursor = cursor(&mut asked)?;
    desk.browse(&asked.filter()?, &cursor).await.map(Json)
}

/// `after` and `limit`, as every list takes them.
pub(super) fn cursor(asked: &mut Asked) -> Result<Cursor, Refusal> {
    let limit = asked.number("limit")?.unwrap_or(PAGE).clamp(1, LONGEST_PAGE);
    Ok(Cursor { after: asked.take("after"), limit })
}

pub(super) async fn show(State(desk): State<Arc<Desk>>, Named(id): Named, mut asked: Asked) -> Result<Json<JobView>, Refusal> {
    let (queue, wait) = (asked.take("queue"), asked.duration("wait")?);
    asked.end()?;
    let (place, entry) = desk.find(queue.as_deref(), &id).await?;
    let entry = match wait {
        Some(wait) if !has_ended(&entry) => wait_for_end(&desk, &place, &id, wait).await?.unwrap_or(entry),
        _ => entry,
    };
    let mut view = JobView::new(entry, desk.shared().and_then(|shared| shared.running.find(&place.name, &id)));
    view.beside.waits_for = desk.why(&mut view.entry).map(|why| why.as_str().to_owned());
    Ok(Json(view))
}

async fn wait_for_end(desk: &Desk, place: &Place, id: &str, wait: Duration) -> Result<Option<Entry>, Refusal> {
    let ended = desk.admin(place).ended(&place.inner, id, wait.min(LONGEST_WAIT));
    let entry = desk.closing.run_until_cancelled(ended).await.transpose()?.flatten();
    Ok(entry.map(|entry| Entry { queue: place.name.clone(), ..entry }))
}

pub(super) fn has_ended(entry: &Entry) -> bool {
    matches!(entry.state, JobState::Completed | JobState::Dead | JobState::Discarded | JobState::Moved)
}

/// How a job is to be cancelled.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cancel {
    /// Named in the dead letter, or in the record of the end.
    pub by: Option<String>,
    /// Leave no dead letter.
    pub discard: bool,
}

pub(super) async fn cancel(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
    mut asked: Asked,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let queue = asked.take("queue");
    asked.end()?;
    let Cancel { by, discard } = instructions(&desk, body).await?;
    let by = by.unwrap_or_else(|| SOMEBODY.into());
    let (place, _) = desk.find(queue.as_deref(), &id).await?;
    let action = Action::Cancel { by: by.clone(), discard };
    let why = Cancelled::Operator { by: by.into(), discard };
    for _ in 0..TRIES {
        if desk.shared().is_some_and(|shared| shared.cancel(&place.name, &id, &why)) {
            return Ok(Json(json!({ "id": id, "queue": place.name, "done": "asked to end" })));
        }
        match desk.admin(&place).act(&place.inner, &id, &action).await? {
            Acted::NotNow(JobState::Running) => tokio::time::sleep(BETWEEN).await,
            acted => return told(&place, &id, &action, acted),
        }
    }
    Err(Refusal::conflict(format!("the job {id:?} is just starting or ending, or runs in another worker: try again")))
}

pub(super) async fn retry(State(desk): State<Arc<Desk>>, Named(id): Named, mut asked: Asked) -> Result<Json<Value>, Refusal> {
    let queue = asked.take("queue");
    asked.end()?;
    let (place, _) = desk.find(queue.as_deref(), &id).await?;
    act(&desk, &place, &id, Action::RunNow).await
}

/// Acts on one job and says what was done, or why nothing was.
pub(super) async fn act(desk: &Desk, place: &Place, id: &str, action: Action) -> Result<Json<Value>, Refusal> {
    let acted = desk.admin(place).act(&place.inner, id, &action).await?;
    told(place, id, &action, acted)
}

fn told(place: &Place, id: &str, action: &Action, acted: Acted) -> Result<Json<Value>, Refusal> {
    match acted {
        Acted::Done => Ok(Json(json!({ "id": id, "queue": place.name, "done": done(action) }))),
        Acted::NotFound => Err(Refusal::not_found(format!("the job {id:?} is gone: it ended a moment ago"))),
        Acted::NotNow(state) => Err(Refusal::conflict(not_now(id, action, state))),
    }
}

fn done(action: &Action) -> &'static str {
    match action {
        Action::Cancel { discard: false, .. } => "cancelled; it lies in the dead letters as aborted",
        Action::Cancel { discard: true, .. } => "cancelled and discarded",
        Action::RunNow => "it is to run now",
        Action::Replay => "replayed",
        Action::Discard { .. } => "discarded",
    }
}

fn not_now(id: &str, action: &Action, state: JobState) -> String {
    let wish = match action {
        Action::Cancel { .. } => "only a job that waits or runs can be cancelled",
        Action::RunNow if state == JobState::Dead => "a dead letter is replayed, not retried: use replay",
        Action::RunNow => "only a delayed or parked job can be told to run now",
        Action::Replay => "only a dead letter can be replayed",
        Action::Discard { .. } => "only a dead letter can be discarded; a job that waits is cancelled",
    };
    format!("the job {id:?} is {}: {wish}", state_word(state))
}

/// A state in the spelling of the documents.
#[must_use]
pub fn state_word(state: JobState) -> &'static str {
    match state {
        JobState::Waiting => "waiting",
        JobState::Delayed => "delayed",
        JobState::Parked => "parked",
        JobState::Running => "running",
        JobState::Dead => "dead",
        JobState::Completed => "completed",
        JobState::Discarded => "discarded",
        JobState::Moved => "moved",
    }
}
