//! Replay or discard many dead letters: worked through page by page, bounded per request, in steps that can be stopped.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::dead_letters::{STEP, TURN, dead, died};
use super::jobs::SOMEBODY;
use super::request::{filter, instructions};
use super::{Desk, Refusal};
use crate::ports::{Acted, Action, Cursor, Entry, Filter, Looked};

/// Dead letters of one request when none is asked for, and at most.
const LIMIT: usize = 500;
const LARGEST_LIMIT: usize = 5000;
/// Acted on at once, so that they share commits.
const AT_ONCE: usize = 64;
/// Ids in an answer.
const IDS: usize = 20;

/// What one request is to do, beside its filter.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Order {
    /// Count and name them, and change nothing.
    pub dry_run: bool,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Meant for every dead letter there is: needed where the filter is empty.
    pub all: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What the answer before said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What one request did.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    pub dry_run: bool,
    pub count: usize,
    /// Were gone, or died again since the first request.
    pub skipped: usize,
    /// The first of them.
    pub ids: Vec<Arc<str>>,
    pub more: bool,
    /// To be sent with the next request, when there is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looked: Vec<Looked>,
}

pub(super) async fn replay(State(desk): State<Arc<Desk>>, body: Body) -> Result<Json<Progress>, Refusal> {
    let (order, filter) = read(&desk, body).await?;
    work(&desk, &filter, order, &Action::Replay).await.map(Json)
}

pub(super) async fn discard(State(desk): State<Arc<Desk>>, body: Body) -> Result<Json<Progress>, Refusal> {
    let (order, filter) = read(&desk, body).await?;
    let by = order.by.clone().unwrap_or_else(|| SOMEBODY.into());
    work(&desk, &filter, order, &Action::Discard { by }).await.map(Json)
}

/// The order and the filter stand side by side in one document; a key that is neither's is refused.
async fn read(desk: &Desk, body: Body) -> Result<(Order, Filter), Refusal> {
    let mut keys: Map<String, Value> = instructions(desk, body).await?;
    let ours = ["dry_run", "limit", "all", "by", "next"].iter().filter_map(|key| keys.remove_entry(*key)).collect();
    let order: Order = serde_json::from_value(Value::Object(ours)).map_err(|error| Refusal::bad(format!("the body: {error}")))?;
    if keys.is_empty() && !order.all {
        return Err(Refusal::bad("this would be every dead letter: name a filter, or say \"all\": true"));
    }
    Ok((order, dead(filter(keys)?)?))
}

/// `next` is `<start of the first request in ms>/<cursor>`: what dies later is not taken, else a replay of a job that
/// fails at once would go round for ever.
async fn work(desk: &Desk, filter: &Filter, order: Order, action: &Action) -> Result<Progress, Refusal> {
    let (began, mut after) = resume(order.next.as_deref())?;
    let limit = order.limit.unwrap_or(LIMIT).clamp(1, LARGEST_LIMIT);
    let mut progress = Progress { dry_run: order.dry_run, ..Progress::default() };
    let start = Instant::now();
    loop {
        let room = (limit - progress.count).min(STEP);
        let page = desk.browse(filter, &Cursor { after, limit: room }).await?;
        for (id, acted) in take(desk, page.entries, began, (!order.dry_run).then_some(action)).await? {
            progress.note(id, acted);
        }
        progress.looked.extend(page.looked);
        after = page.next;
        if after.is_none() || progress.count >= limit || start.elapsed() > TURN {
            progress.more = after.is_some();
            progress.next = after.map(|after| format!("{}/{after}", began.as_millisecond()));
            return Ok(progress);
        }
    }
}

/// Acts on a page, many at once; without an action they are only counted.
async fn take(
    desk: &Desk,
    entries: Vec<Entry>,
    began: Timestamp,
    action: Option<&Action>,
) -> Result<Vec<(Arc<str>, bool)>, Refusal> {
    let one = |entry: Entry| async move {
        let done = match action {
            _ if died(&entry) > began => false,
            None => true,
            Some(action) => {
                let place = desk.place(&entry.queue).await?;
                desk.admin(&place).act(&place.inner, &entry.id, action).await? == Acted::Done
            }
        };
        Ok::<_, Refusal>((entry.id, done))
    };
    let results: Vec<_> = stream::iter(entries.into_iter().map(one)).buffered(AT_ONCE).collect().await;
    results.into_iter().collect()
}

fn resume(next: Option<&str>) -> Result<(Timestamp, Option<String>), Refusal> {
    let Some(next) = next else { return Ok((Timestamp::now(), None)) };
    let wrong = || Refusal::bad(format!("next: {next:?} is not what an earlier answer gave"));
    let (began, after) = next.split_once('/').ok_or_else(wrong)?;
    let began = began.parse().ok().and_then(|millis| Timestamp::from_millisecond(millis).ok()).ok_or_else(wrong)?;
    Ok((began, Some(after.to_owned())))
}

impl Progress {
    fn note(&mut self, id: Arc<str>, acted: bool) {
        if !acted {
            self.skipped += 1;
            return;
        }
        self.count += 1;
        if self.ids.len() < IDS {
            self.ids.push(id);
        }
    }
}
