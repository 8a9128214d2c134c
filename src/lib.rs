//! Windlass: an event-driven queue worker pool. ARCHITECTURE.md has the map; `engine/worker.rs` is the page to read first.

pub mod clock;
pub mod engine;
pub mod executors;
pub mod job;
pub mod outcome;
pub mod ports;
pub mod queues;
pub mod retry;
pub mod stop_point;
pub mod units;
