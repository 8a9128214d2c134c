//! The worker behind the desk, and the proof that nothing was lost.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Desk, Refusal, WorkerFacts};
use crate::clock::between;
use crate::engine::running::RunningJob;

/// Who works here, and on what.
#[derive(Debug, Serialize, Deserialize)]
pub struct WorkerView {
    #[serde(flatten)]
    pub facts: WorkerFacts,
    /// Seconds.
    pub uptime: u64,
    /// The longest first, without their logs.
    pub running: Vec<RunningJob>,
}

pub(super) async fn show(State(desk): State<Arc<Desk>>) -> Result<Json<WorkerView>, Refusal> {
    let (facts, shared) = desk.worker.as_ref().ok_or_else(no_worker)?;
    let mut running = shared.running.list();
    for job in &mut running {
        job.log_tail.clear();
    }
    let uptime = between(facts.started, Timestamp::now()).as_secs();
    Ok(Json(WorkerView { facts: facts.clone(), uptime, running }))
}

/// Has the worker read its config again.
pub(super) async fn reload(State(desk): State<Arc<Desk>>) -> Result<Json<Value>, Refusal> {
    let reload = desk.reload.as_ref().ok_or_else(no_worker)?;
    reload().await.map(Json).map_err(|why| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, why))
}

pub(super) fn no_worker() -> Refusal {
    Refusal::not_found("no worker lives here: start one with windlass run")
}

/// Audits every system that keeps a ledger.
pub(super) async fn audit(State(desk): State<Arc<Desk>>) -> Result<Json<Value>, Refusal> {
    let mut systems = Vec::new();
    for system in &desk.systems {
        let Some(auditor) = &system.auditor else { continue };
        let report = auditor().await.map_err(|why| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why))?;
        systems.push(json!({ "file": system.name, "audit": report }));
    }
    let ok = systems.iter().all(|system| system["audit"]["ok"] == true);
    Ok(Json(json!({ "ok": ok, "systems": systems })))
}
