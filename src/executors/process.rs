//! The processes that run jobs: each in a session of its own, limited, and ended with everything it started.
//!
//! Four promises, kept whatever a plugin does:
//!
//! 1. A process dies with the worker: the kernel kills it when the one thread that started it is gone (`parent.rs`).
//! 2. Its group dies with it: when the process ends, by itself or not, what it left in its group is killed before the
//!    process is reaped, so that the group's number cannot be somebody else's by then.
//! 3. What left the group (`setsid`, a double fork) comes to us, because the worker is the subreaper of all below it. It
//!    is known by its environment, and ended once the run that started it is over (`adopted.rs`).
//! 4. It sees no variable and no open file of the worker but those it was given.

mod adopted;
pub mod environment;
mod evidence;
mod exit;
mod parent;
mod recipe;
mod shown;
mod spawn;
mod stream;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

pub use exit::Exit;
pub use parent::sweep;
pub use recipe::{Recipe, find_program};
pub use shown::memory;
pub use stream::Stream;

use spawn::Plan;

/// A process that was started, and our ends of its pipes.
#[derive(Debug)]
pub struct Started {
    pub leader: Leader,
    pub stdout: Stream,
    pub stderr: Stream,
}

/// Our ends of the plugin protocol's pipes: requests go out, responses come in.
#[derive(Debug)]
pub struct ProtocolPipes {
    pub requests: pipe::Sender,
    pub responses: Stream,
}

/// Starts `recipe` with `stdin` as its standard input.
///
/// # Errors
/// What the operating system said; the program's own absence among it.
pub async fn start(recipe: &Recipe, stdin: OwnedFd) -> io::Result<Started> {
    start_with(recipe, stdin, Vec::new()).await
}

/// Starts `recipe` with nothing on its standard input and the plugin protocol on descriptors 3 and 4.
///
/// # Errors
/// What the operating system said; the program's own absence among it.
pub async fn start_speaking(recipe: &Recipe) -> io::Result<(Started, ProtocolPipes)> {
    let null = OwnedFd::from(std::fs::File::open("/dev/null")?);
    let (their_requests, requests) = pipe()?;
    let (responses, their_responses) = pipe()?;
    let pipes =
        ProtocolPipes { requests: pipe::Sender::from_owned_fd(requests)?, responses: Stream::new(responses, stream::LARGE)? };
    Ok((start_with(recipe, null, vec![(their_requests, 3), (their_responses, 4)]).await?, pipes))
}

async fn start_with(recipe: &Recipe, stdin: OwnedFd, mut wires: Vec<(OwnedFd, RawFd)>) -> io::Result<Started> {
    let (stdout, their_stdout) = pipe()?;
    let (stderr, their_stderr) = pipe()?;
    wires.extend([(stdin, 0), (their_stdout, 1), (their_stderr, 2)]);
    let child = parent::start(|token| Plan::new(recipe, wires, token)).await?;
    Ok(Started {
        leader: Leader(spawn::watch(child)?),
        stdout: Stream::new(stdout, stream::SMALL)?,
        stderr: Stream::new(stderr, stream::SMALL)?,
    })
}

/// A pipe, reading end first.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// The process that leads a session and a group of its own. Dropping it kills the group.
#[derive(Debug)]
pub struct Leader(AsyncFd<Child>);

impl Leader {
    #[must_use]
    pub fn id(&self) -> i32 {
        self.0.get_ref().pid.as_raw_nonzero().get()
    }

    /// Waits for the process to end, kills what it left in its group, and tells how it ended. Cancel-safe.
    ///
    /// # Errors
    /// When it cannot be waited for, which only a bug of ours brings about.
    pub async fn ended(&mut self) -> io::Result<Exit> {
        // stays readable for good, so that the readiness is never cleared
        std::future::poll_fn(|cx| self.0.poll_read_ready(cx).map_ok(drop)).await?;
        self.0.get_mut().reap()
    }

    /// Asks the group to end, kills it after `grace`, and tells how its leader ended.
    ///
    /// # Errors
    /// As [`Leader::ended`].
    pub async fn end(&mut self, grace: Duration) -> io::Result<Exit> {
        self.terminate();
        if let Ok(exit) = tokio::time::timeout(grace, self.ended()).await {
            return exit;
        }
        self.kill();
        self.ended().await
    }

    /// Asks the whole group to end.
    pub fn terminate(&self) {
        self.0.get_ref().signal(Signal::TERM);
    }

    /// Ends the whole group.
    pub fn kill(&self) {
        self.0.get_ref().signal(Signal::KILL);
    }
}

/// A child process that is not reaped yet, and the duty to do so.
#[derive(Debug)]
struct Child {
    pid: Pid,
    handle: OwnedFd,
    /// Names the process in its own environment and in the list of the living.
    token: u64,
    /// How often the kernel had ended processes for want of memory when this one started.
    out_of_memory_kills: Option<u64>,
    reaped: bool,
}

impl Child {
    /// The group is killed first: while its leader is not reaped, its number is nobody else's.
    fn reap(&mut self) -> io::Result<Exit> {
        self.signal(Signal::KILL);
        let status = rustix::process::waitid(WaitId::PidFd(self.handle.as_fd()), WaitIdOptions::EXITED)?
            .ok_or_else(|| io::Error::other("the process has not ended"))?;
        self.reaped = true;
        parent::reaped(self.token);
        Ok(Exit::new(&status, self.out_of_memory_kills))
    }

    /// To the group; it is gone only when its leader is.
    fn signal(&self, signal: Signal) {
        if !self.reaped {
            let _gone = rustix::process::kill_process_group(self.pid, signal);
        }
    }
}

impl AsRawFd for Child {
    fn as_raw_fd(&self) -> RawFd {
        self.handle.as_raw_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::KILL);
            parent::abandoned(self.token);
        }
    }
}

#[cfg(test)]
mod tests;
