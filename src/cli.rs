//! The command line: one file per command; every command that touches a queue speaks the HTTP API.

mod audit;
mod batches;
mod breakers;
mod check;
mod completions;
mod dead_letters;
pub mod demo;
mod executors;
pub mod exit;
mod explain;
mod failure;
mod filter;
mod jobs;
mod looked;
mod plugin;
mod queues;
mod reload;
mod routes;
pub mod run;
mod schedules;
mod schema;
pub mod screen;
pub mod session;
mod story;
mod submit;
mod top;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::config;
use crate::telemetry::logs::{self, LogFormat};
pub use exit::Exit;
pub use failure::Failure;
use screen::Screen;

/// Runs jobs from queues: retries what may pass, dead-letters what will not, loses nothing.
#[derive(Debug, Parser)]
#[command(name = "windlass", version, max_term_width = 80, after_help = exit::HELP, disable_help_subcommand = true)]
struct CommandLine {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub struct Globals {
    /// The config [default: $WINDLASS_CONFIG, else windlass.yaml here, else the defaults]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    pub config: Option<PathBuf>,
    /// Answer in JSON: one document, or for lists one document per line
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// What to log, such as debug or info,windlass::queues=debug [default: warn; run: info]
    #[arg(long, global = true, value_name = "LEVEL", env = "WINDLASS_LOG", hide_env_values = true, help_heading = "Everywhere")]
    pub log: Option<String>,
    /// Log more; twice for even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Everywhere")]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a worker, until SIGTERM or Ctrl-C
    #[command(after_help = RUN_EXAMPLES)]
    Run,
    /// Watch a few hundred jobs with failures, retries, replay and the proof
    #[command(after_help = DEMO_EXAMPLES)]
    Demo {
        /// Lay its files out in this new folder [default: a temporary one]
        #[arg(long)]
        directory: Option<PathBuf>,
    },
    Submit(submit::Submit),
    Jobs(jobs::Jobs),
    Queues(queues::Queues),
    Breakers(breakers::Breakers),
    Executors(executors::Executors),
    Routes(routes::Routes),
    Top(top::Top),
    Reload(reload::Reload),
    DeadLetters(dead_letters::DeadLetters),
    Batches(batches::Batches),
    Audit(audit::Audit),
    Check(check::Check),
    Explain(explain::Explain),
    Plugin(plugin::Plugin),
    Schedules(schedules::Schedules),
    Schema(schema::Schema),
    Completions(completions::Completions),
}

const RUN_EXAMPLES: &str = "\
Examples:
  windlass run
  windlass run --config deploy/windlass.yaml --log debug
  windlass run --json 2>worker.log | jq .event

The first signal stops it in order: nothing new is taken, and what runs may end
within worker.grace. The second one hands back what still runs at once. With
--json the log is JSON too, and documents say when it is ready (with the
addresses that it got), stopping and stopped (with the counts of its queues).";

const DEMO_EXAMPLES: &str = "\
Examples:
  windlass demo
  windlass demo --directory /tmp/windlass-demo
  windlass demo --json | tail -n 1 | jq .audit.ok";

impl Globals {
    /// The config file in use; none for the defaults.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        config::locate(self.config.clone())
    }

    /// The log directives of the command line, if it has any.
    #[must_use]
    pub fn directives(&self) -> Option<String> {
        match (&self.log, self.verbose) {
            (Some(directives), _) => Some(directives.clone()),
            (None, 0) => None,
            (None, 1) => Some("info,windlass=debug".into()),
            (None, _) => Some("debug,windlass=trace".into()),
        }
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let CommandLine { globals, command } = CommandLine::parse();
    let mut screen = Screen::stdout(globals.json);
    let end = dispatch(command, &globals, &mut screen).and_then(|exit| {
        screen.flush()?;
        Ok(exit)
    });
    end.unwrap_or_else(|failure| failure.report(globals.json)).into()
}

fn dispatch(command: Command, globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    if !matches!(command, Command::Run) {
        let format = if globals.json && matches!(command, Command::Demo { .. }) { LogFormat::Json } else { LogFormat::Human };
        start_log(format, globals, "warn")?; // a worker's log is as its config says
    }
    match command {
        Command::Run => work(globals, screen),
        Command::Demo { directory } => perform(directory, globals.json),
        Command::Check(args) => check::run(&args, globals, screen),
        Command::Explain(args) => explain::run(&args, globals, screen),
        Command::Schema(args) => schema::run(&args, screen),
        Command::Completions(args) => completions::run(&args, screen),
        Command::Submit(args) => wait_for(submit::run(args, globals, screen)),
        Command::Jobs(args) => wait_for(jobs::run(args, globals, screen)),
        Command::Queues(args) => wait_for(queues::run(args, globals, screen)),
        Command::Breakers(args) => wait_for(breakers::run(args, globals, screen)),
        Command::Executors(args) => wait_for(executors::run(args, globals, screen)),
        Command::Routes(args) => wait_for(routes::run(args, globals, screen)),
        Command::Top(args) => wait_for(top::run(args, globals, screen)),
        Command::Reload(args) => wait_for(reload::run(args, globals, screen)),
        Command::DeadLetters(args) => wait_for(dead_letters::run(args, globals, screen)),
        Command::Batches(args) => wait_for(batches::run(args, globals, screen)),
        Command::Schedules(args) => wait_for(schedules::run(args, globals, screen)),
        Command::Audit(args) => wait_for(audit::run(args, globals, screen)),
        Command::Plugin(args) => wait_for(plugin::run(args, globals, screen)),
    }
}

fn start_log(format: LogFormat, globals: &Globals, directives: &str) -> Result<(), Failure> {
    logs::start(format, &globals.directives().unwrap_or_else(|| directives.to_owned())).map_err(Failure::usage)
}

fn work(globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    let loaded = config::load(globals.file().as_deref()).map_err(Failure::config)?;
    let telemetry = &loaded.config.telemetry;
    let format = if globals.json { LogFormat::Json } else { telemetry.log };
    start_log(format, globals, &telemetry.level)?;
    for warning in &loaded.warnings {
        tracing::warn!("{}: {}", warning.key, warning.message);
    }
    runtime(&mut Builder::new_multi_thread())?.block_on(run::run(&loaded, screen))?;
    Ok(Exit::Done)
}

fn perform(directory: Option<PathBuf>, json: bool) -> Result<Exit, Failure> {
    runtime(&mut Builder::new_multi_thread())?.block_on(demo::run(directory, json)).map_err(Failure::failed)?;
    Ok(Exit::Done)
}

/// Runs a command that talks to a queue, on this thread.
fn wait_for(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    runtime(&mut Builder::new_current_thread())?.block_on(command)
}

fn runtime(builder: &mut Builder) -> Result<Runtime, Failure> {
    builder.enable_all().build().map_err(|error| Failure::failed(format!("cannot start: {error}")))
}
