//! The exit codes, in one place.

use std::process::ExitCode;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done as asked.
    Done = 0,
    /// It was tried and failed: the job, the audit, the command.
    Failed = 1,
    /// The command line, the config or a job is wrong; nothing was done.
    Usage = 2,
    /// There is no such job, queue or file.
    NotFound = 3,
    /// Some of it is done and the rest is not, or the time to wait was over.
    Partly = 4,
    /// The store or the worker cannot be reached now: try again.
    Unavailable = 5,
}

/// What `--help` says of them.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  it was tried and failed: the job, the audit, the command
  2  the command line, the config or a job is wrong; nothing was done
  3  there is no such job, queue or file
  4  some of it is done and the rest is not, or the time to wait was over
  5  the store or the worker cannot be reached now: try again";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_code() {
        let all = [Exit::Done, Exit::Failed, Exit::Usage, Exit::NotFound, Exit::Partly, Exit::Unavailable];
        for exit in all {
            assert!(HELP.contains(&format!("\n  {}  ", exit as u8)), "{exit:?}");
        }
        assert_eq!(HELP.lines().count(), all.len() + 1);
    }
}
