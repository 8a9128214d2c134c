//! How much memory this process may use: the tightest limit of its cgroups (v2 or v1), else what the machine has.

use std::fs;
use std::path::{Path, PathBuf};

/// What is assumed where the system tells nothing.
const UNKNOWN: u64 = 1 << 30;

/// In bytes.
#[must_use]
pub fn limit() -> u64 {
    limit_below(Path::new("/"))
}

/// As [`limit`], with the file system's root elsewhere.
fn limit_below(root: &Path) -> u64 {
    let physical = physical(root).unwrap_or(UNKNOWN);
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    groups.lines().flat_map(|line| group_limits(root, line)).fold(physical, u64::min)
}

fn physical(root: &Path) -> Option<u64> {
    let info = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// The limits of one line of `/proc/self/cgroup` (`0::/path` for v2, `4:memory:/path` for v1): each group up to the root
/// counts. In a container the path may be the host's; the root's own file is the container's then.
fn group_limits(root: &Path, line: &str) -> Vec<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (mount, file) = match parts.next() {
        Some("") => ("sys/fs/cgroup", "memory.max"),
        Some(controllers) if controllers.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let mount = root.join(mount);
    let path = parts.next().unwrap_or("/").trim_start_matches('/');
    let folders = Path::new(path).ancestors().map(|folder| mount.join(folder));
    folders.filter_map(|folder: PathBuf| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> u64 {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        limit_below(root.path())
    }

    const EIGHT_GIB: (&str, &str) = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");

    #[test]
    fn without_a_limit_it_is_what_the_machine_has() {
        assert_eq!(machine(&[EIGHT_GIB]), 8 << 30);
        assert_eq!(machine(&[EIGHT_GIB, ("proc/self/cgroup", "0::/a\n"), ("sys/fs/cgroup/a/memory.max", "max\n")]), 8 << 30);
    }

    #[test]
    fn the_tightest_group_up_to_the_root_counts() {
        let groups = ("proc/self/cgroup", "0::/pod/worker\n");
        let tight = ("sys/fs/cgroup/pod/memory.max", "536870912\n");
        let loose = ("sys/fs/cgroup/pod/worker/memory.max", "1073741824\n");
        assert_eq!(machine(&[EIGHT_GIB, groups, tight, loose]), 512 << 20);
    }

    #[test]
    fn the_first_version_of_cgroups_is_read_even_where_the_path_is_the_hosts() {
        let groups = ("proc/self/cgroup", "9:cpu,cpuacct:/x\n4:memory:/docker/abc\n");
        assert_eq!(machine(&[EIGHT_GIB, groups, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n")]), 256 << 20);
        // what version 1 says for "no limit"
        let none = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(machine(&[EIGHT_GIB, groups, none]), 8 << 30);
    }
}
