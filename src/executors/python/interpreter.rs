//! The interpreter behind the name: pyenv and its like put a shell script in front that takes ten times as long to start.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The interpreter that `program` starts; itself, unless it is a script.
///
/// # Errors
/// A sentence with what the script said instead.
pub fn behind(program: &Path) -> Result<PathBuf, String> {
    let mut start = [0; 2];
    let is_script = File::open(program).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"#!";
    if !is_script {
        return Ok(program.to_path_buf());
    }
    let told = Command::new(program)
        .args(["-c", "import sys; print(sys.executable)"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("python: {} could not be started: {error}", program.display()))?;
    let path = String::from_utf8_lossy(&told.stdout).trim().to_owned();
    if told.status.success() && Path::new(&path).is_file() {
        return Ok(path.into());
    }
    let said = String::from_utf8_lossy(&told.stderr);
    Err(format!("python: {} leads to no interpreter: {}", program.display(), said.trim()))
}
