//! The wall clock, handed in: the system's, or one that moves with Tokio's pausable time.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Tells the time for due times and records; time-outs and leases use Tokio's monotonic clock instead.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    System,
    /// The wall time at an instant of Tokio's clock: hours pass in milliseconds where a test pauses it.
    Tokio {
        wall: Timestamp,
        at: Instant,
    },
}

impl Clock {
    /// A clock that starts now and moves with Tokio's time.
    #[must_use]
    pub fn tokio() -> Self {
        Clock::Tokio { wall: Timestamp::now(), at: Instant::now() }
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System => Timestamp::now(),
            Clock::Tokio { wall, at } => after(*wall, at.elapsed()),
        }
    }
}

/// `at + duration`, held at the end of time instead of overflowing.
#[must_use]
pub fn after(at: Timestamp, duration: Duration) -> Timestamp {
    at.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// The time from `earlier` to `later`, zero when the clock has gone backwards between them.
#[must_use]
pub fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}
