//! The HTTP API over every queue: jobs in, the state of jobs, the dead-letter desk. Programs reach it over TCP; the CLI
//! speaks the same routes through a Unix socket, or in process where no worker lives.

mod access;
pub mod batches;
pub mod breakers;
pub mod bulk;
pub mod dead_letters;
pub mod desk;
pub mod intake;
pub mod jobs;
mod queues;
mod refusal;
mod request;
pub mod routes;
mod schedules;
pub mod serve;
pub mod view;
pub mod worker;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

pub use access::Access;
pub use desk::{Auditor, Desk, Place, System, WorkerFacts};
pub use refusal::Refusal;
pub use serve::{bind_socket, bind_tcp, connect, serve_socket, serve_tcp};

/// The API over a desk, behind what `access` asks of a caller.
pub fn router(desk: Arc<Desk>, access: Access) -> Router {
    Router::new()
        .route("/jobs", post(intake::submit).get(jobs::list))
        .route("/jobs/{id}", get(jobs::show))
        .route("/jobs/{id}/cancel", post(jobs::cancel))
        .route("/jobs/{id}/retry", post(jobs::retry))
        .route("/queues", get(queues::list))
        .route("/queues/{queue}/pause", post(queues::pause))
        .route("/queues/{queue}/resume", post(queues::resume))
        .route("/dead-letters", get(dead_letters::list))
        .route("/dead-letters/groups", get(dead_letters::groups))
        .route("/dead-letters/replay", post(bulk::replay))
        .route("/dead-letters/discard", post(bulk::discard))
        .route("/dead-letters/{id}", get(dead_letters::show))
        .route("/dead-letters/{id}/replay", post(dead_letters::replay))
        .route("/dead-letters/{id}/discard", post(dead_letters::discard))
        .route("/breakers", get(breakers::list))
        .route("/breakers/{executor}/open", post(breakers::open))
        .route("/breakers/{executor}/close", post(breakers::close))
        .route("/batches", get(batches::list))
        .route("/batches/{id}", get(batches::show))
        .route("/batches/{id}/cancel", post(batches::cancel))
        .route("/schedules", get(schedules::list))
        .route("/schedules/{name}/run", post(schedules::run))
        .route("/audit", get(worker::audit))
        .route("/worker", get(worker::show))
        .route("/worker/reload", post(worker::reload))
        .route("/routes", get(routes::list))
        .fallback(refusal::no_such_path)
        .method_not_allowed_fallback(refusal::no_such_method)
        .layer(from_fn_with_state(Arc::new(access), access::guard))
        .with_state(desk)
}

#[cfg(test)]
mod tests;
