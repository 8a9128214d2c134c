//! What must hold before the database file is opened: one owner, a local disk, and a file that is ours.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statfs};

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path} is open in process {owner}; act through it (it listens on {socket})")]
    Owned { path: PathBuf, owner: String, socket: PathBuf },
    #[error("the directory {0} does not exist: create it, or correct `path`")]
    NoDirectory(PathBuf),
    #[error("{0} is not a regular file: name a file in `path`; it is created when it does not exist")]
    NotAFile(PathBuf),
    #[error("{path} cannot be written: {error}; give this user the right to write the file and its directory")]
    ReadOnly { path: PathBuf, error: io::Error },
    #[error("{path} lies on a network file system ({kind}), whose locks and syncs cannot be relied on: move it to a local disk")]
    Network { path: PathBuf, kind: String },
    #[error("{0} is not a windlass store: name another file in `path`, it was not touched")]
    Foreign(PathBuf),
    #[error(
        "{path} was written by a newer windlass ({written_by}, layout {version}); this one reads up to layout {known}: \
         upgrade it, the file was not touched"
    )]
    Newer { path: PathBuf, written_by: String, version: i64, known: i64 },
    #[error(
        "{path} was written by an unreleased windlass ({written_by}, layout {version}); this one reads layout {known}: finish \
         its jobs with that one and move it away, the file was not touched"
    )]
    Older { path: PathBuf, written_by: String, version: i64, known: i64 },
    #[error(
        "{path} is damaged ({detail}): stop, copy the file with its -wal, and recover the copy with \
         `sqlite3 {path} .recover | sqlite3 recovered.db`"
    )]
    Damaged { path: PathBuf, detail: String },
    #[error("{path} cannot be opened: {detail}")]
    Other { path: PathBuf, detail: String },
}

/// `<database>.<suffix>`.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Where the owner of a store listens for other processes.
#[must_use]
pub fn socket_path(database: &Path) -> PathBuf {
    beside(database, "sock")
}

/// Held by the one process that has the store open; released when it is dropped, or by the kernel.
pub(super) struct Ownership {
    _lock: File,
}

/// Checks the place and takes the store for this process.
pub(super) fn own(path: &Path) -> Result<Ownership, OpenError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Err(OpenError::NoDirectory(directory.into()));
    }
    refuse_network(path, directory)?;
    check_file(path)?;
    lock(path)
}

/// The file is absent, empty, or an SQLite database.
pub(super) fn check_file(path: &Path) -> Result<(), OpenError> {
    let read = |error: io::Error| OpenError::Other { path: path.into(), detail: error.to_string() };
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(OpenError::NotAFile(path.into())),
        Ok(metadata) if metadata.len() == 0 => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(read(error)),
    }
    OpenOptions::new().append(true).open(path).map_err(|error| OpenError::ReadOnly { path: path.into(), error })?;
    let mut start = Vec::new();
    File::open(path).and_then(|file| file.take(16).read_to_end(&mut start)).map_err(read)?;
    if start == *b"SQLite format 3\0" { Ok(()) } else { Err(OpenError::Foreign(path.into())) }
}

fn lock(path: &Path) -> Result<Ownership, OpenError> {
    let lock_path = beside(path, "lock");
    let unwritable = |error: io::Error| OpenError::ReadOnly { path: path.into(), error };
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(lock_path).map_err(unwritable)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut owner = String::new();
            drop(file.read_to_string(&mut owner));
            let owner = Some(owner.trim()).filter(|owner| !owner.is_empty()).unwrap_or("unknown").to_owned();
            return Err(OpenError::Owned { path: path.into(), owner, socket: socket_path(path) });
        }
        Err(error) => return Err(OpenError::Other { path: path.into(), detail: format!("its lock: {error}") }),
    }
    file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(unwritable)?;
    Ok(Ownership { _lock: file })
}

/// File systems whose locks or syncs are only promises, by the magic numbers of statfs(2).
const NETWORK: [(u32, &str); 8] = [
    (0x6969, "nfs"),
    (0x517b, "smb"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "ceph"),
    (0x5346_414f, "afs"),
    (0x0bd0_0bd0, "lustre"),
];
const FUSE: u32 = 0x6573_5546;
/// FUSE carries local file systems too; these are not.
const NETWORK_FUSE: [&str; 8] = ["sshfs", "glusterfs", "s3fs", "rclone", "juicefs", "goofys", "gcsfuse", "davfs"];

fn refuse_network(path: &Path, directory: &Path) -> Result<(), OpenError> {
    // a file system that cannot be asked is not known to be remote
    let Ok(stat) = statfs(directory) else { return Ok(()) };
    let magic = stat.f_type as u32;
    let kind = match NETWORK.iter().find(|(known, _)| *known == magic) {
        Some((_, name)) => Some((*name).to_owned()),
        None if magic == FUSE => {
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            directory
                .canonicalize()
                .ok()
                .and_then(|directory| mounted_as(&mounts, &directory))
                .filter(|kind| is_remote_fuse(kind))
        }
        None => None,
    };
    kind.map_or(Ok(()), |kind| Err(OpenError::Network { path: path.into(), kind }))
}

fn is_remote_fuse(kind: &str) -> bool {
    kind.strip_prefix("fuse.").is_some_and(|name| NETWORK_FUSE.contains(&name))
}

/// The type of the file system that holds `directory`, after the format of /proc/self/mountinfo in proc(5).
fn mounted_as(mounts: &str, directory: &Path) -> Option<String> {
    let holders = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        directory.starts_with(point).then(|| (point.len(), after.split(' ').next().unwrap_or_default().to_owned()))
    });
    holders.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_told_who_the_first_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("windlass.db");
        let first = own(&path).unwrap();
        let refused = own(&path).err().unwrap().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        assert!(refused.contains("windlass.db.sock"), "{refused}");
        drop(first);
        own(&path).unwrap();
    }

    #[test]
    fn a_place_that_cannot_hold_a_store_is_refused_with_a_sentence() {
        let directory = tempfile::tempdir().unwrap();
        let missing = own(&directory.path().join("no/windlass.db")).err().unwrap().to_string();
        assert!(missing.contains("does not exist"), "{missing}");
        let folder = own(directory.path()).err().unwrap().to_string();
        assert!(folder.contains("not a regular file"), "{folder}");
        let foreign = directory.path().join("notes.txt");
        std::fs::write(&foreign, "these are notes, not jobs").unwrap();
        assert!(matches!(own(&foreign), Err(OpenError::Foreign(_))));
        assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "these are notes, not jobs");
    }

    #[test]
    fn a_remote_fuse_mount_is_told_from_a_local_one() {
        let mounts = "21 1 254:1 / / rw shared:1 - ext4 /dev/vda1 rw\n\
                      88 21 0:50 / /mnt/far rw shared:3 - fuse.sshfs me@far:/ rw\n\
                      89 21 0:51 / /mnt/near rw shared:3 - fuse.fuse-overlayfs none rw\n";
        let kind = |path: &str| mounted_as(mounts, Path::new(path)).unwrap();
        assert!(is_remote_fuse(&kind("/mnt/far/jobs")));
        assert!(!is_remote_fuse(&kind("/mnt/near")));
        assert_eq!(kind("/var/lib"), "ext4");
    }
}
