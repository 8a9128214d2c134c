//! The embedded queue: durable jobs for one machine in one SQLite file.
//!
//! One thread writes and commits for everybody at once (`writer.rs`); the next jobs and all leases are in memory
//! (`ready.rs`, `lease.rs`); readers page beside it. Start at `store.rs`; the tables are in `schema.rs`.

mod admin;
mod answer;
mod audit;
mod backlog;
mod bodies;
pub mod config;
mod endings;
mod file;
mod fold;
mod inbox;
mod known;
mod lease;
mod ledger;
mod located;
mod operation;
mod place;
mod queue;
mod readers;
mod ready;
mod ready_queue;
mod receipt;
mod rows;
mod schema;
mod slots;
mod sorted;
mod state;
mod store;
mod sync;
mod waiting;
mod watch;
mod writer;

pub use audit::{Audit, AuditLine, audit};
pub use config::EmbeddedConfig;
pub use file::{OpenError, socket_path};
pub use store::{Store, StoreOptions};

#[cfg(test)]
mod tests;
