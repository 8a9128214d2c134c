//! What AWS Lambda does to those who call it: by the text of its contract against a server of our own, and on a server that
//! really runs functions.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "lambda/contract.rs"]
mod contract;
#[path = "lambda/functions.rs"]
mod functions;
#[path = "lambda/runs.rs"]
mod runs;
#[path = "support/wire.rs"]
mod wire;
