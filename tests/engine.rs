//! The path of one job on queues in memory: with the paused clock, and under seeded faults.

#[path = "engine/faults.rs"]
mod faults;
#[path = "engine/pipeline.rs"]
mod pipeline;
mod support;
#[path = "engine/suspicion.rs"]
mod suspicion;
