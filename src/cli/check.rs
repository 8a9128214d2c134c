//! `windlass check`: everything that is wrong with the config, without running it.

use std::path::PathBuf;

use clap::Args;

use super::screen::Screen;
use super::{Exit, Failure, Globals};
use crate::config::check;

/// Check the config: every mistake at once, with its line and the fix
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass check
  windlass check deploy/windlass.yaml
  windlass check --json | jq '.problems[].key'

The exit code is 2 when the config may not be run; warnings alone leave it 0.")]
pub struct Check {
    /// The config to check [default: the one that run would take]
    file: Option<PathBuf>,
}

pub(super) fn run(args: &Check, globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    let file = args.file.clone().or_else(|| globals.file());
    let checked = check::check(file.as_deref());
    if screen.json {
        screen.document(&checked)?;
    } else {
        screen.text(&checked.render())?;
    }
    Ok(if checked.passed() { Exit::Done } else { Exit::Usage })
}
