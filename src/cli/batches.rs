//! `windlass batches`: how far they have come, and an end to what has not started.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::screen::{Colour, Column, Screen, Table};
use super::session::{Ask, Missing, Reach, Session};
use super::words::{grouped, since};
use super::{Exit, Failure, Globals};
use crate::admin::batches::BatchPage;
use crate::batches::BatchView;

/// List job batches, look at one, cancel one
#[derive(Debug, Args)]
pub struct Batches {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Show(Show),
    Cancel(Cancel),
}

/// List the batches of which a job was taken, with the counts of their jobs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass batches list
  windlass batches list --json | jq 'select(.completed == null) | .id'")]
struct List {
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// After this batch
    #[arg(long, value_name = "ID")]
    after: Option<String>,
}

/// Show one batch, with some of its dead jobs
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  windlass batches show import-2026-11-21")]
struct Show {
    /// Its id
    id: String,
}

/// Discard the jobs of a batch that have not started, each when its turn comes
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  windlass batches cancel import-2026-11-21       what runs goes on")]
struct Cancel {
    /// Its id
    id: String,
    /// Who cancels [default: $USER]
    #[arg(long, env = "USER", hide_env = true)]
    by: Option<String>,
}

pub(super) async fn run(batches: Batches, globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    let session = Session::open(batches.reach.target(globals)?, Missing::Refuse).await?;
    let done = match batches.command {
        Command::List(List { limit, after }) => list(&session, limit, after.as_deref(), screen).await,
        Command::Show(Show { id }) => show(&session, &id, screen).await,
        Command::Cancel(Cancel { id, by }) => cancel(&session, &id, by, screen).await,
    };
    session.close().await;
    done
}

async fn cancel(session: &Session, id: &str, by: Option<String>, screen: &mut Screen) -> Result<Exit, Failure> {
    let body = json!({ "by": by });
    let document: Value = session.ask(Ask::post("/batches").part(id).part("cancel").json(&body)).await?;
    screen.answer(&document, &format!("{id}  {}", document["done"].as_str().unwrap_or_default()))?;
    Ok(Exit::Done)
}

async fn list(session: &Session, limit: usize, after: Option<&str>, screen: &mut Screen) -> Result<Exit, Failure> {
    let ask = Ask::get("/batches").with("limit", &limit.to_string()).with_any("after", after);
    let BatchPage { batches, next } = session.ask(ask).await?;
    if screen.json {
        batches.iter().try_for_each(|batch| screen.document(batch))?;
        return Ok(Exit::Done);
    }
    if batches.is_empty() {
        screen.line("there are no batches: submit jobs with --batch ID")?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        Column::left("BATCH"),
        Column::right("SIZE"),
        Column::right("DONE"),
        Column::right("DEAD"),
        Column::right("DISCARDED"),
        Column::left("STATE"),
        Column::right("OPENED"),
    ]);
    let now = Timestamp::now();
    batches.iter().for_each(|batch| table.painted(row(batch, now)));
    screen.table(table)?;
    if let Some(next) = next {
        screen.line(&format!("there are more: windlass batches list --after {next}"))?;
    }
    Ok(Exit::Done)
}

fn row(batch: &BatchView, now: Timestamp) -> Vec<(String, Colour)> {
    let standing = &batch.standing;
    let number = |count: u64, colour| (grouped(count), if count == 0 { Colour::Dim } else { colour });
    vec![
        (batch.id.to_string(), Colour::Plain),
        (standing.size.map_or("?".into(), grouped), Colour::Plain),
        number(standing.done, Colour::Green),
        number(standing.dead, Colour::Red),
        number(standing.discarded, Colour::Yellow),
        (state(batch).into(), Colour::Plain),
        (format!("{} ago", since(standing.opened, now)), Colour::Dim),
    ]
}

fn state(batch: &BatchView) -> &'static str {
    match (&batch.standing.completed, &batch.standing.cancelled) {
        (Some(_), Some(_)) => "complete, cancelled",
        (Some(_), None) => "complete",
        (None, Some(_)) => "cancelled",
        (None, None) => "open",
    }
}

async fn show(session: &Session, id: &str, screen: &mut Screen) -> Result<Exit, Failure> {
    let batch: BatchView = session.ask(Ask::get("/batches").part(id)).await?;
    if screen.json {
        screen.document(&batch)?;
        return Ok(Exit::Done);
    }
    let standing = &batch.standing;
    let size =
        standing.size.map_or("a number of jobs that none of them has said".into(), |size| format!("{} jobs", grouped(size)));
    let mut facts = vec![("batch", batch.id.to_string()), ("state", state(&batch).into()), ("size", size)];
    for (label, count) in [("done", standing.done), ("dead", standing.dead), ("discarded", standing.discarded)] {
        facts.push((label, grouped(count)));
    }
    facts.push(("opened", standing.opened.to_string()));
    facts.extend(standing.completed.map(|at| ("completed", at.to_string())));
    facts.extend(standing.cancelled.as_ref().map(|by| ("cancelled", format!("by {by}"))));
    for (label, value) in facts {
        screen.line(&format!("{label:<13} {value}"))?;
    }
    for (index, job) in batch.dead_jobs.iter().enumerate() {
        screen.line(&format!("{:<13} {job}", if index == 0 { "dead jobs" } else { "" }))?;
    }
    Ok(Exit::Done)
}
