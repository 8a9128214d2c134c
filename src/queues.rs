//! The queue kinds. Each has a folder; no kind knows another.

pub mod embedded;
pub mod memory;
