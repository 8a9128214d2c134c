//! Waiting for the ends of submitted jobs, whether a worker lives already or comes later.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::TakenJob;
use crate::cli::screen::Screen;
use crate::cli::session::{Ask, Session};
use crate::cli::{Exit, Failure, words};
use crate::job::FailureDocument;
use crate::ports::{Entry, State};

/// The longest that one request waits.
const TURN: Duration = Duration::from_secs(60);

/// How a job ended, as `--json` says it.
#[derive(Serialize)]
struct End<'a> {
    id: &'a str,
    queue: &'a str,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a FailureDocument>,
}

/// Prints how each job ended, in the order of the submit; the worst end is the exit code.
pub(super) async fn wait(session: Session, jobs: Vec<TakenJob>, wait: Duration, screen: &mut Screen) -> Result<Exit, Failure> {
    let end = Instant::now() + wait;
    let late = |number: usize| {
        let of = words::count(number as u64, "job has", "jobs have");
        let message = format!("{of} not ended after {}", crate::units::spell_duration(wait));
        Failure::new(Exit::Partly, message).fix("the jobs stay queued: look with windlass jobs show ID")
    };
    if !session.is_live() {
        eprintln!("note: no worker lives; waiting for one to start");
    }
    let Some(mut session) = live(session, end).await else { return Err(late(jobs.len()).fix("start a worker: windlass run")) };
    let (alone, mut worst) = (jobs.len() == 1, Exit::Done);
    for (index, job) in jobs.iter().enumerate() {
        let entry = loop {
            match ended(&session, job, end).await {
                // the worker stops: perhaps another one starts
                Err(failure) if failure.exit == Exit::Unavailable => {
                    session = session.until_live(end).await.ok_or_else(|| late(jobs.len() - index))?;
                }
                end => break end?.ok_or_else(|| late(jobs.len() - index))?,
            }
        };
        worst = worst.max(show(&entry, alone, screen)?);
        screen.flush()?;
    }
    session.close().await;
    Ok(worst)
}

async fn live(session: Session, end: Instant) -> Option<Session> {
    if session.is_live() { Some(session) } else { session.until_live(end).await }
}

async fn ended(session: &Session, job: &TakenJob, end: Instant) -> Result<Option<Entry>, Failure> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let turn = format!("{}ms", left.min(TURN).as_millis());
        let ask = Ask::get("/jobs").part(&job.id).with("queue", &job.queue).with("wait", &turn);
        let entry: Entry = session.ask(ask).await?;
        match entry.state {
            State::Completed | State::Dead | State::Discarded | State::Moved => return Ok(Some(entry)),
            _ if left.is_zero() => return Ok(None),
            _ => {}
        }
    }
}

/// The result of a single job goes to standard output as it is; of several, a line each.
fn show(entry: &Entry, alone: bool, screen: &mut Screen) -> Result<Exit, Failure> {
    let completed = entry.state == State::Completed;
    let exit = if completed { Exit::Done } else { Exit::Failed };
    let why = why(entry);
    if screen.json {
        screen.document(&End {
            id: &entry.id,
            queue: &entry.queue,
            state: entry.state,
            output: output(entry),
            failure: entry.failure.as_ref(),
        })?;
    } else if !alone {
        screen.line(&format!("{}  {}", entry.id, why.as_deref().unwrap_or("completed")))?;
    } else if let Some(why) = why {
        return Err(Failure::failed(format!("the job {} is {why}", entry.id)).fix(format!("windlass jobs show {}", entry.id)));
    } else if let Some(output) = output(entry) {
        screen.line(output.get())?;
    }
    Ok(exit)
}

/// What the plugin returned, byte for byte, from the event of the end.
pub fn output(entry: &Entry) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Event {
        data: Option<Box<RawValue>>,
        data_base64: Option<Box<RawValue>>,
    }
    let event = entry.event.as_ref().filter(|_| entry.state == State::Completed)?;
    let event: Event = serde_json::from_str(event.get()).ok()?;
    event.data.or(event.data_base64)
}

fn why(entry: &Entry) -> Option<String> {
    match entry.state {
        State::Completed => None,
        State::Dead => {
            let failure = entry.failure.as_ref().map(|failure| format!(" ({}): {}", failure.reason, failure.message));
            Some(format!("dead{}", failure.unwrap_or_default()))
        }
        State::Discarded => Some("discarded".into()),
        _ => Some("moved to another queue".into()),
    }
}
