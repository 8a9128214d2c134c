//! Named places where a chaos test can have the process killed: microseconds that random kills miss.

/// Passes the point `name`. In debug builds with `WINDLASS_STOP_AT=name:n` in the environment, the n-th pass of that name
/// kills this process at once, as `kill -9` would.
#[cfg(debug_assertions)]
pub fn pass(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSES: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| parse(&std::env::var("WINDLASS_STOP_AT").ok()?));
    let Some((at, count)) = wanted else { return };
    if at == name && PASSES.fetch_add(1, Ordering::Relaxed) + 1 == *count {
        // nothing may run after this, neither destructors nor exit handlers
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
    }
}

/// Compiled out.
#[cfg(not(debug_assertions))]
#[inline]
pub fn pass(_name: &'static str) {}

/// Reads `name:n`; a name alone is its first pass.
#[cfg(debug_assertions)]
fn parse(text: &str) -> Option<(String, u64)> {
    match text.split_once(':') {
        Some((name, count)) => Some((name.to_owned(), count.parse().ok()?)),
        None => Some((text.to_owned(), 1)),
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn a_stop_point_is_named_with_the_number_of_its_pass() {
        assert_eq!(parse("committed:3"), Some(("committed".into(), 3)));
        assert_eq!(parse("committed"), Some(("committed".into(), 1)));
        assert_eq!(parse("committed:soon"), None);
    }
}
