//! The queue in memory: for tests and examples; what it holds ends with the process.
