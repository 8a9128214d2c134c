//! `windlass reload`: has the living worker read its config again.

use clap::Args;
use serde::Deserialize;

use super::screen::Screen;
use super::session::{Ask, Missing, Reach, Session};
use super::words::count;
use super::{Exit, Failure, Globals};

/// Have the worker read its config again: routes, policies, limits, executors
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass reload
  kill -HUP PID      the same, without an answer

Jobs that run end by the old config; those that wait are matched again. A file
with errors, or one that changes queues, pools or ports, is refused whole.")]
pub struct Reload {
    #[command(flatten)]
    reach: Reach,
}

#[derive(Deserialize)]
struct Reloaded {
    routes: u64,
    started: Vec<String>,
    ended: Vec<String>,
}

pub(super) async fn run(reload: Reload, globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    let session = Session::open(reload.reach.target(globals)?, Missing::Refuse).await?;
    let answer = session.ask_bytes(Ask::post("/worker/reload")).await;
    session.close().await;
    let answer = answer?;
    if screen.json {
        screen.text(&String::from_utf8_lossy(&answer))?;
        return Ok(Exit::Done);
    }
    let wrong = |error: serde_json::Error| Failure::failed(format!("the worker's answer is of another version: {error}"));
    let Reloaded { routes, started, ended } = serde_json::from_slice(&answer).map_err(wrong)?;
    screen.line(&format!("reloaded: {}", count(routes, "route", "routes")))?;
    for (names, what) in [(started, "was made anew"), (ended, "ends with its last job")] {
        names.iter().try_for_each(|name| screen.line(&format!("  executor {name} {what}")))?;
    }
    Ok(Exit::Done)
}
