//! `windlass dead-letters`: group, list, look, replay and discard what could not be done.

mod bulk;
mod groups;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;
use serde_json::value::RawValue;

use super::filter::FilterArgs;
use super::jobs::{Length, each, pages, who};
use super::screen::{Colour, Screen, WIDTH, cut};
use super::session::{Ask, Missing, Reach, Session};
use super::story::{Shown, tell};
use super::words::since;
use super::{Exit, Failure, Globals};
use crate::ports::Entry;
use bulk::{Choice, Verb};
use groups::By;

/// Look at dead letters, replay or discard them
#[derive(Debug, Args)]
pub struct DeadLetters {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Show(Show),
    Replay(Replay),
    Discard(Discard),
}

/// List dead letters, oldest first, or count them in groups
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass dead-letters list --group-by message
  windlass dead-letters list --reason failed --type 'invoice.*' --newer-than 1d
  windlass dead-letters list --all --json | jq -r .failure.message")]
struct List {
    /// Count them instead: by reason, class, type, route, tenant, queue or message
    #[arg(long, value_name = "KEY", conflicts_with_all = ["limit", "all"], hide_possible_values = true)]
    group_by: Option<By>,
    #[command(flatten)]
    length: Length,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Show one dead letter: why it died, its runs, its log, its untouched message
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass dead-letters show invoice-7
  windlass dead-letters show invoice-7 --json | jq -r .message.body")]
struct Show {
    /// Its id
    id: String,
    /// Of this queue
    #[arg(long)]
    queue: Option<String>,
}

/// Put dead letters back into the queues they came from, their attempts at zero
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass dead-letters replay invoice-7
  windlass dead-letters replay --reason failed --dry-run
  windlass dead-letters replay --reason failed --rate 10/s
  windlass dead-letters replay --all")]
struct Replay {
    #[command(flatten)]
    choice: Choice,
}

/// End dead letters for good
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass dead-letters discard invoice-7
  windlass dead-letters discard --reason malformed --older-than 30d --dry-run")]
struct Discard {
    #[command(flatten)]
    choice: Choice,
}

pub(super) async fn run(letters: DeadLetters, globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    let target = letters.reach.target(globals)?;
    if let Command::Replay(Replay { choice }) | Command::Discard(Discard { choice }) = &letters.command {
        choice.check()?;
    }
    let session = Session::open(target, Missing::Refuse).await?;
    let done = match letters.command {
        Command::List(List { group_by: Some(by), filter, .. }) => groups::list(&session, by, &filter, screen).await,
        Command::List(args) => list(&session, &args, screen).await,
        Command::Show(args) => show(&session, &args, screen).await,
        Command::Replay(Replay { choice }) => act(&session, Verb::Replay, &choice, screen).await,
        Command::Discard(Discard { choice }) => act(&session, Verb::Discard, &choice, screen).await,
    };
    session.close().await;
    done
}

/// Two lines each: what it is, and why it died.
async fn list(session: &Session, list: &List, screen: &mut Screen) -> Result<Exit, Failure> {
    let now = Timestamp::now();
    let ask = list.filter.narrow(Ask::get("/dead-letters"));
    pages(session, ask, &list.length, screen, |screen, entries| {
        entries.iter().try_for_each(|entry| {
            let (head, message) = lines(entry, now, screen);
            screen.line(&head)?;
            screen.line(&message)
        })
    })
    .await
}

fn lines(entry: &Entry, now: Timestamp, screen: &Screen) -> (String, String) {
    let failure = entry.failure.as_ref();
    let reason = failure.map_or("-", |failure| failure.reason.as_str());
    let died = match failure.map_or(entry.submitted, |failure| failure.last_failure) {
        died if died == Timestamp::UNIX_EPOCH => "some time".into(), // of another system, which noted nothing
        died => since(died, now),
    };
    let room = WIDTH.saturating_sub(entry.id.chars().count() + reason.len() + died.len() + 10).max(8);
    let kind = cut(entry.kind.as_deref().unwrap_or("-"), room);
    let head = format!("{}  {kind}  {}  {died} ago", screen.paint(Colour::Bold, &entry.id), screen.paint(Colour::Red, reason),);
    let message = failure.map_or("", |failure| failure.message.lines().next().unwrap_or_default());
    (head, format!("    {}", cut(message, WIDTH - 4)))
}

async fn show(session: &Session, show: &Show, screen: &mut Screen) -> Result<Exit, Failure> {
    let ask = Ask::get("/dead-letters").part(&show.id).with_any("queue", show.queue.as_deref());
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

async fn act(session: &Session, verb: Verb, choice: &Choice, screen: &mut Screen) -> Result<Exit, Failure> {
    if choice.ids.is_empty() {
        return bulk::work(session, verb, choice, screen).await;
    }
    let queue = choice.filter.queue.as_deref();
    let ask = |id: &str| {
        let ask = Ask::post("/dead-letters").part(id).part(verb.as_str()).with_any("queue", queue);
        if verb == Verb::Discard { ask.json(&json!({ "by": who() })) } else { ask }
    };
    each(session, &choice.ids, ask, screen).await
}
