//! What to start: a program, its arguments, its surroundings and its limits.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

use crate::outcome::{Class, Failure};

/// A process to start. Nothing of the worker reaches it but what stands here.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub directory: PathBuf,
    pub environment: Vec<(String, String)>,
    /// Address space, in bytes.
    pub memory: Option<u64>,
    /// Processor time.
    pub cpu: Option<Duration>,
}

impl Recipe {
    /// What a start that failed means for the job that wanted it.
    #[must_use]
    pub fn not_started(&self, error: &io::Error) -> Failure {
        let class = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Class::Misconfigured,
            _ if error.raw_os_error() == Some(Errno::ENOEXEC as i32) => Class::Misconfigured,
            // a zero byte in a key, or a key too long for a variable: no other worker can do better
            io::ErrorKind::InvalidInput | io::ErrorKind::ArgumentListTooLong => Class::Rejected,
            _ => Class::Unavailable,
        };
        let (program, directory) = (self.program.display(), self.directory.display());
        Failure::new(class, format!("{program} could not be started in {directory}: {error}"))
    }
}

/// Where a program lies: with a slash relative to `base`, without one on the worker's `PATH`.
///
/// # Errors
/// A sentence that says what is missing.
pub fn find_program(program: &str, base: &Path) -> Result<PathBuf, String> {
    if program.contains('/') {
        let path = base.join(program);
        return match std::fs::metadata(&path) {
            Err(error) => Err(format!("the program {} cannot be read: {error}", path.display())),
            Ok(file) if !file.is_file() => Err(format!("the program {} is not a file", path.display())),
            Ok(file) if !executable(&file) => Err(format!("the program {0} is not executable: chmod +x {0}", path.display())),
            Ok(_) => std::path::absolute(&path).map_err(|error| format!("the program {}: {error}", path.display())),
        };
    }
    let search = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&search)
        .map(|folder| folder.join(program))
        .find(|path| std::fs::metadata(path).is_ok_and(|file| file.is_file() && executable(&file)))
        .ok_or_else(|| format!("the program {program:?} is not on the PATH: install it, or write the path to it with a slash"))
}

fn executable(file: &std::fs::Metadata) -> bool {
    file.permissions().mode() & 0o111 != 0
}
