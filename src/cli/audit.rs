//! `windlass audit`: the proof that nothing was lost, from the ledger that the store keeps in the same transactions.

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::screen::{Colour, Column, Screen, Table};
use super::session::{Ask, Missing, Reach, Session};
use super::words::grouped;
use super::{Exit, Failure, Globals};

/// Prove that no job was lost: what came in against what ended and what is left
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass audit
  windlass audit --db /var/lib/windlass/windlass.db
  windlass audit --json | jq .ok

The exit code is 1 when a sum differs.")]
pub struct Audit {
    #[command(flatten)]
    reach: Reach,
}

#[derive(Deserialize)]
struct Report {
    ok: bool,
    systems: Vec<System>,
}

#[derive(Deserialize)]
struct System {
    file: String,
    audit: Ledger,
}

#[derive(Deserialize)]
struct Ledger {
    queues: Vec<Line>,
    #[serde(default)]
    problems: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    queue: String,
    submitted: u64,
    completed: u64,
    discarded: u64,
    moved: u64,
    dead: u64,
    waiting: u64,
    balanced: bool,
}

pub(super) async fn run(audit: Audit, globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    let session = Session::open(audit.reach.target(globals)?, Missing::Refuse).await?;
    let document = session.ask_bytes(Ask::get("/audit")).await;
    session.close().await;
    let document = document?;
    let wrong = |error: serde_json::Error| Failure::failed(format!("the worker's answer is of another version: {error}"));
    let report: Report = serde_json::from_slice(&document).map_err(wrong)?;
    if screen.json {
        let raw: &RawValue = serde_json::from_slice(&document).map_err(wrong)?;
        screen.document(&raw)?;
    } else {
        report.systems.iter().try_for_each(|system| show(system, screen))?;
        let (colour, verdict) = if report.ok { (Colour::Green, "nothing was lost") } else { (Colour::Red, "the sums differ") };
        let verdict = screen.paint(colour, verdict);
        screen.line(&verdict)?;
    }
    Ok(if report.ok { Exit::Done } else { Exit::Failed })
}

/// A sum per queue: submitted = completed + discarded + moved + dead + waiting.
fn show(system: &System, screen: &mut Screen) -> std::io::Result<()> {
    screen.line(&screen.paint(Colour::Bold, &system.file))?;
    let mut table = Table::new(&[
        Column::left("QUEUE"),
        Column::right("SUBMITTED"),
        Column::right("= DONE"),
        Column::right("+ DROPPED"),
        Column::right("+ MOVED"),
        Column::right("+ DEAD"),
        Column::right("+ LEFT"),
        Column::left(""),
    ]);
    for line in &system.audit.queues {
        let verdict = if line.balanced { ("ok", Colour::Green) } else { ("DIFFERS", Colour::Red) };
        let counts = [line.submitted, line.completed, line.discarded, line.moved, line.dead, line.waiting];
        let counts = counts.map(|count| (grouped(count), Colour::Plain));
        let cells = [(line.queue.clone(), Colour::Plain)].into_iter().chain(counts);
        table.painted(cells.chain([(verdict.0.to_owned(), verdict.1)]));
    }
    screen.table(table)?;
    system.audit.problems.iter().try_for_each(|problem| screen.line(problem))
}
