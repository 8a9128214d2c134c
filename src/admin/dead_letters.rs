//! The dead-letter desk: browse, group, look, replay one, discard one; `bulk.rs` does it for many.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::desk::Place;
use super::jobs::{SOMEBODY, act, cursor};
use super::request::{Asked, Named, instructions};
use super::view::JobView;
use super::{Desk, Refusal};
use crate::job::life::shorten;
use crate::ports::{Action, Cursor, Entry, Filter, Looked, Page, State as JobState};

/// Entries that one request reads at once.
pub(super) const STEP: usize = 500;
/// How long one request works through entries before it answers with where to go on.
pub(super) const TURN: Duration = Duration::from_secs(2);
/// Groups that one request tells apart; what does not fit is counted under `…`.
const MOST_GROUPS: usize = 1000;
/// The longest value of a group, in bytes.
const LONGEST_VALUE: usize = 120;

pub(super) async fn list(State(desk): State<Arc<Desk>>, mut asked: Asked) -> Result<Json<Page>, Refusal> {
    let cursor = cursor(&mut asked)?;
    desk.browse(&dead(asked.filter()?)?, &cursor).await.map(Json)
}

/// The filter, narrowed to dead letters.
pub(super) fn dead(filter: Filter) -> Result<Filter, Refusal> {
    match filter.state {
        None | Some(JobState::Dead) => Ok(Filter { state: Some(JobState::Dead), ..filter }),
        Some(_) => Err(Refusal::bad("state: every dead letter is dead; leave it out")),
    }
}

pub(super) async fn show(State(desk): State<Arc<Desk>>, Named(id): Named, mut asked: Asked) -> Result<Json<JobView>, Refusal> {
    let queue = asked.take("queue");
    asked.end()?;
    let (_, entry) = find_dead(&desk, queue.as_deref(), &id).await?;
    Ok(Json(JobView::new(entry, None)))
}

pub(super) async fn replay(State(desk): State<Arc<Desk>>, Named(id): Named, mut asked: Asked) -> Result<Json<Value>, Refusal> {
    let queue = asked.take("queue");
    asked.end()?;
    let (place, _) = find_dead(&desk, queue.as_deref(), &id).await?;
    act(&desk, &place, &id, Action::Replay).await
}

/// Who discards.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Discard {
    by: Option<String>,
}

pub(super) async fn discard(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
    mut asked: Asked,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let queue = asked.take("queue");
    asked.end()?;
    let Discard { by } = instructions(&desk, body).await?;
    let (place, _) = find_dead(&desk, queue.as_deref(), &id).await?;
    act(&desk, &place, &id, Action::Discard { by: by.unwrap_or_else(|| SOMEBODY.into()) }).await
}

async fn find_dead(desk: &Desk, queue: Option<&str>, id: &str) -> Result<(Place, Entry), Refusal> {
    let (place, entry) = desk.find(queue, id).await?;
    match entry.state {
        JobState::Dead => Ok((place, entry)),
        other => {
            let state = super::jobs::state_word(other);
            Err(Refusal::conflict(format!("the job {id:?} is {state} and no dead letter: see it under jobs")))
        }
    }
}

/// What dead letters are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    Reason,
    Class,
    Type,
    Route,
    Tenant,
    Queue,
    /// The failure message, numbers in it aside.
    Message,
}

/// Dead letters that have something in common.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    pub value: String,
    pub count: u64,
    pub oldest: Timestamp,
    pub newest: Timestamp,
    /// The newest of them.
    pub sample: Sample,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    pub id: Arc<str>,
    pub message: String,
}

/// The groups of what was read; with `next` there is more to read, whose groups add to these.
#[derive(Debug, Serialize, Deserialize)]
pub struct Groups {
    pub groups: Vec<Group>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looked: Vec<Looked>,
}

pub(super) async fn groups(State(desk): State<Arc<Desk>>, mut asked: Asked) -> Result<Json<Groups>, Refusal> {
    let by = asked.take("by").unwrap_or_else(|| "reason".into());
    let by: GroupBy = serde_json::from_value(Value::String(by)).map_err(|error| Refusal::bad(format!("by: {error}")))?;
    let mut next = asked.take("after");
    let filter = dead(asked.filter()?)?;
    let (mut groups, mut looked) = (BTreeMap::new(), Vec::new());
    let start = Instant::now();
    loop {
        let page = desk.browse(&filter, &Cursor { after: next, limit: STEP }).await?;
        for entry in &page.entries {
            count(&mut groups, by, entry);
        }
        looked.extend(page.looked);
        next = page.next;
        if next.is_none() || start.elapsed() > TURN {
            return Ok(Json(Groups { groups: groups.into_values().collect(), next, looked }));
        }
    }
}

fn count(groups: &mut BTreeMap<String, Group>, by: GroupBy, entry: &Entry) {
    let mut value = by.value(entry);
    if groups.len() >= MOST_GROUPS && !groups.contains_key(&value) {
        value = "…".into();
    }
    let message = entry.failure.as_ref().map_or("", |failure| &failure.message);
    let at = died(entry);
    let sample = Sample { id: entry.id.clone(), message: shorten(message, LONGEST_VALUE).to_owned() };
    let group = Group { value: value.clone(), count: 1, oldest: at, newest: at, sample };
    groups.entry(value).and_modify(|known| known.add(group.clone())).or_insert(group);
}

impl Group {
    /// Adds the counts of another part of the same group.
    pub fn add(&mut self, other: Group) {
        self.count += other.count;
        self.oldest = self.oldest.min(other.oldest);
        if other.newest >= self.newest {
            (self.newest, self.sample) = (other.newest, other.sample);
        }
    }
}

impl GroupBy {
    fn value(self, entry: &Entry) -> String {
        let failure = entry.failure.as_ref();
        let text = match self {
            GroupBy::Reason => failure.map(|failure| failure.reason.as_str()),
            GroupBy::Class => failure.map(|failure| failure.class.as_str()),
            GroupBy::Type => entry.kind.as_deref(),
            GroupBy::Route => failure.and_then(|failure| failure.route.as_deref()),
            GroupBy::Tenant => entry.tenant.as_deref(),
            GroupBy::Queue => Some(&*entry.queue),
            GroupBy::Message => return failure.map_or_else(String::new, |failure| without_numbers(&failure.message)),
        };
        text.unwrap_or("-").to_owned()
    }
}

/// The first line with every number as `#`, so that messages that differ in ids and counts fall together.
fn without_numbers(message: &str) -> String {
    let mut text = String::new();
    for character in shorten(message.lines().next().unwrap_or_default(), LONGEST_VALUE).chars() {
        match character {
            '0'..='9' if text.ends_with('#') => {}
            '0'..='9' => text.push('#'),
            other => text.push(other),
        }
    }
    text
}

/// When a dead letter died.
pub(super) fn died(entry: &Entry) -> Timestamp {
    entry.failure.as_ref().map_or(entry.submitted, |failure| failure.last_failure)
}
