//! The processes that `/proc` shows, which may number them as another PID namespace does: its own is where it was mounted.

use std::fs;

use rustix::process::Pid;

/// A process as `/proc` shows it.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Its number there.
    number: u32,
    /// Its number here, for system calls.
    pub pid: Pid,
}

impl Shown {
    /// The process with this number in `/proc`; none when it is gone.
    fn new(number: &str) -> Option<Self> {
        let number: u32 = number.parse().ok()?;
        let depth = numbers("self")?.len().checked_sub(1)?;
        let here = if depth == 0 { number } else { *numbers(&number.to_string())?.get(depth)? };
        Some(Shown { number, pid: Pid::from_raw(i32::try_from(here).ok()?)? })
    }

    /// The variables it was started with.
    pub fn environment(self) -> Option<Vec<u8>> {
        fs::read(format!("/proc/{}/environ", self.number)).ok()
    }
}

/// Our children.
pub fn children() -> Vec<Shown> {
    listed_children().unwrap_or_else(scanned_children)
}

/// The memory that a child of ours holds now, in bytes.
#[must_use]
pub fn memory(child: i32) -> Option<u64> {
    let number = match numbers("self")?.len() {
        1 => u32::try_from(child).ok()?,
        _ => children().into_iter().find(|shown| shown.pid.as_raw_nonzero().get() == child)?.number,
    };
    let pages = fs::read_to_string(format!("/proc/{number}/statm")).ok()?;
    let resident: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    Some(resident * rustix::param::page_size() as u64)
}

/// The numbers of a process, from the namespace of `/proc` down to its own; a kernel that lists none knows one only.
fn numbers(process: &str) -> Option<Vec<u32>> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let list = ["NSpid:", "Pid:"].iter().find_map(|name| status.lines().find_map(|line| line.strip_prefix(name)))?;
    list.split_whitespace().map(|number| number.parse().ok()).collect()
}

/// From the kernel's own lists, one for each of our threads.
fn listed_children() -> Option<Vec<Shown>> {
    let mut children = Vec::new();
    for thread in fs::read_dir("/proc/self/task").ok()? {
        // a thread may end while we look; a kernel without these lists has none for the first either
        match fs::read_to_string(thread.ok()?.path().join("children")) {
            Ok(list) => children.extend(list.split_whitespace().filter_map(Shown::new)),
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => {}
            Err(_) => return None,
        }
    }
    Some(children)
}

/// From a look at every process, for kernels without those lists.
fn scanned_children() -> Vec<Shown> {
    let ours = numbers("self").and_then(|numbers| numbers.first().map(u32::to_string)).unwrap_or_default();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|process| {
            let process = process.ok()?;
            let name = process.file_name();
            let number = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))?;
            let stat = fs::read_to_string(process.path().join("stat")).ok()?;
            // "pid (name) state parent …", where a name may hold anything
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
            (parent == ours).then(|| Shown::new(number))?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_looking_find_the_same_children() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let among = |children: Vec<Shown>| children.iter().any(|shown| shown.pid.as_raw_nonzero().get() == pid);
        assert!(among(scanned_children()));
        assert!(listed_children().is_none_or(among));
        assert!(memory(pid).is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(memory(pid), None);
    }
}
