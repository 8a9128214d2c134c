//! The bounded line of operations in front of the writer: many tasks put in, one thread takes all at once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The most operations that wait, and so the most that one commit holds; a test must not need as many.
pub(super) const CAPACITY: usize = if cfg!(test) { 128 } else { 2048 };

pub(super) struct Inbox<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    room: Notify,
}

struct State<T> {
    waiting: Vec<T>,
    open: bool,
    /// The writer sleeps until as many wait; nobody needs to wake it before, or while it works.
    wanted: Option<usize>,
}

/// How long the writer waits for operations.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the first.
    pub idle: Duration,
    /// Then for the line to be this long, because one commit costs nearly the same for many as for few.
    pub hoped: usize,
    pub gather: Duration,
}

/// The writer has stopped.
#[derive(Debug)]
pub(super) struct Closed;

impl<T> Inbox<T> {
    pub fn new() -> Self {
        let state = State { waiting: Vec::with_capacity(CAPACITY), open: true, wanted: None };
        Inbox { state: Mutex::new(state), filled: Condvar::new(), room: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an operation in, waiting for room first.
    pub async fn put(&self, operation: T) -> Result<(), Closed> {
        let mut operation = Some(operation);
        while !self.try_put(&mut operation)? {
            let room = self.room.notified();
            if self.try_put(&mut operation)? {
                break;
            }
            room.await;
        }
        Ok(())
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
        if state.wanted.is_some_and(|wanted| state.waiting.len() >= wanted) {
            state.wanted = None;
            self.filled.notify_one();
        }
        Ok(true)
    }

    /// Takes all that waits into the empty `taken`. False once the line is closed and empty.
    pub fn take(&self, taken: &mut Vec<T>, patience: Patience) -> bool {
        let mut state = self.wait(self.lock(), 1, patience.idle);
        if !state.waiting.is_empty() {
            state = self.wait(state, patience.hoped.min(CAPACITY), patience.gather);
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

    /// Waits until `wanted` operations are there, for at most `limit`.
    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State<T>>, wanted: usize, limit: Duration) -> MutexGuard<'a, State<T>> {
        if state.waiting.len() >= wanted || !state.open {
            return state;
        }
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.waiting.len() >= wanted || !state.open {
                state.wanted = None;
                return state;
            }
            state.wanted = Some(wanted);
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
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

    const NOW: Patience = Patience { idle: Duration::ZERO, hoped: 1, gather: Duration::ZERO };

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
        assert!(inbox.take(&mut taken, NOW));
        assert_eq!(taken.len(), CAPACITY);
        late.await.unwrap().unwrap();
        taken.clear();
        assert!(inbox.take(&mut taken, NOW));
        assert_eq!(taken, [CAPACITY]);
    }

    #[tokio::test]
    async fn a_closed_line_gives_out_what_it_holds_and_takes_no_more() {
        let inbox = Inbox::new();
        inbox.put(1).await.unwrap();
        inbox.close();
        assert!(inbox.put(2).await.is_err());
        let mut taken = Vec::new();
        assert!(inbox.take(&mut taken, NOW));
        assert_eq!(taken, [1]);
        taken.clear();
        assert!(!inbox.take(&mut taken, NOW));
    }

    #[tokio::test]
    async fn the_writer_gathers_what_it_hopes_for() {
        let inbox = Arc::new(Inbox::new());
        let patience = Patience { idle: Duration::from_secs(60), hoped: 3, gather: Duration::from_secs(60) };
        let writer = tokio::task::spawn_blocking({
            let inbox = inbox.clone();
            move || {
                let mut taken = Vec::new();
                inbox.take(&mut taken, patience);
                taken
            }
        });
        for number in 0..3 {
            inbox.put(number).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(writer.await.unwrap(), [0, 1, 2]);
    }
}
