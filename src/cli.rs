//! The command line: one file per command; every command that touches a queue speaks the HTTP API.

mod audit;
mod check;
mod completions;
mod dead_letters;
pub mod exit;
mod explain;
mod failure;
mod filter;
mod jobs;
//PLUGIN
mod queues;
mod schema;
pub mod screen;
pub mod session;
mod story;
mod submit;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

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
    Submit(submit::Submit),
    Jobs(jobs::Jobs),
    Queues(queues::Queues),
    DeadLetters(dead_letters::DeadLetters),
    Audit(audit::Audit),
    Check(check::Check),
    Explain(explain::Explain),
    //PLUGIN2
    Schema(schema::Schema),
    Completions(completions::Completions),
}

impl Globals {
    /// The config file in use; none for the defaults.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        crate::config::locate(self.config.clone())
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
    start_log(globals)?;
    match command {
        Command::Check(args) => check::run(&args, globals, screen),
        Command::Explain(args) => explain::run(&args, globals, screen),
        Command::Schema(args) => schema::run(&args, screen),
        Command::Completions(args) => completions::run(&args, screen),
        Command::Submit(args) => wait_for(submit::run(args, globals, screen)),
        Command::Jobs(args) => wait_for(jobs::run(args, globals, screen)),
        Command::Queues(args) => wait_for(queues::run(args, globals, screen)),
        Command::DeadLetters(args) => wait_for(dead_letters::run(args, globals, screen)),
        Command::Audit(args) => wait_for(audit::run(args, globals, screen)),
        //PLUGIN3
    }
}

fn start_log(globals: &Globals) -> Result<(), Failure> {
    let directives = globals.directives().unwrap_or_else(|| "warn".into());
    crate::telemetry::logs::start(crate::telemetry::logs::LogFormat::Human, &directives).map_err(Failure::usage)
}

/// Runs a command that talks to a queue, on this thread.
fn wait_for(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))?.block_on(command)
}
