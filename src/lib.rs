//! Windlass: an event-driven queue worker pool. ARCHITECTURE.md has the map; `engine/worker.rs` is the page to read first.

pub mod admin;
pub mod app;
#[cfg(feature = "lambda")]
pub mod aws;
pub mod batches;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod executors;
pub mod expression;
pub mod job;
pub mod outcome;
pub mod ports;
pub mod queues;
pub mod retry;
pub mod rhythm;
pub mod routing;
pub mod schedules;
pub mod schema;
pub mod secret;
pub mod state;
pub mod stop_point;
pub mod telemetry;
pub mod units;
