//! What a run may know and do: its limits, its cancel signal, its log, its progress.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The end of the log kept with a failure, in bytes.
pub const LOG_TAIL: usize = 4096;

/// Handed to an executor with a job.
#[derive(Debug)]
pub struct Context {
    pub id: Arc<str>,
    pub route: Arc<str>,
    /// The number of this run, from 1.
    pub attempt: u32,
    /// Of one run, from its start.
    pub timeout: Duration,
    /// Of the job, wall clock; also part of `limit`.
    pub deadline: Option<Timestamp>,
    /// What is left until the deadline, measured when the run was admitted.
    pub time_left: Option<Instant>,
    /// The run must share its host process with no other.
    pub alone: bool,
    /// Set when the run should end: the worker stops for good, the lease is lost, an operator cancels.
    pub cancel: CancellationToken,
    started: AtomicBool,
    log: Mutex<VecDeque<u8>>,
    progress: Mutex<Option<String>>,
    /// What was sent and what came back, where somebody watches.
    traces: Option<Mutex<Vec<String>>>,
    usage: OnceLock<Usage>,
}

/// What a run has cost on a target that tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The time that is paid for.
    pub billed: Duration,
    /// The most that was used, in bytes.
    pub memory: Option<u64>,
    /// How long the target was started for this run, if it was.
    pub cold_start: Option<Duration>,
}

/// Why a run was stopped from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// After this long.
    TimedOut(Duration),
    /// The job's deadline passed while it ran.
    Expired,
    Cancelled,
}

impl Context {
    #[must_use]
    pub fn new(id: Arc<str>, route: Arc<str>, timeout: Duration) -> Self {
        Context {
            id,
            route,
            attempt: 1,
            timeout,
            deadline: None,
            time_left: None,
            alone: false,
            cancel: CancellationToken::new(),
            started: AtomicBool::new(false),
            log: Mutex::default(),
            progress: Mutex::default(),
            traces: None,
            usage: OnceLock::new(),
        }
    }

    /// Of a run that somebody watches: what is sent and what comes back is kept for [`Context::traces`].
    #[must_use]
    pub fn watched(self) -> Self {
        Context { traces: Some(Mutex::default()), ..self }
    }

    /// Runs `run` until it ends, its time is over, or it is cancelled; the clock starts now. Dropping `run` must end
    /// what it started.
    ///
    /// # Errors
    /// Why it was stopped.
    pub async fn limit<F: Future>(&self, run: F) -> Result<F::Output, Stopped> {
        self.begin();
        let (end, stopped) = self.end(Instant::now());
        tokio::select! {
            biased;
            done = run => Ok(done),
            () = self.cancel.cancelled() => Err(Stopped::Cancelled),
            () = tokio::time::sleep_until(end) => Err(stopped),
        }
    }

    /// Notes that the run begins, where it does before [`Context::limit`] is called: from here on a stop waits for it.
    pub fn begin(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Whether the run itself has begun, or still waits for a place in its executor.
    #[must_use]
    pub fn started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// When a run that starts at `start` must be over, and how that is called.
    #[must_use]
    pub fn end(&self, start: Instant) -> (Instant, Stopped) {
        let timed_out = start + self.timeout;
        match self.time_left {
            Some(deadline) if deadline < timed_out => (deadline, Stopped::Expired),
            _ => (timed_out, Stopped::TimedOut(self.timeout)),
        }
    }

    /// Takes a line that the job logged: to the worker's log with the job's name, and to the tail kept for a failure.
    pub fn log(&self, line: &str) {
        tracing::info!(target: "windlass::job", job = %self.id, attempt = self.attempt, route = %self.route, "{line}");
        let mut tail = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(line.as_bytes());
        tail.push_back(b'\n');
        let excess = tail.len().saturating_sub(LOG_TAIL);
        tail.drain(..excess);
    }

    /// The last lines that the job logged, at most [`LOG_TAIL`] bytes.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let mut tail = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(tail.make_contiguous()).into_owned()
    }

    /// Takes what the job says of its progress: JSON text, shown by `windlass jobs show`.
    pub fn set_progress(&self, progress: String) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    /// Keeps what was sent to a target or came back from it, without secrets, where somebody watches.
    pub fn trace(&self, what: impl FnOnce() -> String) {
        if let Some(traces) = &self.traces {
            traces.lock().unwrap_or_else(PoisonError::into_inner).push(what());
        }
    }

    #[must_use]
    pub fn traces(&self) -> Vec<String> {
        self.traces.as_ref().map(|traces| traces.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
    }

    /// Takes what the run has cost; the first word counts.
    pub fn used(&self, usage: Usage) {
        let _told_before = self.usage.set(usage);
    }

    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.usage.get().copied()
    }

    #[must_use]
    pub fn progress(&self) -> Option<String> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
