//! The executor kinds. Each has a folder; no kind knows another.

pub mod command;
pub mod limits;
pub mod process;
pub mod python;
