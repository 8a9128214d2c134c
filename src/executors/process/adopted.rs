//! Ends the processes that left their group and came to us when their parent ended.

use std::collections::HashSet;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use super::shown::{self, Shown};
use super::{parent, spawn};

/// Ending a process may hand us its children, which the next round ends.
const ROUNDS: usize = 16;
/// A killed process that is not gone by then hangs in the kernel; a later sweep reaps it.
const DYING: Duration = Duration::from_millis(100);
/// Longer than a process takes from one program to the next, also on a busy machine.
const BETWEEN_PROGRAMS: Duration = Duration::from_millis(50);

/// Ends and reaps every process below us whose run is over; tells whether there was any. Only for the thread that starts
/// processes.
pub fn sweep() -> bool {
    for round in 0..ROUNDS {
        let strangers = strangers();
        if strangers.is_empty() {
            return round > 0;
        }
        for stranger in &strangers {
            let _gone = rustix::process::kill_process(*stranger, Signal::KILL);
        }
        for stranger in strangers {
            reap(stranger);
        }
    }
    true
}

/// Our children that are no living run's. A process that is between two programs shows no environment for a moment, so one
/// without a mark is looked at twice.
fn strangers() -> Vec<Pid> {
    let found = unclaimed();
    if found.iter().all(|(_, run)| run.is_some()) {
        return found.into_iter().map(|(pid, _)| pid).collect();
    }
    #[expect(clippy::disallowed_methods, reason = "the thread that starts processes is no task, and the kernel wakes nobody")]
    std::thread::sleep(BETWEEN_PROGRAMS);
    let again: HashSet<Pid> = unclaimed().into_iter().map(|(pid, _)| pid).collect();
    found.into_iter().map(|(pid, _)| pid).filter(|pid| again.contains(pid)).collect()
}

/// Our children of which no living run is known, with the run that they say they belong to. A process of another session than
/// ours descends from a plugin, since each was given a session of its own and none can be entered from outside; what else the
/// worker may have started is left alone.
fn unclaimed() -> Vec<(Pid, Option<u64>)> {
    let children = shown::children();
    let living = parent::living().clone();
    let started: HashSet<Pid> = living.values().copied().collect();
    children
        .into_iter()
        .filter(|child| !started.contains(&child.pid) && !is_of_our_session(child.pid))
        .map(|child| (child.pid, run_of(child)))
        .filter(|(_, run)| run.is_none_or(|token| !living.contains_key(&token)))
        .collect()
}

/// Also said of a process that is gone. A session that was made outside of our PID namespace has no number in it (0).
fn is_of_our_session(pid: Pid) -> bool {
    let of = |pid: i32| nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(pid)));
    of(pid.as_raw_nonzero().get()).map_or(true, |session| of(0) == Ok(session))
}

/// The run a process says it belongs to.
fn run_of(process: Shown) -> Option<u64> {
    let environment = process.environment()?;
    environment.split(|byte| *byte == 0).find_map(|entry| spawn::marked(std::str::from_utf8(entry).ok()?))
}

fn reap(pid: Pid) {
    if let Ok(handle) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        let limit = DYING.try_into().ok();
        let _timed_out = poll(&mut [PollFd::new(&handle, PollFlags::IN)], limit.as_ref());
        let _still_dying = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_in_our_own_session_is_nobodys_leftover() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(shown::children().iter().any(|shown| shown.pid == pid));
        assert!(!strangers().contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
