//! `windlass queues`: their counts, and a switch that stops handing out their jobs.

mod parts;
mod stats;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::Value;

use super::screen::{Colour, Column, Screen, Table};
use super::session::{Ask, Missing, Reach, Session};
use super::words::{grouped, since};
use super::{Exit, Failure, Globals};
use crate::admin::desk::Counts;
use crate::ports::QueueStats;

/// Count the jobs of every queue, pause and resume queues
#[derive(Debug, Args)]
pub struct Queues {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Stats(Stats),
    Pause(Pause),
    Resume(Resume),
    Create(Create),
    Check(Check),
}

/// List the queues with the counts of their jobs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass queues list
  windlass queues list --json | jq 'select(.dead > 0)'")]
struct List {}

/// Say how much waits in the queues, how long already, who takes it, and how far behind
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass queues stats
  windlass queues stats orders    with a line for each partition, where it has some
  windlass queues stats --json | jq 'select(.consumers == 0)'")]
struct Stats {
    /// Of this queue alone
    queue: Option<String>,
}

/// Hand out no more jobs of a queue; what runs goes on
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  windlass queues pause jobs      lasts until resumed, over restarts too")]
struct Pause {
    /// Its name
    queue: String,
}

/// Hand out the jobs of a queue again
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  windlass queues resume jobs")]
struct Resume {
    /// Its name
    queue: String,
}

/// Make what queues of brokers need and is missing: topics, queues, exchanges
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass queues create          shows the plan and changes nothing
  windlass queues create --yes    makes what is missing; what is there is never changed")]
struct Create {
    /// Carry out the plan
    #[arg(long)]
    yes: bool,
}

/// Compare what queues of brokers need with what is there
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  windlass queues check           ends with 1 when something is missing or otherwise than it must be")]
struct Check {}

pub(super) async fn run(queues: Queues, globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    let target = queues.reach.target(globals)?;
    match queues.command {
        Command::Create(Create { yes }) => return parts::create(&target, yes, screen).await,
        Command::Check(Check {}) => return parts::check(&target, screen).await,
        _ => {}
    }
    let session = Session::open(target, Missing::Refuse).await?;
    let done = match queues.command {
        Command::List(List {}) => list(&session, screen).await,
        Command::Stats(Stats { queue }) => stats::tell(&session, queue.as_deref(), screen).await,
        Command::Pause(Pause { queue }) => switch(&session, &queue, "pause", screen).await,
        Command::Resume(Resume { queue }) => switch(&session, &queue, "resume", screen).await,
        Command::Create(_) | Command::Check(_) => Ok(Exit::Done), // above, without a worker
    };
    session.close().await;
    done
}

async fn switch(session: &Session, queue: &str, verb: &str, screen: &mut Screen) -> Result<Exit, Failure> {
    let document: Value = session.ask(Ask::post("/queues").part(queue).part(verb)).await?;
    screen.answer(&document, &format!("{queue} is {verb}d"))?;
    Ok(Exit::Done)
}

async fn list(session: &Session, screen: &mut Screen) -> Result<Exit, Failure> {
    let (queues, exit) = ask(session).await?;
    if screen.json {
        queues.iter().try_for_each(|queue| screen.document(queue))?;
        return Ok(exit);
    }
    let mut table = Table::new(&[
        Column::left("QUEUE"),
        Column::right("WAITING"),
        Column::right("DELAYED"),
        Column::right("PARKED"),
        Column::right("RUNNING"),
        Column::right("DEAD"),
        Column::right("DONE"),
        Column::right("OLDEST"),
    ]);
    let now = Timestamp::now();
    // what lies beside a queue is counted in its own line
    let beside = |queue: &QueueStats| {
        let parked = queue.queue.rsplit_once(".parked.").map(|(home, _)| home);
        let home = queue.queue.strip_suffix(".dead").or(parked);
        home.is_some_and(|home| queues.iter().any(|other| &*other.queue == home))
    };
    queues.iter().filter(|queue| !beside(queue)).for_each(|queue| table.painted(row(queue, now)));
    screen.table(table)?;
    for queue in queues.iter().filter(|queue| queue.paused) {
        screen.line(&format!("{} is paused: windlass queues resume {}", queue.queue, queue.queue))?;
    }
    Ok(exit)
}

/// The counts of those that answer; the others are named beside them.
async fn ask(session: &Session) -> Result<(Vec<QueueStats>, Exit), Failure> {
    let counts: Counts = session.ask(Ask::get("/queues")).await?;
    for silent in &counts.silent {
        eprintln!("{} does not answer: {}", silent.queue, silent.why);
    }
    Ok((counts.queues, if counts.silent.is_empty() { Exit::Done } else { Exit::Partly }))
}

fn row(queue: &QueueStats, now: Timestamp) -> Vec<(String, Colour)> {
    vec![
        (queue.queue.to_string(), if queue.paused { Colour::Yellow } else { Colour::Plain }),
        number(Some(queue.waiting), Colour::Plain),
        number(queue.delayed, Colour::Plain),
        number(Some(queue.parked), Colour::Yellow),
        number(queue.running, Colour::Blue),
        number(Some(queue.dead), Colour::Red),
        number(queue.completed, Colour::Green),
        (queue.oldest.map_or_else(String::new, |oldest| since(oldest, now)), Colour::Plain),
    ]
}

/// A count in a table; what its system does not tell is a dash.
pub(super) fn number(count: Option<u64>, colour: Colour) -> (String, Colour) {
    match count {
        None => ("-".into(), Colour::Dim),
        Some(0) => ("0".into(), Colour::Dim),
        Some(count) => (grouped(count), colour),
    }
}
