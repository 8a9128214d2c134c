//! The embedded queue: durable jobs for one machine in one SQLite file.

pub mod config;
