//! The Python executor: a pool of interpreter processes that run a function or a class.

pub mod config;
