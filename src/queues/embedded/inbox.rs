//! The bounded line of operations in front of the writer: many tasks put in, one thread takes all at once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The most operations that wait, and so the most that one commit holds.
const CAPACITY: usize = 2048;

pub(super) struct Inbox<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    room: Notify,
}

struct State<T> {
    waiting: Vec<T>,
    open: bool,
    /// The writer waits on `filled`; nobody needs to wake it while it works.
    asleep: bool,
}

/// The writer has stopped.
#[derive(Debug)]
pub(super) struct Closed;

impl<T> Inbox<T> {
    pub fn new() -> Self {
        let state = State { waiting: Vec::with_capacity(CAPACITY), open: true, asleep: false };
        Inbox { state: Mutex::new(state), filled: Condvar::new(), room: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an operation in, waiting for room first.
    pub async fn put(&self, operation: T) -> Result<(), Closed> {
        let mut operation = Some(operation);
        loop {
            let room = self.room.notified();
            if self.try_put(&mut operation)? {
                return Ok(());
            }
            room.await;
        }
    }

    fn try_put(&self, operation: &mut Option<T>) -> Result<bool, Closed> {
        let mut state = self.lock();
        if !state.open {
            return Err(Closed);
        }
        if state.waiting.len() >= CAPACITY {
            return Ok(false);
        }
        state.waiting.extend(operation.take());
        if std::mem::take(&mut state.asleep) {
            self.filled.notify_one();
        }
        Ok(true)
    }

    /// Takes all that waits into the empty `taken`; waits at most `limit` for the first. False once the line is closed
    /// and empty.
    pub fn take(&self, taken: &mut Vec<T>, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.lock();
        while state.waiting.is_empty() && state.open {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state.asleep = true;
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.asleep = false;
        }
        let full = state.waiting.len() >= CAPACITY;
        std::mem::swap(&mut state.waiting, taken);
        let open = state.open;
        drop(state);
        if full {
            self.room.notify_waiters();
        }
        open || !taken.is_empty()
    }

    pub fn is_closed(&self) -> bool {
        !self.lock().open
    }

    /// Lets nothing more in; what waits is still taken.
    pub fn close(&self) {
        self.lock().open = false;
        self.filled.notify_one();
        self.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_full_line_makes_the_next_one_wait_until_it_is_taken() {
        let inbox = Arc::new(Inbox::new());
        for number in 0..CAPACITY {
            inbox.put(number).await.unwrap();
        }
        let late = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.put(CAPACITY).await }
        });
        tokio::task::yield_now().await;
        assert!(!late.is_finished());
        let mut taken = Vec::new();
        assert!(inbox.take(&mut taken, Duration::ZERO));
        assert_eq!(taken.len(), CAPACITY);
        late.await.unwrap().unwrap();
        taken.clear();
        assert!(inbox.take(&mut taken, Duration::ZERO));
        assert_eq!(taken, [CAPACITY]);
    }

    #[tokio::test]
    async fn a_closed_line_gives_out_what_it_holds_and_takes_no_more() {
        let inbox = Inbox::new();
        inbox.put(1).await.unwrap();
        inbox.close();
        assert!(inbox.put(2).await.is_err());
        let mut taken = Vec::new();
        assert!(inbox.take(&mut taken, Duration::ZERO));
        assert_eq!(taken, [1]);
        taken.clear();
        assert!(!inbox.take(&mut taken, Duration::ZERO));
    }
}
