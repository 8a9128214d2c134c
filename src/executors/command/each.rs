//! A program per job: the data on its standard input, the output on its standard output, the log on its standard error.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::codes;
use crate::executors::lines::Lines;
use crate::executors::output;
use crate::executors::places::{Places, stopped};
use crate::executors::process::{self, Exit, Recipe, Started};
use crate::job::Job;
use crate::outcome::{Class, Failure, Outcome};
use crate::ports::{Context, Stopped};
use crate::units::spell_size;

/// Of a failing program's last words, in a failure's message.
const LAST_WORDS: usize = 500;

/// Starts one process for each job.
#[derive(Debug)]
pub struct EachJob {
    pub recipe: Recipe,
    pub places: Places,
    pub exit_codes: BTreeMap<i32, Class>,
    /// The largest output, in bytes.
    pub output: usize,
    pub stop_grace: Duration,
}

impl EachJob {
    pub async fn execute(&self, job: &Job, context: &Context) -> Outcome {
        let _place = match self.places.take(context).await {
            Ok(place) => place,
            Err(outcome) => return outcome,
        };
        context.begin(); // the process is at work before its start is known here
        let mut started = match self.start(job, context).await {
            Ok(started) => started,
            Err(error) => return self.recipe.not_started(&error).into(),
        };
        let (why, grace) = tokio::select! {
            ended = context.limit(self.run(&mut started, context)) => match ended {
                Ok(outcome) => return outcome,
                Err(why) => (why, self.stop_grace),
            },
            () = self.places.closed() => (Stopped::Cancelled, Duration::ZERO),
        };
        let _how = started.leader.end(grace).await;
        process::sweep().await;
        stopped(why)
    }

    async fn start(&self, job: &Job, context: &Context) -> io::Result<Started> {
        let mut recipe = self.recipe.clone();
        recipe.environment.extend(variables(job, context));
        process::start(&recipe, holding(job.data.bytes())?).await
    }

    async fn run(&self, started: &mut Started, context: &Context) -> Outcome {
        let Started { leader, stdout, stderr } = started;
        let mut output = Vec::new();
        let mut log = Log { context, lines: Lines::default(), fresh: Vec::new(), last: String::new() };
        let exit = loop {
            tokio::select! {
                () = stdout.read(&mut output) => if output.len() > self.output { return self.too_large() },
                () = stderr.read(&mut log.fresh) => log.take(),
                exit = leader.ended() => break exit,
            }
        };
        // its group is dead now, and a daemon that holds the pipes open is not waited for
        stdout.drain(&mut output, self.output);
        stderr.drain(&mut log.fresh, self.output);
        log.take();
        log.lines.finish(|line| context.log(line));
        match exit {
            Ok(_) if output.len() > self.output => self.too_large(),
            Ok(exit) => self.outcome(exit, output, &log.last),
            Err(error) => Failure::new(Class::Unavailable, format!("the program could not be waited for: {error}")).into(),
        }
    }

    fn outcome(&self, exit: Exit, output: Vec<u8>, last_words: &str) -> Outcome {
        let class = match exit {
            Exit::Signal { .. } => Class::Crashed,
            Exit::Code(code) => match codes::class_of(code, &self.exit_codes) {
                Some(class) => class,
                None => return Outcome::Done(output::parse(output)),
            },
        };
        if let Some(failed) = output::own_failure(&output).filter(|_| class != Class::Crashed) {
            return failed.failure().into();
        }
        let program = self.recipe.program.file_name().unwrap_or_default().to_string_lossy();
        let mut message = format!("{program} {}", exit.describe(self.recipe.memory, self.recipe.cpu));
        if !last_words.is_empty() {
            message = format!("{message}: {last_words}");
        }
        Failure::new(class, message).into()
    }

    fn too_large(&self) -> Outcome {
        let limit = spell_size(self.output as u64);
        Failure::new(Class::Rejected, format!("it wrote more than {limit} to its standard output: raise output, or write less"))
            .into()
    }
}

/// What a program logs, while it runs.
struct Log<'a> {
    context: &'a Context,
    lines: Lines,
    fresh: Vec<u8>,
    /// The last line, which often says why a program fails.
    last: String,
}

impl Log<'_> {
    fn take(&mut self) {
        let last = &mut self.last;
        self.lines.take(&self.fresh, |line| {
            self.context.log(line);
            last.clear();
            last.extend(line.chars().take(LAST_WORDS));
        });
        self.fresh.clear();
    }
}

/// A file in memory that holds `data`: the program may read it or not, and nobody has to feed it.
fn holding(data: &[u8]) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("windlass-job", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut written = 0;
    while written < data.len() {
        written += rustix::io::pwrite(&file, &data[written..], written as u64)?;
    }
    Ok(file)
}

/// The job beside its data, for programs that only know variables.
fn variables(job: &Job, context: &Context) -> Vec<(String, String)> {
    let mut variables = vec![
        ("WINDLASS_JOB_ID", job.id.to_string()),
        ("WINDLASS_JOB_TYPE", job.kind.to_string()),
        ("WINDLASS_TENANT", job.tenant.to_string()),
        ("WINDLASS_PRIORITY", job.priority.to_string()),
        ("WINDLASS_ATTEMPT", context.attempt.to_string()),
        ("WINDLASS_TIMEOUT_MS", context.timeout.as_millis().to_string()),
        ("WINDLASS_TRACEPARENT", job.traceparent().to_string()),
    ];
    let optional = [
        ("WINDLASS_JOB_VERSION", job.version.as_ref().map(ToString::to_string)),
        ("WINDLASS_KEY", job.key.as_ref().map(ToString::to_string)),
        ("WINDLASS_DEADLINE", context.deadline.map(|deadline| deadline.to_string())),
        ("WINDLASS_BATCH_ID", job.batch.as_ref().map(|batch| batch.id.to_string())),
        ("WINDLASS_TRACESTATE", job.tracestate.as_ref().map(ToString::to_string)),
    ];
    variables.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
