//! What only SQS does, on the servers that play it, and on a stand-in for what both of them forgive.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "sqs/chaos.rs"]
mod chaos;
#[path = "sqs/faults.rs"]
mod faults;
#[path = "sqs/queues.rs"]
mod queues;
#[path = "support/server.rs"]
mod server;
mod support;
#[path = "sqs/strict.rs"]
mod what_elasticmq_forgives;
#[path = "sqs/world.rs"]
mod world;
