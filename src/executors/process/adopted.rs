//! Ends the processes that left their group and came to us when their parent ended.

use std::collections::HashSet;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use super::{parent, spawn};

/// Ending a process may hand us its children, which the next round ends.
const ROUNDS: usize = 16;
/// A killed process that is not gone by then hangs in the kernel; a later sweep reaps it.
const DYING: Duration = Duration::from_millis(100);

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

/// Our children that are no living run's. A process of another session than ours descends from a plugin, since each was
/// given a session of its own and none can be entered from outside; what else the worker may have started is left alone.
fn strangers() -> Vec<Pid> {
    let children = children();
    let living = parent::living().clone();
    let started: HashSet<Pid> = living.values().copied().collect();
    let ours = rustix::process::getsid(None).ok();
    children
        .into_iter()
        .filter(|child| !started.contains(child))
        .filter(|child| rustix::process::getsid(Some(*child)).is_ok_and(|session| Some(session) != ours))
        .filter(|child| run_of(*child).is_none_or(|token| !living.contains_key(&token)))
        .collect()
}

fn children() -> Vec<Pid> {
    listed_children().unwrap_or_else(scanned_children)
}

/// From the kernel's own lists, one for each of our threads.
fn listed_children() -> Option<Vec<Pid>> {
    let mut children = Vec::new();
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        // a thread may end while we look; a kernel without these lists has none for the first either
        match std::fs::read_to_string(thread.ok()?.path().join("children")) {
            Ok(list) => children.extend(list.split_whitespace().filter_map(process_number)),
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => {}
            Err(_) => return None,
        }
    }
    Some(children)
}

/// From a look at every process, for kernels without those lists.
fn scanned_children() -> Vec<Pid> {
    let ours = std::process::id().to_string();
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|process| {
            let process = process.ok()?;
            let pid = process_number(process.file_name().to_str()?)?;
            let stat = std::fs::read_to_string(process.path().join("stat")).ok()?;
            // "pid (name) state parent …", where a name may hold anything
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
            (parent == ours).then_some(pid)
        })
        .collect()
}

fn process_number(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}

/// The run a process says it belongs to.
fn run_of(pid: Pid) -> Option<u64> {
    let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).ok()?;
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
    fn both_ways_of_looking_find_the_same_children() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = process_number(&child.id().to_string()).unwrap();
        assert!(scanned_children().contains(&pid));
        assert!(listed_children().is_none_or(|children| children.contains(&pid)));
        assert!(!strangers().contains(&pid), "a child in our own session is nobody's leftover");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
