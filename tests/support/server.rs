//! Where the real servers are that some tests need.

/// The server of a kind of queue.
///
/// # Panics
/// When nobody has brought one.
pub fn server(kind: &str) -> String {
    let variable = format!("WINDLASS_TEST_{}", kind.to_uppercase());
    std::env::var(&variable).unwrap_or_else(|_| panic!("{variable} is not set: run ./test, or ./dev up {kind} and export it"))
}
