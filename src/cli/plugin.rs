//! `windlass plugin test`: drives a plugin as a worker would, so that its author sees what works before any job does.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use super::screen::{Colour, Screen};
use super::{Exit, Failure, Globals};
use crate::config;
use crate::config::executor::ExecutorKind;
use crate::executors::drive::{Step, Subject, drive};
use crate::job::decode::{Decoding, Received, decode};
use crate::job::{Job, Message, Origin};

/// Try a plugin out
#[derive(Debug, Args)]
pub struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Test(Test),
}

/// Drive a plugin step by step: start, jobs, log, progress, cancel, time-out, stop
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass plugin test plugins/thumbs.py:Thumbnails
  windlass plugin test ./resize --jobs samples.jsonl    speaks the protocol
  windlass plugin test ./resize --per-job               started for each job
  windlass plugin test --executor thumbnails            as the config has it

The exit code is 1 when a step fails.")]
struct Test {
    /// FILE.py:NAME, or a program
    #[arg(required_unless_present = "executor", conflicts_with = "executor")]
    plugin: Option<String>,
    /// The plugin of this executor, with its limits and environment
    #[arg(long, value_name = "NAME")]
    executor: Option<String>,
    /// Sample jobs, one per line, or - for standard input
    #[arg(long, value_name = "FILE")]
    jobs: Option<PathBuf>,
    /// The program is started for each job and speaks no protocol
    #[arg(long, requires = "plugin")]
    per_job: bool,
}

pub(super) async fn run(plugin: Plugin, globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    let Command::Test(test) = plugin.command;
    let samples = test.jobs.as_deref().map_or_else(|| Ok(Vec::new()), samples)?;
    let (subject, base) = subject(&test, globals)?;
    let steps = drive(&subject, &samples, &base).await;
    let ok = steps.iter().all(|step| step.ok);
    if screen.json {
        screen.document(&json!({ "ok": ok, "steps": steps }))?;
    } else {
        steps.iter().try_for_each(|step| show(step, screen))?;
    }
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

/// The plugin, and the folder that its paths start from.
fn subject(test: &Test, globals: &Globals) -> Result<(Subject, PathBuf), Failure> {
    if let Some(plugin) = &test.plugin {
        let mut subject = Subject::named(plugin).map_err(Failure::usage)?;
        if let (true, Subject::Command(command)) = (test.per_job, &mut subject) {
            command.persistent = false;
        }
        return Ok((subject, PathBuf::new()));
    }
    let loaded = config::load(globals.file().as_deref()).map_err(Failure::config)?;
    let name = test.executor.as_deref().unwrap_or_default();
    let subject = match loaded.config.executors.get(name).map(|executor| &executor.kind) {
        Some(ExecutorKind::Command(command)) => Subject::Command(command.clone()),
        Some(ExecutorKind::Python(python)) => Subject::Python(python.clone()),
        Some(ExecutorKind::Http(_) | ExecutorKind::Lambda(_)) => {
            let why = format!("{name:?} runs elsewhere: it is no program that is started here");
            return Err(Failure::usage(why).fix(format!("windlass executors test {name}")));
        }
        None => {
            let names: Vec<&str> = loaded.config.executors.keys().map(String::as_str).collect();
            return Err(Failure::not_found(format!("there is no executor {name:?}; there are: {}", names.join(", "))));
        }
    };
    Ok((subject, loaded.source.base))
}

pub(super) fn samples(path: &Path) -> Result<Vec<Job>, Failure> {
    let mut text = String::new();
    let read = match path {
        path if path == Path::new("-") => std::io::stdin().read_to_string(&mut text).map(drop),
        path => fs::read_to_string(path).map(|read| text = read),
    };
    read.map_err(|error| Failure::not_found(format!("cannot read {}: {error}", path.display())))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| sample(line).map_err(|why| Failure::usage(format!("line {}: {why}", index + 1)))).collect()
}

fn sample(line: &str) -> Result<Job, String> {
    let now = Timestamp::now();
    let received = Received { origin: Origin::default(), published: Some(now), now };
    decode(&Message::of(line.to_owned()), &Decoding::Envelope, &received).map_err(|malformed| malformed.0)
}

fn show(step: &Step, screen: &mut Screen) -> std::io::Result<()> {
    let (colour, word) = if step.ok { (Colour::Green, "ok    ") } else { (Colour::Red, "FAILED") };
    let word = screen.paint(colour, word);
    let mut lines = step.detail.lines();
    screen.line(format!("{word}  {:<15}  {}", step.step, lines.next().unwrap_or_default()).trim_end())?;
    lines.try_for_each(|line| screen.line(&format!("{:25}{line}", "")))
}
