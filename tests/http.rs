//! What endpoints do to those who call them: each test stands against a server that does one thing wrong, or watches closely.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "http/answers.rs"]
mod answers;
#[path = "http/credentials.rs"]
mod credentials;
#[path = "http/platform.rs"]
mod platform;
#[path = "http/requests.rs"]
mod requests;
#[path = "http/runs.rs"]
mod runs;
#[path = "http/tls.rs"]
mod tls;
#[path = "support/wire.rs"]
mod wire;
