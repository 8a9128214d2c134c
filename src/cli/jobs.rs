//! `windlass jobs`: list them, look at one and learn why it waits, cancel it, run it now.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::filter::FilterArgs;
use super::looked::LookedAt;
use super::screen::{Colour, Column, Screen, Table};
use super::session::{Ask, Missing, Reach, Session};
use super::story::{Shown, tell};
use super::words::{or_dash, since};
use super::{Exit, Failure, Globals};
use crate::admin::jobs::{Cancel, state_word};
use crate::ports::{Entry, Looked, State};

/// Entries of one request.
const PAGE: usize = 500;

/// Look at jobs, cancel them, run them now
#[derive(Debug, Args)]
pub struct Jobs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Show(One),
    Cancel(CancelJobs),
    Retry(Several),
}

/// List jobs, oldest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass jobs list --state parked
  windlass jobs list --type 'image.*' --older-than 1h
  windlass jobs list --all --json | jq -r .id")]
struct List {
    /// In this state
    #[arg(long, value_parser = ["waiting", "delayed", "parked", "running", "dead", "completed", "discarded", "moved"])]
    state: Option<String>,
    #[command(flatten)]
    length: Length,
    #[command(flatten)]
    filter: FilterArgs,
}

/// How much of a list is shown.
#[derive(Debug, Args)]
pub(super) struct Length {
    /// Show at most so many
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    pub limit: usize,
    /// Show all there are
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
}

/// Show one job: where it stands, why it waits, what has happened to it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass jobs show 0199f1c2-…
  windlass jobs show invoice-7 --wait 30s     once it has ended, or after 30s
  windlass jobs show invoice-7 --json | jq .life")]
struct One {
    /// Its id
    id: String,
    /// Wait until it has ended, at most so long (5m at most)
    #[arg(long, value_name = "TIME", value_parser = spelled)]
    wait: Option<String>,
    /// Of this queue
    #[arg(long)]
    queue: Option<String>,
}

/// Cancel jobs: one that runs is asked to end
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass jobs cancel 0199f1c2-…              it lies in the dead letters then
  windlass jobs cancel --discard invoice-7     it is gone then")]
struct CancelJobs {
    #[command(flatten)]
    jobs: Several,
    /// Keep no dead letter
    #[arg(long)]
    discard: bool,
}

/// Run delayed or parked jobs now
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  windlass jobs retry invoice-7")]
struct Several {
    /// Their ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Of this queue
    #[arg(long)]
    queue: Option<String>,
}

/// A duration, passed on as it was written.
fn spelled(text: &str) -> Result<String, String> {
    crate::units::parse_duration(text).map(|_| text.to_owned())
}

pub(super) async fn run(jobs: Jobs, globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    let session = Session::open(jobs.reach.target(globals)?, Missing::Refuse).await?;
    let done = match jobs.command {
        Command::List(args) => list(&session, &args, screen).await,
        Command::Show(args) => show(&session, &args, screen).await,
        Command::Cancel(args) => {
            let order = Cancel { by: Some(who()), discard: args.discard };
            let ask = |id: &str| Ask::post("/jobs").part(id).part("cancel").json(&order);
            each(&session, &args.jobs.ids, |id| ask(id).with_any("queue", args.jobs.queue.as_deref()), screen).await
        }
        Command::Retry(args) => {
            let ask = |id: &str| Ask::post("/jobs").part(id).part("retry").with_any("queue", args.queue.as_deref());
            each(&session, &args.ids, ask, screen).await
        }
    };
    session.close().await;
    done
}

/// The name that stands in the records of what an operator did.
pub(super) fn who() -> String {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
    user.unwrap_or_else(|| format!("user {}", nix::unistd::getuid()))
}

async fn list(session: &Session, list: &List, screen: &mut Screen) -> Result<Exit, Failure> {
    let ask = list.filter.narrow(Ask::get("/jobs")).with_any("state", list.state.as_deref());
    let heads = [Column::whole("ID"), Column::left("TYPE"), Column::left("STATE"), Column::right("AGE"), Column::right("FAILED")];
    let now = Timestamp::now();
    let cells = |entry: &Entry| {
        let failed = entry.life.attempt + entry.life.crashes;
        vec![
            (entry.id.to_string(), Colour::Plain),
            (or_dash(entry.kind.as_deref()), Colour::Plain),
            (state_word(entry.state).to_owned(), colour(entry.state)),
            (since(entry.submitted, now), Colour::Plain),
            (if failed == 0 { String::new() } else { failed.to_string() }, Colour::Yellow),
        ]
    };
    let mut table = Table::new(&heads);
    pages(session, ask, &list.length, screen, |screen, entries| {
        entries.iter().for_each(|entry| table.painted(cells(entry)));
        screen.part(&mut table)
    })
    .await
}

pub(super) fn colour(state: State) -> Colour {
    match state {
        State::Waiting | State::Moved | State::Discarded => Colour::Plain,
        State::Running => Colour::Blue,
        State::Delayed | State::Parked => Colour::Yellow,
        State::Completed => Colour::Green,
        State::Dead => Colour::Red,
    }
}

/// A page of entries, as the API wrote them.
#[derive(Deserialize)]
struct Raw {
    entries: Vec<Box<RawValue>>,
    next: Option<String>,
    looked: Option<Looked>,
}

/// Goes through the pages of a list, showing up to its length.
pub(super) async fn pages(
    session: &Session,
    ask: Ask,
    length: &Length,
    screen: &mut Screen,
    mut show: impl FnMut(&mut Screen, &[Entry]) -> std::io::Result<()>,
) -> Result<Exit, Failure> {
    let (mut left, mut after) = (if length.all { usize::MAX } else { length.limit }, None);
    let (mut shown, mut looked) = (0, LookedAt::default());
    loop {
        let limit = left.min(PAGE).to_string();
        let page: Raw = session.ask(ask.clone().with("limit", &limit).with_any("after", after.as_deref())).await?;
        left -= page.entries.len().min(left);
        if screen.json {
            page.entries.iter().try_for_each(|entry| screen.document(entry))?;
        } else {
            let read = page.entries.iter().map(|entry| serde_json::from_str(entry.get()));
            let entries: Vec<Entry> = read.collect::<Result<_, _>>().map_err(|error| Failure::failed(error.to_string()))?;
            show(screen, &entries)?;
            shown += entries.len();
        }
        looked.note(page.looked);
        after = page.next;
        if after.is_none() || left == 0 {
            break;
        }
    }
    if !screen.json {
        screen.flush()?;
        note(shown, after.is_some());
    }
    looked.tell(true);
    Ok(Exit::Done)
}

/// What a reader of the table should know, beside it.
fn note(shown: usize, more: bool) {
    match (shown, more) {
        (0, _) => eprintln!("nothing matches"),
        (_, true) => eprintln!("there may be more: see it with --all or a higher --limit"),
        _ => {}
    }
}

async fn show(session: &Session, one: &One, screen: &mut Screen) -> Result<Exit, Failure> {
    let ask = Ask::get("/jobs").part(&one.id).with_any("queue", one.queue.as_deref()).with_any("wait", one.wait.as_deref());
    let document = session.ask_bytes(ask).await?;
    if screen.json {
        let raw: &RawValue = serde_json::from_slice(&document).map_err(|error| Failure::failed(error.to_string()))?;
        screen.document(&raw)?;
        return Ok(Exit::Done);
    }
    let shown = Shown::read(&document, session).await?;
    screen.text(&tell(&shown, Timestamp::now(), screen))?;
    Ok(Exit::Done)
}

/// Asks the same for each job, and goes on where one is refused.
pub(super) async fn each(
    session: &Session,
    ids: &[String],
    ask: impl Fn(&str) -> Ask,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    let mut refused = Vec::new();
    for id in ids {
        match session.ask::<Value>(ask(id)).await {
            Ok(document) => screen.answer(&document, &format!("{id}  {}", document["done"].as_str().unwrap_or_default()))?,
            Err(refusal) => refused.push(refusal.failure),
        }
    }
    screen.flush()?;
    let (count, first) = (refused.len(), refused.first().map_or(Exit::Done, |failure| failure.exit));
    refused.into_iter().for_each(|failure| {
        failure.report(screen.json);
    });
    Ok(if count < ids.len() && count > 0 { Exit::Partly } else { first })
}
