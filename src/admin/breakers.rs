//! Breakers: what stands before each executor, and an operator's hand on it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::request::{Asked, Named, instructions};
use super::{Desk, Refusal};
use crate::engine::Shared;
use crate::engine::guard::Hold;
use crate::engine::guards::NotTurned;

/// Who asks for it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct By {
    pub by: Option<String>,
}

pub(super) async fn list(State(desk): State<Arc<Desk>>, asked: Asked) -> Result<Json<Value>, Refusal> {
    asked.end()?;
    Ok(Json(json!({ "breakers": worker(&desk)?.guards.reports() })))
}

pub(super) async fn open(State(desk): State<Arc<Desk>>, Named(executor): Named, body: Body) -> Result<Json<Value>, Refusal> {
    turn(&desk, &executor, true, body).await
}

pub(super) async fn close(State(desk): State<Arc<Desk>>, Named(executor): Named, body: Body) -> Result<Json<Value>, Refusal> {
    turn(&desk, &executor, false, body).await
}

async fn turn(desk: &Desk, executor: &str, open: bool, body: Body) -> Result<Json<Value>, Refusal> {
    let By { by } = instructions(desk, body).await?;
    let (shared, by) = (worker(desk)?, by.as_deref().unwrap_or("an operator"));
    let hold = open.then(|| Hold { by: by.into(), since: shared.clock.now() });
    let turned = shared.guards.turn(executor, by, hold).await.map_err(|why| {
        let status = match why {
            NotTurned::Unknown { .. } => StatusCode::NOT_FOUND,
            NotTurned::Off(_) => StatusCode::CONFLICT,
            NotTurned::Forgotten { .. } => StatusCode::SERVICE_UNAVAILABLE,
        };
        Refusal::new(status, why.to_string())
    })?;
    Ok(Json(json!(turned)))
}

fn worker(desk: &Desk) -> Result<&Shared, Refusal> {
    desk.shared()
        .ok_or_else(|| Refusal::not_found("no worker lives here, and breakers are a worker's: start one with windlass run"))
}
