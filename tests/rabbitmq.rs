//! What only a server of RabbitMQ can do to its clients: each test breaks one that is its own.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "rabbitmq/chaos.rs"]
mod chaos;
#[path = "rabbitmq/confirms.rs"]
mod confirms;
#[path = "rabbitmq/delays.rs"]
mod delays;
#[path = "rabbitmq/desk.rs"]
mod desk;
#[path = "rabbitmq/faults.rs"]
mod faults;
#[path = "rabbitmq/marks.rs"]
mod marks;
#[path = "rabbitmq/replies.rs"]
mod replies;
#[path = "rabbitmq/sentences.rs"]
mod sentences;
#[path = "rabbitmq/server.rs"]
mod server;
mod support;
