//! The kernel's own count of processes it ended for want of memory, in the worker's control group.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often the out-of-memory killer has struck in our control group; `None` where the kernel does not tell.
pub fn out_of_memory_kills() -> Option<u64> {
    static COUNTER: OnceLock<Option<File>> = OnceLock::new();
    let file = COUNTER.get_or_init(counter).as_ref()?;
    let mut text = [0u8; 1024];
    let read = file.read_at(&mut text, 0).ok()?;
    kills(std::str::from_utf8(&text[..read]).ok()?)
}

/// Whether it has struck since `before` was read, at none that was told of already: a process that lives long sees many
/// strikes at others.
pub fn out_of_memory_since(before: Option<u64>) -> bool {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    let (Some(before), Some(now)) = (before, out_of_memory_kills()) else { return false };
    let next = |told: u64| one_more(before, told, now);
    TOLD.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
}

/// The count up to which strikes are told of, with one more; none when all are.
fn one_more(before: u64, told: u64, now: u64) -> Option<u64> {
    let known = before.max(told);
    (known < now).then_some(known + 1)
}

/// Version 2 keeps the count in `memory.events`, version 1 in `memory.oom_control`. Inside a container the control group
/// named in `/proc/self/cgroup` may be mounted as the root of the tree.
fn counter() -> Option<File> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    groups
        .lines()
        .filter_map(|line| {
            let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
            let (root, file) = match controllers {
                "" => ("/sys/fs/cgroup", "memory.events"),
                _ if controllers.split(',').any(|controller| controller == "memory") => {
                    ("/sys/fs/cgroup/memory", "memory.oom_control")
                }
                _ => return None,
            };
            File::open(format!("{root}{group}/{file}")).or_else(|_| File::open(format!("{root}/{file}"))).ok()
        })
        .next()
}

fn kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::{kills, one_more};

    #[test]
    fn each_strike_is_told_of_once() {
        assert_eq!(one_more(3, 0, 3), None);
        assert_eq!(one_more(3, 0, 5), Some(4), "of two that were struck at once");
        assert_eq!(one_more(3, 4, 5), Some(5));
        assert_eq!(one_more(3, 5, 5), None, "it was there when others were struck");
    }

    #[test]
    fn the_count_is_read_from_both_versions_of_control_groups() {
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(kills("low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\n"), None);
    }
}
