//! Breakers: what stands before each executor, and an operator's hand on it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::request::{Asked, Named, instructions};
use super::{Desk, Refusal};
use crate::engine::Shared;

/// Who asks for it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct By {
    pub by: Option<String>,
}

pub(super) async fn list(State(desk): State<Arc<Desk>>, asked: Asked) -> Result<Json<Value>, Refusal> {
    asked.end()?;
    let reports: Vec<_> = worker(&desk)?.guards.all().iter().map(|guard| guard.report()).collect();
    Ok(Json(json!({ "breakers": reports })))
}

pub(super) async fn open(State(desk): State<Arc<Desk>>, Named(executor): Named, body: Body) -> Result<Json<Value>, Refusal> {
    turn(&desk, &executor, true, body).await
}

pub(super) async fn close(State(desk): State<Arc<Desk>>, Named(executor): Named, body: Body) -> Result<Json<Value>, Refusal> {
    turn(&desk, &executor, false, body).await
}

async fn turn(desk: &Desk, executor: &str, open: bool, body: Body) -> Result<Json<Value>, Refusal> {
    let By { by } = instructions(desk, body).await?;
    let guards = &worker(desk)?.guards;
    let guard = guards.get(executor).ok_or_else(|| {
        let names: Vec<String> = guards.all().iter().map(|guard| guard.name.to_string()).collect();
        Refusal::not_found(format!("there is no executor {executor:?}; there are: {}", names.join(", ")))
    })?;
    guard.turn(open, by.as_deref().unwrap_or("an operator")).map_err(Refusal::conflict)?;
    Ok(Json(json!(guard.report())))
}

fn worker(desk: &Desk) -> Result<&Shared, Refusal> {
    desk.shared()
        .ok_or_else(|| Refusal::not_found("no worker lives here, and breakers are a worker's: start one with windlass run"))
}
