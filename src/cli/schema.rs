//! `windlass schema`: the published JSON Schemas, for producers and consumers of messages.

use clap::Args;
use serde_json::json;

use super::screen::Screen;
use super::{Exit, Failure};
use crate::schema::{NAMES, schema};

/// Print a JSON Schema: of a job, of the events that come out, of a failure
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass schema                     the names there are
  windlass schema job > job.schema.json")]
pub struct Schema {
    /// Which one
    name: Option<String>,
}

pub(super) fn run(args: &Schema, screen: &mut Screen) -> Result<Exit, Failure> {
    match &args.name {
        None => screen.answer(&json!({ "schemas": NAMES }), &NAMES.join("\n"))?,
        Some(name) => {
            let schema = schema(name).map_err(Failure::not_found)?;
            screen.answer(&schema, &serde_json::to_string_pretty(&schema).unwrap_or_default())?;
        }
    }
    Ok(Exit::Done)
}
