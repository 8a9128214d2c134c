//! The path of one job on queues in memory: with the paused clock, and under seeded faults.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "engine/backlog.rs"]
mod backlog;
#[path = "engine/batches.rs"]
mod batches;
#[path = "engine/drained.rs"]
mod drained;
#[path = "engine/expiry.rs"]
mod expiry;
#[path = "engine/faults.rs"]
mod faults;
#[path = "engine/faulty.rs"]
mod faulty;
#[path = "engine/following.rs"]
mod following;
#[path = "engine/outages.rs"]
mod outages;
#[path = "engine/pipeline.rs"]
mod pipeline;
#[path = "engine/replies.rs"]
mod replies;
#[path = "engine/screen.rs"]
mod screen;
mod support;
#[path = "engine/suspicion.rs"]
mod suspicion;
#[path = "engine/then.rs"]
mod then;
#[path = "engine/turns.rs"]
mod turns;
#[path = "engine/unique.rs"]
mod unique;
#[path = "engine/unrouted.rs"]
mod unrouted;
#[path = "engine/world.rs"]
mod world;
