//! `windlass explain`: the config in effect with the origin of each value, or the path that one message would take.

use std::io::Read as _;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::screen::Screen;
use super::{Exit, Failure, Globals};
use crate::config::{self, Loaded, explain::explain_message};
use crate::job::Message;

/// The largest message read from standard input, in bytes.
const LARGEST: u64 = 64 << 20;

/// Explain the config in effect, or what would become of a message
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass explain                            the config, with its origins
  windlass explain --defaults > windlass.yaml
  windlass explain '{\"type\": \"mail.send\"}'    its route, retries and exits
  head -1 jobs.jsonl | windlass explain -")]
pub struct Explain {
    /// A message as a producer would publish it, or - for standard input
    message: Option<String>,
    /// As if it came from this queue
    #[arg(long, requires = "message")]
    queue: Option<String>,
    /// Print every key there is with its default and a comment
    #[arg(long, conflicts_with_all = ["message", "config"])]
    defaults: bool,
}

pub(super) fn run(args: &Explain, globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    if args.defaults {
        screen.answer(&json!({ "yaml": config::DEFAULT_YAML }), config::DEFAULT_YAML.trim_end())?;
        return Ok(Exit::Done);
    }
    let loaded = config::load(globals.file().as_deref()).map_err(Failure::config)?;
    match &args.message {
        None => whole(&loaded, screen)?,
        Some(message) => {
            let message = Message::of(bytes(message)?);
            let explained = explain_message(&loaded.config, args.queue.as_deref(), &message, Timestamp::now());
            let explanation = explained.map_err(Failure::usage)?;
            if screen.json { screen.document(&explanation)? } else { screen.text(&explanation.to_string())? }
        }
    }
    Ok(Exit::Done)
}

fn whole(loaded: &Loaded, screen: &mut Screen) -> Result<(), Failure> {
    let yaml = loaded.explain().map_err(Failure::failed)?;
    if screen.json {
        screen.document(&json!({ "yaml": yaml }))?
    } else {
        screen.text(&yaml)?
    }
    Ok(())
}

fn bytes(message: &str) -> Result<Vec<u8>, Failure> {
    if message != "-" {
        return Ok(message.into());
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().take(LARGEST).read_to_end(&mut bytes);
    read.map_err(|error| Failure::failed(format!("cannot read the message: {error}")))?;
    Ok(bytes)
}
