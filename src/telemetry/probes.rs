//! `/metrics`, `/health` and `/ready`: what an orchestrator and a scraper ask, without a token.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use serde::Serialize;

use super::Telemetry;

/// How long a scrape waits for counts that must be looked up; it shows the last ones then.
const LOOK_UP: Duration = Duration::from_secs(2);

/// What the worker knows of itself. Health is about progress, not about sockets.
#[async_trait]
pub trait Progress: Send + Sync {
    /// Whether jobs are admitted; false from the first stage of a stop.
    fn ready(&self) -> bool;
    fn health(&self) -> Health;
    /// Brings what is looked up and not counted up to date, such as the depths of queues.
    async fn refresh(&self);
}

/// How a worker is, as the worst of what was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    pub status: Status,
    pub checks: Vec<Check>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Ok,
    /// Something is wrong that may pass or that others live with; a restart would not help.
    Degraded,
    /// Nothing has moved for too long: restart it.
    Stuck,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked, such as `source jobs` or `exit results`.
    pub name: String,
    pub status: Status,
    /// A sentence for the operator; empty when all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl Health {
    #[must_use]
    pub fn of(checks: Vec<Check>) -> Self {
        let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
        Health { status, checks }
    }
}

#[derive(Clone)]
struct Probed {
    telemetry: Telemetry,
    progress: Arc<dyn Progress>,
}

/// The three pages.
pub fn router(telemetry: Telemetry, progress: Arc<dyn Progress>) -> Router {
    let pages = Router::new().route("/metrics", get(metrics)).route("/health", get(health)).route("/ready", get(ready));
    pages.with_state(Probed { telemetry, progress })
}

async fn metrics(State(probed): State<Probed>) -> Response {
    if tokio::time::timeout(LOOK_UP, probed.progress.refresh()).await.is_err() {
        tracing::warn!("queue counts in /metrics are old: they could not be looked up within {LOOK_UP:?}");
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, probed.telemetry.render()).into_response()
}

async fn health(State(probed): State<Probed>) -> Response {
    let health = probed.progress.health();
    (code(health.status != Status::Stuck), Json(health)).into_response()
}

async fn ready(State(probed): State<Probed>) -> Response {
    let ready = probed.progress.ready();
    (code(ready), Json(serde_json::json!({ "ready": ready }))).into_response()
}

fn code(well: bool) -> StatusCode {
    if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::clock::Clock;
    use crate::ports::{PartitionLag, QueueStats};

    struct Worker {
        ready: bool,
        status: Status,
        telemetry: Telemetry,
        looks_up: bool,
    }

    #[async_trait]
    impl Progress for Worker {
        fn ready(&self) -> bool {
            self.ready
        }

        fn health(&self) -> Health {
            let check = |status| Check { name: "source jobs".into(), status, message: String::new(), since: None };
            Health::of(vec![check(Status::Ok), check(self.status)])
        }

        async fn refresh(&self) {
            if !self.looks_up {
                std::future::pending::<()>().await;
            }
            let stats = QueueStats {
                queue: "jobs".into(),
                waiting: 7,
                completed: Some(3),
                consumers: Some(2),
                lag: vec![PartitionLag { topic: "orders".into(), partition: 1, lag: 5 }],
                ..QueueStats::default()
            };
            self.telemetry.queue("jobs", Clock::System).observe(&stats);
        }
    }

    fn worker(ready: bool, status: Status) -> Worker {
        Worker { ready, status, telemetry: Telemetry::install().unwrap(), looks_up: true }
    }

    async fn ask(worker: Worker, path: &str) -> (u16, String) {
        let router = router(worker.telemetry.clone(), Arc::new(worker));
        let answer = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_worker_that_is_stuck_or_not_ready_says_so_by_its_status_code() {
        assert_eq!(ask(worker(true, Status::Ok), "/ready").await, (200, "{\"ready\":true}".into()));
        assert_eq!(ask(worker(false, Status::Ok), "/ready").await.0, 503);
        assert_eq!(ask(worker(false, Status::Ok), "/health").await.0, 200);
        let (code, body) = ask(worker(true, Status::Degraded), "/health").await;
        assert_eq!((code, body.starts_with("{\"status\":\"degraded\"")), (200, true), "{body}");
        assert_eq!(ask(worker(true, Status::Stuck), "/health").await.0, 503);
    }

    #[tokio::test]
    async fn queue_depths_are_looked_up_for_a_scrape() {
        let (code, body) = ask(worker(true, Status::Ok), "/metrics").await;
        assert_eq!(code, 200);
        assert!(body.contains("windlass_queue_jobs{queue=\"jobs\",state=\"waiting\"} 7"), "{body}");
        assert!(body.contains("windlass_queue_ended_total{queue=\"jobs\",end=\"completed\"} 3"), "{body}");
        assert!(!body.contains("state=\"delayed\""), "what nobody knows is not shown: {body}");
        assert!(body.contains("windlass_queue_consumers{queue=\"jobs\"} 2"), "{body}");
        assert!(body.contains("windlass_queue_lag{queue=\"jobs\",topic=\"orders\",partition=\"1\"} 5"), "{body}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_does_not_answer_does_not_hold_a_scrape_up() {
        let deaf = Worker { looks_up: false, ..worker(true, Status::Ok) };
        let (code, body) = ask(deaf, "/metrics").await;
        assert_eq!((code, body.contains("windlass_build_info")), (200, true));
    }
}
