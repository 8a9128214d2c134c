//! The path of one job, whatever queue it comes from and whatever runs it.

pub mod context;
