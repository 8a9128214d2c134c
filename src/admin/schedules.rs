//! Schedules: what is due next, and their jobs now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::request::{Asked, Named};
use super::{Desk, Refusal};
use crate::state::StateError;

/// Due times shown of each schedule when no number is asked for, and at most.
const NEXT: usize = 1;
const MOST: usize = 100;

impl From<StateError> for Refusal {
    fn from(error: StateError) -> Self {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

pub(super) async fn list(State(desk): State<Arc<Desk>>, mut asked: Asked) -> Result<Json<Value>, Refusal> {
    let count = asked.number("next")?.unwrap_or(NEXT).clamp(1, MOST);
    asked.end()?;
    let schedules = match &desk.schedules {
        Some(schedules) => schedules.view(count).await?,
        None => Vec::new(),
    };
    Ok(Json(json!({ "schedules": schedules })))
}

pub(super) async fn run(State(desk): State<Arc<Desk>>, Named(name): Named) -> Result<(StatusCode, Json<Value>), Refusal> {
    let ran = match &desk.schedules {
        Some(schedules) => schedules.run_now(&name).await?,
        None => None,
    };
    let (queue, id) = ran.ok_or_else(|| unknown(&desk, &name))?;
    Ok((StatusCode::CREATED, Json(json!({ "schedule": name, "queue": queue, "id": id }))))
}

fn unknown(desk: &Desk, name: &str) -> Refusal {
    let names: Vec<&str> = desk.schedules.iter().flat_map(|schedules| schedules.names()).map(|name| &**name).collect();
    let there = if names.is_empty() { "the config has none".into() } else { format!("there are: {}", names.join(", ")) };
    Refusal::not_found(format!("there is no schedule {name:?}; {there}"))
}
