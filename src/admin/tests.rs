use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::{Access, Desk, Place, System, router};
use crate::job::Decoding;
use crate::queues::embedded::{EmbeddedConfig, Store, StoreOptions};

mod intake;
mod letters;
mod serving;

/// The API over a store of its own, with one queue `jobs`.
struct Bench {
    router: Router,
    _folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Bench::with(&["jobs"])
    }

    fn with(queues: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = EmbeddedConfig { path: folder.path().join("windlass.db"), ..EmbeddedConfig::default() };
        let store = Store::open(StoreOptions::from(&config)).unwrap();
        let place = |name: &&str| Place {
            name: (*name).into(),
            system: 0,
            inner: format!("{name}-inside").into(),
            decoding: Decoding::Envelope,
            taken: true,
        };
        let system = System { name: "windlass.db".into(), admin: store, auditor: None };
        let desk = Desk::new(vec![system], queues.iter().map(place).collect(), 4096);
        Bench { router: router(Arc::new(desk), Access::Trusted), _folder: folder }
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        self.send(Request::post(path).body(body.into()).unwrap()).await
    }

    async fn lines(&self, lines: &str) -> (StatusCode, Value) {
        let request = Request::post("/jobs").header("content-type", "application/x-ndjson; charset=utf-8");
        self.send(request.body(lines.to_owned().into()).unwrap()).await
    }

    /// Submits jobs with these ids and cancels them, so that they lie in the dead letters.
    async fn bury(&self, ids: &[&str]) {
        for id in ids {
            self.post("/jobs", json!({ "id": id, "type": "x" }).to_string()).await;
            let (status, answer) = self.post(&format!("/jobs/{id}/cancel"), "").await;
            assert_eq!(status, StatusCode::OK, "{answer}");
        }
    }

    async fn dead(&self) -> Vec<String> {
        let (_, page) = self.get("/dead-letters").await;
        page["entries"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    }
}

fn sentence(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or_else(|| panic!("no sentence in {answer}"))
}

#[tokio::test]
async fn what_does_not_exist_is_answered_with_a_sentence() {
    let bench = Bench::new();
    for path in ["/nowhere", "/jobs/none", "/dead-letters/none", "/jobs?queue=none", "/worker"] {
        let (status, answer) = bench.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(!sentence(&answer).is_empty());
    }
    let (status, answer) = bench.post("/queues", "").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{answer}");
    let (status, answer) = bench.get("/jobs/%ff").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(!sentence(&answer).is_empty());
}

#[tokio::test]
async fn an_unknown_parameter_is_refused_and_never_widens_a_filter() {
    let bench = Bench::new();
    bench.bury(&["a"]).await;
    for path in ["/jobs?resaon=failed", "/dead-letters?stat=dead", "/jobs/a?wiat=3s", "/queues?x=1", "/jobs?older_than=5"] {
        let (status, answer) = bench.get(path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {answer}");
    }
    let (status, _) = bench.post("/dead-letters/discard", r#"{"resaon": "failed"}"#).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(bench.dead().await, ["a"]);
}

#[tokio::test]
async fn a_job_is_listed_shown_cancelled_and_told_to_run() {
    let bench = Bench::new();
    let job = r#"{"id": "a/b?", "type": "mail.send", "data": {"to": "ann"}, "delay": "1h"}"#;
    bench.post("/jobs", job).await;
    let (_, page) = bench.get("/jobs?type=mail.*&state=delayed").await;
    assert_eq!(page["entries"][0]["id"], "a/b?");
    assert_eq!(page["entries"][0]["queue"], "jobs", "the block's name, not the one inside the file");
    let (_, shown) = bench.get("/jobs/a%2Fb%3F").await;
    assert_eq!((&shown["state"], &shown["message"]["body"]), (&json!("delayed"), &json!(job)));
    assert_eq!(bench.post("/jobs/a%2Fb%3F/retry", "").await.0, StatusCode::OK);
    let (status, answer) = bench.post("/jobs/a%2Fb%3F/retry", "").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(sentence(&answer).contains("waiting"), "{answer}");
    let (status, _) = bench.post("/jobs/a%2Fb%3F/cancel", r#"{"by": "ann", "discard": true}"#).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(bench.get("/jobs/a%2Fb%3F").await.1["state"], "discarded");
}

#[tokio::test]
async fn a_wait_for_what_has_ended_returns_at_once_and_any_other_when_its_time_is_over() {
    let bench = Bench::new();
    bench.post("/jobs", r#"{"id": "a", "type": "x"}"#).await;
    assert_eq!(bench.get("/jobs/a?wait=1ms").await.1["state"], "waiting");
    bench.bury(&["b"]).await;
    assert_eq!(bench.get("/jobs/b?wait=5m").await.1["state"], "dead");
}

#[tokio::test]
async fn a_wait_ends_with_the_job() {
    let bench = Bench::new();
    bench.post("/jobs", r#"{"id": "a", "type": "x"}"#).await;
    let (waited, cancelled) = tokio::join!(bench.get("/jobs/a?wait=5m"), bench.post("/jobs/a/cancel", ""));
    assert_eq!(cancelled.0, StatusCode::OK);
    assert_eq!(waited.1["state"], "dead");
}

#[tokio::test]
async fn queues_are_counted_paused_and_resumed_by_the_names_of_the_config() {
    let bench = Bench::with(&["mail", "images"]);
    bench.post("/jobs?queue=mail", r#"{"type": "x"}"#).await;
    let (status, _) = bench.post("/queues/mail/pause", "").await;
    assert_eq!(status, StatusCode::OK);
    let (_, answer) = bench.get("/queues").await;
    let queues = answer["queues"].as_array().unwrap();
    let mail = queues.iter().find(|queue| queue["queue"] == "mail").unwrap();
    assert_eq!((&mail["waiting"], &mail["paused"]), (&json!(1), &json!(true)));
    bench.post("/queues/mail/resume", "").await;
    let (_, answer) = bench.get("/queues").await;
    assert!(!answer.to_string().contains("true"), "{answer}");
}
