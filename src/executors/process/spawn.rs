//! Makes one process by hand: the only unsafe code that starts one.
//!
//! `clone` with `CLONE_VM | CLONE_VFORK`, as glibc's `posix_spawn` does it: the child borrows our memory and the calling
//! thread sleeps until the program runs, so that starting one costs the same however large the worker is, and the child
//! can leave its error where we find it. Until then the child may only call what is async-signal-safe and must not
//! allocate; so everything it needs is made ready in [`Plan`].
#![expect(
    unsafe_code,
    reason = "no safe interface starts a process with limits and a session without copying the worker's page tables"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal};
use rustix::process::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Child;
use super::recipe::Recipe;

/// The variable that names the run a process belongs to, however far from us it has moved.
const MARKER: &str = "WINDLASS_RUN";
/// Large enough for the child's few calls.
const STACK: usize = 64 * 1024;
/// The first descriptor that is not one of the five a plugin is given.
const FIRST_FREE: RawFd = 5;

/// A recipe as the kernel takes it.
#[derive(Debug)]
pub struct Plan {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    directory: CString,
    memory: Option<u64>,
    cpu: Option<u64>,
    wires: Vec<(OwnedFd, RawFd)>,
}

impl Plan {
    /// # Errors
    /// When a text holds a zero byte, or no descriptors are left.
    pub fn new(recipe: &Recipe, wires: Vec<(OwnedFd, RawFd)>, token: u64) -> io::Result<Self> {
        let program = CString::new(recipe.program.as_os_str().as_bytes())?;
        let mut arguments = vec![program.clone()];
        for argument in &recipe.arguments {
            arguments.push(CString::new(argument.as_str())?);
        }
        let mut environment = vec![CString::new(marker(token))?];
        for (name, value) in &recipe.environment {
            environment.push(CString::new(format!("{name}={value}"))?);
        }
        let wires = wires.into_iter().map(|(source, target)| Ok((out_of_the_way(source)?, target))).collect::<io::Result<_>>()?;
        Ok(Plan {
            program,
            arguments,
            environment,
            directory: CString::new(recipe.directory.as_os_str().as_bytes())?,
            memory: recipe.memory,
            cpu: recipe.cpu.map(|cpu| cpu.as_secs().max(1)),
            wires,
        })
    }

    /// Starts it. The process dies with the calling thread.
    ///
    /// # Errors
    /// What the first failing call of the child said.
    pub fn spawn(&self) -> io::Result<Pid> {
        let mut stack = vec![0u8; STACK];
        let arguments = pointers(&self.arguments);
        let environment = pointers(&self.environment);
        let mut failure = 0;
        // no handler of ours may run in the child, which shares our memory
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        // SAFETY: the child only makes the calls of `become_program`, on memory made ready above that outlives it:
        // CLONE_VFORK holds this thread until the child has its own memory or is gone.
        let child = unsafe {
            let run = Box::new(|| {
                failure = self.become_program(&arguments, &environment);
                libc::_exit(127)
            });
            nix::sched::clone(run, &mut stack, CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK, Some(libc::SIGCHLD))
        };
        before.thread_set_mask()?;
        let pid = child?;
        if failure != 0 {
            nix::sys::wait::waitpid(pid, None)?;
            return Err(io::Error::from_raw_os_error(failure));
        }
        Pid::from_raw(pid.as_raw()).ok_or_else(|| io::Error::other("a process without a number"))
    }

    /// Runs in the child, and returns only the number of an error.
    fn become_program(&self, arguments: &[*const libc::c_char], environment: &[*const libc::c_char]) -> i32 {
        match self.prepare() {
            // SAFETY: both lists end with a null pointer and point into `self`.
            Ok(()) => unsafe {
                libc::execve(self.program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
            },
            Err(errno) => return errno,
        }
        errno()
    }

    /// Only calls that are async-signal-safe; none allocates.
    fn prepare(&self) -> Result<(), i32> {
        // SAFETY: plain system calls on values that live in `self`.
        unsafe {
            done(libc::setsid())?;
            done(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            for (resource, soft, hard) in [
                (libc::RLIMIT_CORE, Some(0), Some(0)),
                (libc::RLIMIT_AS, self.memory, self.memory),
                // the first ends it by a signal that names the reason, the second for sure
                (libc::RLIMIT_CPU, self.cpu, self.cpu.map(|cpu| cpu + 5)),
            ] {
                if let (Some(rlim_cur), Some(rlim_max)) = (soft, hard) {
                    done(libc::setrlimit(resource, &libc::rlimit { rlim_cur, rlim_max }))?;
                }
            }
            done(libc::chdir(self.directory.as_ptr()))?;
            for (source, target) in &self.wires {
                done(libc::dup2(source.as_raw_fd(), *target))?;
            }
            let first = self.wires.iter().map(|(_, target)| target + 1).max().unwrap_or(FIRST_FREE);
            // older kernels lack it; there every descriptor of ours is closed by its own flag
            libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0);
            default_signals();
        }
        Ok(())
    }
}

/// Makes the ends of children known to us, although whoever started the worker may have ignored SIGCHLD: the kernel then
/// forgets how they ended.
pub fn await_children() -> nix::Result<()> {
    // SAFETY: the default action is no handler of ours.
    unsafe { nix::sys::signal::signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map(drop)
}

/// Handlers of the worker mean nothing in the new program, and neither does its ignoring of SIGPIPE.
///
/// # Safety
/// Only for the child of [`Plan::spawn`], which has its own table of handlers.
unsafe fn default_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: the refusal of the two signals that cannot be handled is of no interest.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an empty set is made in place before it is used.
    unsafe {
        let mut none = std::mem::MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}

fn done(result: i32) -> Result<(), i32> {
    if result < 0 { Err(errno()) } else { Ok(()) }
}

fn errno() -> i32 {
    nix::errno::Errno::last_raw()
}

/// Watches for the end of a process: its handle becomes readable then, and stays so.
///
/// # Errors
/// When Tokio cannot watch it.
pub fn watch(child: Child) -> io::Result<AsyncFd<Child>> {
    // SAFETY: the descriptor belongs to the child, which the watch owns and closes last.
    Ok(unsafe { AsyncFd::register_with_interest(child, Interest::READABLE) }?)
}

/// The entry of the environment that marks all processes of one run.
fn marker(token: u64) -> String {
    format!("{MARKER}={}-{token}", std::process::id())
}

/// The run that an entry of an environment names, if it is one of ours.
pub fn marked(entry: &str) -> Option<u64> {
    let (worker, token) = entry.strip_prefix(MARKER)?.strip_prefix('=')?.split_once('-')?;
    (worker.parse() == Ok(std::process::id())).then(|| token.parse().ok())?
}

/// A source below the five targets could be overwritten before it is used.
fn out_of_the_way(source: OwnedFd) -> io::Result<OwnedFd> {
    if source.as_raw_fd() >= FIRST_FREE { Ok(source) } else { Ok(rustix::io::fcntl_dupfd_cloexec(&source, FIRST_FREE)?) }
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}
