//! The command executor: a program per job, or a program that stays and is sent many.

pub mod config;
