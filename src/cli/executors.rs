//! `windlass executors`: what jobs run on by the config, whether it is there, and one call to try it out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::plugin::samples;
use super::screen::{Colour, Column, Screen, Table};
use super::{Exit, Failure, Globals};
use crate::app::parts;
use crate::config::{self, Loaded};
use crate::job::decode::{Decoding, Received, decode};
use crate::job::{Job, Message, Origin};
use crate::outcome::{Class, Outcome, Output};
use crate::ports::{Context, Executor};
use crate::units::{parse_duration, spell_duration};

/// Of an output on the screen.
const SHOWN: usize = 2000;

/// See what jobs run on, whether it is there, and try it out
#[derive(Debug, Args)]
pub struct Executors {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the executors of the config
    #[command(after_help = "\
Examples:
  windlass executors list
  windlass executors list --json | jq 'select(.kind == \"http\").target'")]
    List,
    /// Ask each target whether it is there; no job is run
    #[command(after_help = "\
Examples:
  windlass executors check
  windlass executors check invoices

A function platform describes the function and its health; of any other
endpoint an OPTIONS request is answered; a token is fetched where one is used.
The exit code is 5 when a target cannot be used now.")]
    Check {
        /// Only these
        names: Vec<String>,
    },
    Test(Test),
}

/// Run one job that is on no queue: what was sent, what came back, what it means
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass executors test invoices --data '{\"order\": 7}'
  windlass executors test invoices --jobs samples.jsonl --timeout 5s
  windlass executors test invoices --json | jq .class

It is a real call, and the target does what it does for a job. Nothing is
retried, and no result is published. The exit code is 1 when it fails.")]
struct Test {
    name: String,
    /// The data of the job, as JSON
    #[arg(long, value_name = "JSON", conflicts_with = "jobs")]
    data: Option<String>,
    /// The type of the job
    #[arg(long = "type", value_name = "TYPE", default_value = "windlass.test", conflicts_with = "jobs")]
    kind: String,
    /// Sample jobs, one per line, or - for standard input
    #[arg(long, value_name = "FILE")]
    jobs: Option<PathBuf>,
    /// The time limit of a run
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
}

pub(super) async fn run(executors: Executors, globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    let loaded = config::load(globals.file().as_deref()).map_err(Failure::config)?;
    match executors.command {
        Command::List => list(&loaded, screen),
        Command::Check { names } => check(&loaded, &names, screen).await,
        Command::Test(args) => test(&loaded, args, screen).await,
    }
}

fn list(loaded: &Loaded, screen: &mut Screen) -> Result<Exit, Failure> {
    let mut table = Table::new(&[Column::left("EXECUTOR"), Column::left("KIND"), Column::left("TARGET"), Column::left("ROUTES")]);
    for (name, block) in &loaded.config.executors {
        let routes = loaded.config.routes.iter().filter(|route| route.run == *name);
        let routes: Vec<String> = routes.map(config::Route::name).collect();
        let (kind, target) = (block.kind.word(), block.kind.target());
        if screen.json {
            screen.document(&json!({ "executor": name, "kind": kind, "target": target, "routes": routes }))?;
        }
        table.row([name.clone(), kind.to_owned(), target, routes.join(", ")]);
    }
    if !screen.json {
        screen.table(table)?;
    }
    Ok(Exit::Done)
}

async fn check(loaded: &Loaded, names: &[String], screen: &mut Screen) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    names.iter().try_for_each(|name| known(loaded, name))?;
    for name in loaded.config.executors.keys().filter(|name| names.is_empty() || names.contains(name)) {
        let found = match build(loaded, name) {
            Ok(executor) => executor.examine().await.map_err(|failure| (failure.class, failure.message)),
            Err(why) => Err((Class::Misconfigured, why)),
        };
        let ok = found.is_ok();
        let lines = match found {
            Ok(lines) if lines.is_empty() => vec!["started here, nobody to ask".to_owned()],
            Ok(lines) => lines,
            Err((class, why)) => {
                exit = Exit::Unavailable;
                vec![format!("{class}: {why}")]
            }
        };
        if screen.json {
            screen.document(&json!({ "executor": name, "ok": ok, "found": lines }))?;
            continue;
        }
        let word = if ok { screen.paint(Colour::Green, "ok    ") } else { screen.paint(Colour::Red, "FAILED") };
        for (number, line) in lines.iter().enumerate() {
            let head = if number == 0 { format!("{word}  {name:<15}") } else { " ".repeat(23) };
            screen.line(&format!("{head}  {line}"))?;
        }
    }
    Ok(exit)
}

async fn test(loaded: &Loaded, test: Test, screen: &mut Screen) -> Result<Exit, Failure> {
    known(loaded, &test.name)?;
    let jobs = match &test.jobs {
        Some(file) => samples(file)?,
        None => vec![sample(&test.kind, test.data.as_deref())?],
    };
    let executor = build(loaded, &test.name).map_err(Failure::usage)?;
    let mut exit = Exit::Done;
    for job in &jobs {
        let context = Context::new(job.id.clone(), "executors test".into(), test.timeout).watched();
        let start = Instant::now();
        let outcome = executor.execute(job, &context).await;
        let took = start.elapsed();
        if !matches!(outcome, Outcome::Done(_)) {
            exit = Exit::Failed;
        }
        let end = Ended { job, context: &context, outcome: &outcome, took };
        if screen.json { screen.document(&end.document())? } else { end.show(screen)? }
    }
    executor.stop(Duration::from_secs(5)).await;
    Ok(exit)
}

/// A run that was tried out.
struct Ended<'a> {
    job: &'a Job,
    context: &'a Context,
    outcome: &'a Outcome,
    took: Duration,
}

impl Ended<'_> {
    fn document(&self) -> Value {
        let (class, message, retry_after) = match self.outcome {
            Outcome::Failed(failure) => (Some(failure.class), Some(&failure.message), failure.retry_after),
            _ => (None, None, None),
        };
        let output = match self.outcome {
            Outcome::Done(Output::Json(json)) => serde_json::from_slice(json).unwrap_or_default(),
            _ => Value::Null,
        };
        json!({
            "job": self.job.id, "ok": matches!(self.outcome, Outcome::Done(_)), "class": class, "message": message,
            "retry_after_ms": retry_after.map(|wait| wait.as_millis()), "output": output,
            "log": self.context.log_tail(), "exchange": self.context.traces(), "took_ms": self.took.as_millis(),
        })
    }

    fn show(&self, screen: &mut Screen) -> std::io::Result<()> {
        for (number, trace) in self.context.traces().iter().enumerate() {
            let mark = if number % 2 == 0 { ">" } else { "<" };
            let (colour, lines) = (if number % 2 == 0 { Colour::Blue } else { Colour::Plain }, trace.trim_end().lines());
            for line in lines {
                let line = screen.paint(colour, format!("{mark} {}", super::screen::cut(line, SHOWN)).trim_end());
                screen.line(&line)?;
            }
            screen.line("")?;
        }
        for line in self.context.log_tail().lines() {
            screen.line(&screen.paint(Colour::Dim, &format!("log  {line}")))?;
        }
        let took = spell_duration(Duration::from_millis(u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX)));
        match self.outcome {
            Outcome::Done(output) => {
                let shown = match output {
                    Output::Nothing => "nothing".to_owned(),
                    Output::Json(json) => super::screen::cut(&String::from_utf8_lossy(json), SHOWN),
                    Output::Binary(bytes) => format!("{} bytes", bytes.len()),
                };
                let word = screen.paint(Colour::Green, "done");
                screen.line(&format!("{word} after {took}: {shown}"))
            }
            Outcome::Failed(failure) => {
                let word = screen.paint(Colour::Red, failure.class.as_str());
                screen.line(&format!("{word} after {took}: {}", failure.message))?;
                let wait = failure.retry_after.map(|wait| format!("not before {} have passed", spell_duration(wait)));
                wait.map_or(Ok(()), |wait| screen.line(&wait))
            }
            Outcome::Interrupted(_) => screen.line("interrupted"),
        }
    }
}

fn known(loaded: &Loaded, name: &str) -> Result<(), Failure> {
    if loaded.config.executors.contains_key(name) {
        return Ok(());
    }
    let names: Vec<&str> = loaded.config.executors.keys().map(String::as_str).collect();
    Err(Failure::not_found(format!("there is no executor {name:?}; there are: {}", names.join(", "))))
}

fn build(loaded: &Loaded, name: &str) -> Result<Arc<dyn Executor>, String> {
    let block = loaded.config.executors.get(name).ok_or_else(|| format!("there is no executor {name:?}"))?;
    parts::executor(name, block, &loaded.source.base).map_err(|error| error.to_string())
}

fn sample(kind: &str, data: Option<&str>) -> Result<Job, Failure> {
    let data: Value = data.map_or(Ok(Value::Null), serde_json::from_str).map_err(|error| {
        Failure::usage(format!("--data is not JSON: {error}")).fix("quote it for the shell: --data '{\"n\": 1}'")
    })?;
    let now = Timestamp::now();
    let id = format!("test-{}", uuid::Uuid::now_v7());
    let body = json!({ "id": id, "type": kind, "data": data }).to_string();
    let received = Received { origin: Origin::default(), published: Some(now), now };
    decode(&Message::of(body), &Decoding::Envelope, &received).map_err(|malformed| Failure::usage(malformed.0))
}
