//! `windlass schedules`: what is due next, and a schedule's job now.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::screen::{Colour, Column, Screen, Table};
use super::session::{Ask, Missing, Reach, Session};
use super::words::{since, until};
use super::{Exit, Failure, Globals};
use crate::schedules::ScheduleView;

/// List the schedules, run one of them now
#[derive(Debug, Args)]
pub struct Schedules {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Run(Run),
}

/// List the schedules with when they were last submitted and are due next
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass schedules list
  windlass schedules list --next 5 --json | jq '.next'")]
struct List {
    /// How many due times to show of each
    #[arg(long, default_value_t = 1)]
    next: usize,
}

/// Submit the job of a schedule now, beside its due times
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  windlass schedules run nightly-report")]
struct Run {
    /// Its name
    name: String,
}

#[derive(Deserialize)]
struct Answer {
    schedules: Vec<ScheduleView>,
}

pub(super) async fn run(schedules: Schedules, globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    let missing = if matches!(schedules.command, Command::Run(_)) { Missing::Create } else { Missing::Refuse };
    let session = Session::open(schedules.reach.target(globals)?, missing).await?;
    let done = match schedules.command {
        Command::List(List { next }) => list(&session, next, screen).await,
        Command::Run(Run { name }) => run_now(&session, &name, screen).await,
    };
    session.close().await;
    done
}

async fn run_now(session: &Session, name: &str, screen: &mut Screen) -> Result<Exit, Failure> {
    let document: Value = session.ask(Ask::post("/schedules").part(name).part("run")).await?;
    let id = document["id"].as_str().unwrap_or_default();
    screen.answer(&document, id)?;
    Ok(Exit::Done)
}

async fn list(session: &Session, next: usize, screen: &mut Screen) -> Result<Exit, Failure> {
    let Answer { schedules } = session.ask(Ask::get("/schedules").with("next", &next.to_string())).await?;
    if screen.json {
        schedules.iter().try_for_each(|schedule| screen.document(schedule))?;
        return Ok(Exit::Done);
    }
    if schedules.is_empty() {
        screen.line("there are no schedules: name some under schedules: in the config")?;
        return Ok(Exit::Done);
    }
    let columns = ["SCHEDULE", "DUE", "TYPE", "LAST", "NEXT", ""];
    let mut table = Table::new(&columns.map(Column::left));
    let now = Timestamp::now();
    schedules.iter().for_each(|schedule| rows(schedule, now, &mut table));
    screen.table(table)?;
    Ok(Exit::Done)
}

fn rows(schedule: &ScheduleView, now: Timestamp, table: &mut Table) {
    let (mut next, fired) =
        (schedule.next.iter(), schedule.fired.map_or("never".into(), |fired| format!("{} ago", since(fired, now))));
    let times = |due: Option<&Timestamp>| {
        let shown = due.map_or("never".into(), |due| due.strftime("%m-%d %H:%M:%SZ").to_string());
        [shown, due.map_or(String::new(), |due| until(*due, now))]
    };
    let [due, wait] = times(next.next());
    let plain = [schedule.name.to_string(), schedule.due.clone(), schedule.kind.clone(), fired, due, wait];
    table.painted(plain.map(|text| (text, Colour::Plain)).to_vec());
    for due in next {
        let [due, wait] = times(Some(due));
        let blank = || String::new();
        table.painted([blank(), blank(), blank(), blank(), due, wait].map(|text| (text, Colour::Dim)).to_vec());
    }
}
