//! One process that stays: the jobs it has, and why it takes no more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ending::{End, Leaving, fate};
use super::flight::Flight;
use super::request;
use super::response::{Hello, Response};
use crate::executors::places::stopped;
use crate::executors::process;
use crate::job::Job;
use crate::outcome::Outcome;
use crate::ports::{Context, Stopped};

/// How long a host that knows `cancel` may take to answer one.
const CANCEL_GRACE: Duration = Duration::from_secs(1);
/// A buffer larger than this is not kept for the next job.
const KEPT_BUFFER: usize = 256 * 1024;

/// Shared by the jobs that are in it and the task that listens to it (`conversation.rs`).
#[derive(Debug)]
pub struct Host {
    executor: Arc<str>,
    pub hello: Hello,
    id: i32,
    requests: pipe::Sender,
    state: Mutex<State>,
    /// There are frames that could not be written at once.
    unsent: Notify,
    /// The process must be killed.
    pub(super) doomed: Notify,
    /// The process is gone and every job has its outcome.
    over: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    /// By number, so that the first is the one a sequential host runs.
    jobs: BTreeMap<u64, InHost>,
    last_id: u64,
    done: u64,
    unsent: Vec<u8>,
    /// How much of `unsent` is written.
    sent: usize,
    /// Why it takes no more jobs.
    leaving: Option<Leaving>,
}

#[derive(Debug)]
struct InHost {
    flight: Arc<Flight>,
    /// When its clock started; none while a sequential host runs another.
    started: Option<Instant>,
}

impl Host {
    pub(super) fn new(executor: Arc<str>, hello: Hello, id: i32, requests: pipe::Sender) -> Arc<Self> {
        Arc::new(Host {
            executor,
            hello,
            id,
            requests,
            state: Mutex::default(),
            unsent: Notify::new(),
            doomed: Notify::new(),
            over: CancellationToken::new(),
        })
    }

    /// Runs a job to its outcome; none when the host took no more jobs.
    pub async fn run(&self, job: &Job, context: &Context) -> Option<Outcome> {
        let ticket = self.send(job, context)?;
        let why = tokio::select! {
            biased;
            outcome = ticket.flight.ended(context) => return Some(outcome),
            why = self.out_of_time(ticket.id, context) => why,
        };
        let grace = if self.hello.cancel { CANCEL_GRACE } else { Duration::ZERO };
        self.cancel(ticket.id);
        tokio::select! {
            biased;
            _answer = ticket.flight.ended(context) => {}
            () = self.patience(ticket.id, grace) => {
                self.leave(Leaving::Killed { job: ticket.id });
                self.doomed.notify_one();
                ticket.flight.ended(context).await;
            }
        }
        Some(stopped(why))
    }

    fn send(&self, job: &Job, context: &Context) -> Option<Ticket<'_>> {
        let mut state = self.state();
        if state.leaving.is_some() {
            return None;
        }
        state.last_id += 1;
        let id = state.last_id;
        let flight = Arc::new(Flight::default());
        let waits = self.hello.sequential && !state.jobs.is_empty();
        let started = (!waits).then(Instant::now);
        state.jobs.insert(id, InHost { flight: flight.clone(), started });
        request::run(&mut state.unsent, id, job, context);
        // a lone job is sent at once; of several, those that come together travel together
        if state.jobs.len() == 1 {
            self.write(&mut state);
        }
        self.send_rest(&state);
        Some(Ticket { host: self, id, flight })
    }

    fn cancel(&self, id: u64) {
        let mut state = self.state();
        request::cancel(&mut state.unsent, id);
        self.send_rest(&state);
    }

    /// Resolves when the job's time is over or it is cancelled. In a sequential host its clock starts when the job before
    /// it has ended: seen only when its own time would be over, so that nobody is woken for it.
    async fn out_of_time(&self, id: u64, context: &Context) -> Stopped {
        loop {
            let started = self.started(id);
            let (end, why) = context.end(started.unwrap_or_else(Instant::now));
            tokio::select! {
                () = context.cancel.cancelled() => return Stopped::Cancelled,
                () = tokio::time::sleep_until(end) => if started.is_some() || why == Stopped::Expired { return why },
            }
        }
    }

    /// Resolves when a host that was asked to end a job has had its time for it; one that has not begun the job cannot
    /// have read the question, and those before it should not die for that.
    async fn patience(&self, id: u64, grace: Duration) {
        let asked = Instant::now();
        while self.started(id).is_none() {
            tokio::time::sleep(CANCEL_GRACE).await;
        }
        let started = self.started(id).unwrap_or(asked);
        tokio::time::sleep_until(started.max(asked) + grace).await;
    }

    fn started(&self, id: u64) -> Option<Instant> {
        self.state().jobs.get(&id)?.started
    }

    /// Writes what the pipe takes.
    fn write(&self, state: &mut State) {
        while state.sent < state.unsent.len() {
            match self.requests.try_write(&state.unsent[state.sent..]) {
                Ok(count) => state.sent += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    state
                        .leaving
                        .get_or_insert(Leaving::Broken(format!("it closed its end for requests (descriptor 3): {error}")));
                    self.doomed.notify_one();
                    break;
                }
            }
        }
        state.unsent.clear();
        state.unsent.shrink_to(KEPT_BUFFER);
        state.sent = 0;
    }

    fn send_rest(&self, state: &State) {
        if !state.unsent.is_empty() {
            self.unsent.notify_one();
        }
    }

    /// Writes, until the process is gone, what was not written at once.
    pub(super) async fn write_rest(self: Arc<Self>) {
        let writing = async {
            loop {
                self.unsent.notified().await;
                // those who are about to send come first, so that one write carries all
                tokio::task::yield_now().await;
                while self.requests.writable().await.is_ok() {
                    let mut state = self.state();
                    self.write(&mut state);
                    if state.unsent.is_empty() {
                        break;
                    }
                }
            }
        };
        tokio::select! {
            () = writing => {}
            () = self.over.cancelled() => {}
        }
    }

    /// Takes what the process said of a job.
    ///
    /// # Errors
    /// How it broke the protocol.
    pub(super) fn take(&self, frame: &[u8]) -> Result<(), String> {
        let response = serde_json::from_slice(frame).map_err(|error| {
            let start = String::from_utf8_lossy(&frame[..frame.len().min(80)]).into_owned();
            format!("it sent a frame that is no response ({error}): {start:?}")
        })?;
        match response {
            Response::Done(done) => self.finish(done.id, Outcome::Done(done.output()?)),
            Response::Failed(failed) => self.finish(failed.id, failed.failure().into()),
            Response::Log(log) => {
                self.log(Some(log.id), &log.line);
                Ok(())
            }
            Response::Progress(progress) => {
                if let Some(flight) = self.flight(progress.id) {
                    flight.progress(progress.value.get().to_owned());
                }
                Ok(())
            }
            Response::Hello(_) | Response::Refused(_) => Err("it said hello twice".into()),
        }
    }

    fn finish(&self, id: u64, outcome: Outcome) -> Result<(), String> {
        let mut state = self.state();
        let Some(job) = state.jobs.remove(&id) else {
            return Err(format!("it answered job {id}, which it was not running (or answered it twice)"));
        };
        state.done += 1;
        if self.hello.sequential
            && let Some(mut next) = state.jobs.first_entry()
        {
            next.get_mut().started.get_or_insert_with(Instant::now);
        }
        drop(state);
        job.flight.finish(outcome);
        Ok(())
    }

    fn flight(&self, id: u64) -> Option<Arc<Flight>> {
        self.state().jobs.get(&id).map(|job| job.flight.clone())
    }

    /// A line of the process: the named job's, else that of the only job in it, else the process's own.
    pub(super) fn log(&self, job: Option<u64>, line: &str) {
        let flight = match job {
            Some(id) => self.flight(id),
            None => {
                let state = self.state();
                (state.jobs.len() == 1).then(|| state.jobs.values().next().map(|job| job.flight.clone())).flatten()
            }
        };
        match flight {
            Some(flight) => flight.log(line),
            None => tracing::info!(target: "windlass::plugin", executor = &*self.executor, pid = self.id, "{line}"),
        }
    }

    /// Gives every job that is still in it its outcome; the process is gone.
    pub(super) fn ended(&self, end: &End) {
        let mut state = self.state();
        if let (End::Crashed(how), None, true) = (end, &state.leaving, state.jobs.is_empty()) {
            tracing::warn!(target: "windlass::plugin", executor = &*self.executor, pid = self.id, "{how}, while it had no job");
        }
        let leaving = state.leaving.get_or_insert(Leaving::Retired).clone();
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        let alone = jobs.len() == 1;
        for (id, job) in jobs {
            job.flight.finish(fate(id, alone, end, &leaving));
        }
        self.over.cancel();
    }

    /// Asks the process to end, kills it after `grace`, and returns when it is gone: whether it ended by itself.
    pub async fn stop(&self, grace: Duration) -> bool {
        {
            let mut state = self.state();
            if matches!(state.leaving, None | Some(Leaving::Retired)) {
                state.leaving = Some(Leaving::Stopping);
            }
            request::stop(&mut state.unsent);
            self.send_rest(&state);
        }
        let by_itself = tokio::time::timeout(grace, self.over.cancelled()).await.is_ok();
        if !by_itself {
            self.doomed.notify_one();
            self.over.cancelled().await;
        }
        by_itself
    }

    /// Sends a request that no plugin knows: later versions of the protocol may have more than this one.
    pub fn send_unknown(&self) {
        let mut state = self.state();
        request::unknown(&mut state.unsent);
        self.send_rest(&state);
    }

    /// Ends the process without waiting for it.
    pub fn kill(&self) {
        self.leave(Leaving::Stopping);
        self.doomed.notify_one();
    }

    /// Lets no new job in.
    pub fn retire(&self) {
        self.leave(Leaving::Retired);
    }

    fn leave(&self, why: Leaving) {
        let mut state = self.state();
        if matches!(state.leaving, None | Some(Leaving::Retired)) {
            state.leaving = Some(why);
        }
    }

    #[must_use]
    pub fn takes_jobs(&self) -> bool {
        self.state().leaving.is_none()
    }

    /// Retired, and its last job has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let state = self.state();
        state.leaving == Some(Leaving::Retired) && state.jobs.is_empty() && !self.over.is_cancelled()
    }

    #[must_use]
    pub fn jobs_done(&self) -> u64 {
        self.state().done
    }

    /// The memory it holds now, in bytes.
    #[must_use]
    pub fn memory(&self) -> Option<u64> {
        process::memory(self.id)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job's hold on its host: given up before the job has ended, it takes the host with it.
struct Ticket<'a> {
    host: &'a Host,
    id: u64,
    flight: Arc<Flight>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.host.state().jobs.contains_key(&self.id) {
            self.host.leave(Leaving::Killed { job: self.id });
            self.host.doomed.notify_one();
        }
    }
}
