//! The SDK, carried in the worker and laid where the interpreter finds it: nobody has to install anything.

use std::fmt::Write;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_str!(concat!("../../../sdk/python/", $path)))),*]
    };
}

const FILES: [(&str, &str); 11] = files![
    "__main__.py",
    "windlass/__init__.py",
    "windlass/answers.py",
    "windlass/client.py",
    "windlass/context.py",
    "windlass/errors.py",
    "windlass/frames.py",
    "windlass/host.py",
    "windlass/plugin.py",
    "windlass/streams.py",
    "windlass/testing.py",
];

/// The SDK's folder in the file system, named by what is in it: workers of one version share it, others have their own.
#[derive(Debug)]
pub struct Sdk {
    folder: PathBuf,
    /// Keeps systemd-tmpfiles from clearing it away while it is in use.
    _lock: File,
}

impl Sdk {
    /// # Errors
    /// A sentence that says where it cannot be laid, and why.
    pub fn unpack() -> Result<Self, String> {
        let user = rustix::process::geteuid().as_raw();
        let folder = std::env::temp_dir().join(format!("windlass-python-{user}-{}", version()));
        let why = |error: io::Error| format!("the Python SDK cannot be unpacked to {} (TMPDIR): {error}", folder.display());
        own(&folder, user).map_err(why)?;
        own(&folder.join("windlass"), user).map_err(why)?;
        for (path, text) in FILES {
            write(&folder.join(path), text).map_err(why)?;
        }
        let lock = File::open(&folder).map_err(why)?;
        lock.lock_shared().map_err(why)?;
        Ok(Sdk { folder, _lock: lock })
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Makes the folder; one that is there must be ours alone, since code is run from it.
fn own(folder: &Path, user: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let found = std::fs::symlink_metadata(folder)?;
    if found.is_dir() && found.uid() == user && found.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(io::Error::other("it is there already and others may write to it: remove it"))
    }
}

/// Whole or not at all: another worker may be reading it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&fresh, text)?;
    std::fs::rename(&fresh, path)
}

fn version() -> String {
    let mut hash = Sha256::new();
    for (path, text) in FILES {
        hash.update(path.as_bytes());
        hash.update([0]);
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(8).fold(String::new(), |mut name, byte| {
        let _infallible = write!(name, "{byte:02x}");
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_laid_out_once_and_repaired_where_it_was_damaged() {
        let sdk = Sdk::unpack().unwrap();
        let file = sdk.folder().join("windlass/errors.py");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("class Retry"));
        assert_eq!(Sdk::unpack().unwrap().folder(), sdk.folder());
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("sdk");
        let user = rustix::process::geteuid().as_raw();
        own(&folder, user).unwrap();
        own(&folder, user).unwrap();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(own(&folder, user).unwrap_err().to_string().contains("remove it"));
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(own(&link, user).is_err());
    }

    #[test]
    fn every_module_of_the_sdk_is_carried() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/python/windlass");
        let modules = std::fs::read_dir(source).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        for module in modules.filter(|name| name.ends_with(".py")) {
            assert!(FILES.iter().any(|(path, _)| *path == format!("windlass/{module}")), "{module}");
        }
    }
}
