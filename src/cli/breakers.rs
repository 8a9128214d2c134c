//! `windlass breakers`: which executors are shut and why, and an operator's hand on them.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Deserialize;

use super::jobs::who;
use super::screen::{Colour, Column, Screen, Table};
use super::session::{Ask, Missing, Reach, Session};
use super::words::{since, until};
use super::{Exit, Failure, Globals};
use crate::admin::breakers::By;
use crate::engine::breaker::Phase;
use crate::engine::guard::GuardReport;

/// See which executors are shut, hold one open, close it
#[derive(Debug, Args)]
pub struct Breakers {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Open(Open),
    Close(Close),
}

/// List the executors with their breakers and limits
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass breakers list
  windlass breakers list --json | jq 'select(.state != \"closed\")'")]
struct List {}

/// Start no more jobs of an executor until it is closed; its jobs wait
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  windlass breakers open thumbs      before its target is serviced

It lasts until it is closed, over restarts of the worker too where the config has a state\nstore (as it has with an embedded queue).")]
struct Open {
    /// The executor
    executor: String,
}

/// Start jobs of an executor again, few at first, without waiting for a probe
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  windlass breakers close thumbs")]
struct Close {
    /// The executor
    executor: String,
}

#[derive(Deserialize)]
pub(super) struct Listed {
    pub breakers: Vec<GuardReport>,
}

pub(super) async fn run(breakers: Breakers, globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    let session = Session::open(breakers.reach.target(globals)?, Missing::Refuse).await?;
    let done = match breakers.command {
        Command::List(List {}) => list(&session, screen).await,
        Command::Open(Open { executor }) => turn(&session, &executor, "open", screen).await,
        Command::Close(Close { executor }) => turn(&session, &executor, "close", screen).await,
    };
    session.close().await;
    done
}

async fn turn(session: &Session, executor: &str, verb: &str, screen: &mut Screen) -> Result<Exit, Failure> {
    let ask = Ask::post("/breakers").part(executor).part(verb).json(&By { by: Some(who()) });
    let report: GuardReport = session.ask(ask).await?;
    let said = match verb {
        "open" if report.remembered == Some(true) => {
            format!("{executor} is held open, after a restart too: windlass breakers close {executor}")
        }
        "open" => format!(
            "{executor} is held open until the worker ends, since no state store would remember it (add state: to the config):\n  \
             windlass breakers close {executor}"
        ),
        _ => format!("{executor} is closed"),
    };
    screen.answer(&report, &said)?;
    Ok(Exit::Done)
}

async fn list(session: &Session, screen: &mut Screen) -> Result<Exit, Failure> {
    let Listed { breakers } = session.ask(Ask::get("/breakers")).await?;
    if screen.json {
        breakers.iter().try_for_each(|breaker| screen.document(breaker))?;
        return Ok(Exit::Done);
    }
    screen.table(table(&breakers))?;
    for breaker in breakers.iter().filter(|breaker| !matches!(breaker.state, None | Some(Phase::Closed))) {
        screen.line(&format!("\n{}", why(breaker)))?;
    }
    Ok(Exit::Done)
}

pub(super) fn table(breakers: &[GuardReport]) -> Table {
    let mut table = Table::new(&[
        Column::left("EXECUTOR"),
        Column::left("STATE"),
        Column::right("SINCE"),
        Column::right("OPENED"),
        Column::right("RUNNING"),
        Column::right("LIMIT"),
        Column::left("NEXT"),
    ]);
    let now = Timestamp::now();
    breakers.iter().for_each(|breaker| table.painted(row(breaker, now)));
    table
}

fn row(breaker: &GuardReport, now: Timestamp) -> Vec<(String, Colour)> {
    let (state, colour) = match breaker.state {
        None => ("off", Colour::Dim),
        Some(Phase::Closed) => ("closed", Colour::Green),
        Some(Phase::HalfOpen) => ("half-open", Colour::Yellow),
        Some(Phase::Open) => ("open", Colour::Red),
    };
    let next = match (&breaker.held_by, breaker.next_probe.or(breaker.paused_until)) {
        (Some(by), _) => format!("held by {by}"),
        (None, Some(at)) if breaker.next_probe.is_some() => format!("probe {}", until(at, now)),
        (None, Some(at)) => format!("paused, {}", until(at, now)),
        (None, None) => String::new(),
    };
    vec![
        (breaker.executor.to_string(), Colour::Plain),
        (state.into(), colour),
        (since(breaker.since, now), Colour::Plain),
        (breaker.openings.to_string(), if breaker.openings > 0 { Colour::Plain } else { Colour::Dim }),
        (breaker.running.to_string(), Colour::Blue),
        (breaker.limit.map_or_else(|| "none".into(), |limit| limit.to_string()), Colour::Plain),
        (next, Colour::Plain),
    ]
}

fn why(breaker: &GuardReport) -> String {
    let executor = &breaker.executor;
    match (&breaker.held_by, &breaker.last) {
        (Some(by), _) => format!("{executor}: {by} holds it open"),
        (None, Some(last)) => {
            let GuardReport { failing, seen, .. } = breaker;
            format!(
                "{executor}: {failing} of {seen} jobs found its target dead; the last one:\n  {}: {}",
                last.class, last.message
            )
        }
        (None, None) => format!("{executor}: its target does not answer"),
    }
}
