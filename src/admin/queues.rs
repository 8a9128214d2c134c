//! Queues: their counts, and a switch that stops handing out their jobs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::desk::Counts;
use super::request::{Asked, Named};
use super::{Desk, Refusal};

pub(super) async fn list(State(desk): State<Arc<Desk>>, asked: Asked) -> Result<Json<Counts>, Refusal> {
    asked.end()?;
    Ok(Json(desk.stats().await))
}

pub(super) async fn pause(State(desk): State<Arc<Desk>>, Named(queue): Named) -> Result<Json<Value>, Refusal> {
    switch(&desk, &queue, true).await
}

pub(super) async fn resume(State(desk): State<Arc<Desk>>, Named(queue): Named) -> Result<Json<Value>, Refusal> {
    switch(&desk, &queue, false).await
}

async fn switch(desk: &Desk, queue: &str, paused: bool) -> Result<Json<Value>, Refusal> {
    let place = desk.place(queue).await?;
    desk.admin(&place).pause(&place.inner, paused).await?;
    Ok(Json(json!({ "queue": place.name, "paused": paused })))
}
