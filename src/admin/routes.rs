//! The routes of the living worker: what runs on what, by which rules, and how much of it waits or runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::request::Asked;
use super::worker::no_worker;
use super::{Desk, Refusal};
use crate::engine::Shared;
use crate::engine::limits::Limit;
use crate::engine::pool::Pool;
use crate::engine::routes::Route;
use crate::units::Rate;

/// A route of a pool, as it is in force now.
#[derive(Debug, Serialize, Deserialize)]
pub struct RouteView {
    pub pool: String,
    /// The type, with the version where it has one.
    pub route: String,
    pub executor: String,
    pub attempts: u32,
    /// Its jobs run in the order of their keys.
    pub ordered: bool,
    pub weight: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_worker: Option<Rate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    pub running: usize,
    /// Jobs that were taken and wait, by the reasons of `windlass_waiting`.
    pub waiting: BTreeMap<String, usize>,
}

pub(super) async fn list(State(desk): State<Arc<Desk>>, asked: Asked) -> Result<Json<Value>, Refusal> {
    asked.end()?;
    let shared = desk.shared().ok_or_else(no_worker)?;
    Ok(Json(json!({ "routes": views(shared) })))
}

fn views(shared: &Shared) -> Vec<RouteView> {
    let mut running: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for job in shared.running.list() {
        *running.entry(job.route).or_default() += 1;
    }
    let mut views = Vec::new();
    for pool in shared.pools() {
        let mut waiting = pool.window.census();
        views.extend(pool.routes.load().iter().map(|route| {
            let waiting = waiting.remove(&route.name).unwrap_or_default();
            view(&pool, route, running.get(&route.name).copied().unwrap_or_default(), waiting)
        }));
    }
    views
}

fn view(pool: &Pool, route: &Route, running: usize, waiting: BTreeMap<&'static str, usize>) -> RouteView {
    let Limit { rate, concurrency } = route.rules.limit;
    RouteView {
        pool: pool.name.to_string(),
        route: route.name.to_string(),
        executor: route.executor_name.to_string(),
        attempts: route.policy.attempts,
        ordered: route.rules.ordered,
        weight: route.rules.weight,
        rate_per_worker: rate,
        concurrency,
        running,
        waiting: waiting.into_iter().map(|(why, count)| (why.to_owned(), count)).collect(),
    }
}
