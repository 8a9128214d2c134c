//! The executor kinds. Each has a folder; no kind knows another.

pub mod command;
pub mod drive;
#[cfg(test)]
mod fixtures;
pub mod hosts;
pub mod limits;
mod lines;
mod places;
pub mod process;
pub mod python;
