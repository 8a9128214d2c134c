//! Job batches: how far they have come, and an end to what has not started.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::jobs::{SOMEBODY, cursor};
use super::request::{Asked, Named, instructions};
use super::{Desk, Refusal};
use crate::batches::{BatchView, Batches, CancelledBatch};

/// Dead jobs that are named of one batch.
const DEAD_JOBS: usize = 20;

/// A page of batches by id.
#[derive(Debug, Serialize, Deserialize)]
pub struct BatchPage {
    pub batches: Vec<BatchView>,
    /// Where the next page starts; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Arc<str>>,
}

pub(super) async fn list(State(desk): State<Arc<Desk>>, mut asked: Asked) -> Result<Json<BatchPage>, Refusal> {
    let page = cursor(&mut asked)?;
    asked.end()?;
    let Some(batches) = &desk.batches else { return Ok(Json(BatchPage { batches: Vec::new(), next: None })) };
    let batches = batches.list(page.after.as_deref(), page.limit).await?;
    let next = batches.last().filter(|_| batches.len() == page.limit).map(|last| last.id.clone());
    Ok(Json(BatchPage { batches, next }))
}

pub(super) async fn show(State(desk): State<Arc<Desk>>, Named(id): Named) -> Result<Json<BatchView>, Refusal> {
    let found = batches(&desk)?.show(&id, DEAD_JOBS).await?;
    found.map(Json).ok_or_else(|| unknown(&id))
}

/// Who cancels.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Cancel {
    by: Option<String>,
}

pub(super) async fn cancel(State(desk): State<Arc<Desk>>, Named(id): Named, body: Body) -> Result<Json<Value>, Refusal> {
    let Cancel { by } = instructions(&desk, body).await?;
    match batches(&desk)?.cancel(&id, by.as_deref().unwrap_or(SOMEBODY)).await? {
        CancelledBatch::Cancelled => {
            Ok(Json(json!({ "id": id, "done": "cancelled; its jobs that have not started are discarded in their turn" })))
        }
        CancelledBatch::Complete => Err(Refusal::conflict(format!("every job of the batch {id:?} has ended"))),
        CancelledBatch::Unknown => Err(unknown(&id)),
    }
}

fn batches(desk: &Desk) -> Result<&Batches, Refusal> {
    let none = || Refusal::not_found("batches are not counted here: the config has no state store; see docs/state.md");
    desk.batches.as_deref().ok_or_else(none)
}

fn unknown(id: &str) -> Refusal {
    Refusal::not_found(format!("there is no batch {id:?}: none of its jobs was taken yet, or it is forgotten by now"))
}
