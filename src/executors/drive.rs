//! Drives a plugin through what a worker may ask of it, so that its author sees what works before any job does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::command::CommandExecutor;
use super::command::config::CommandConfig;
use super::hosts::{Host, Settings};
use super::places::Places;
use super::python::config::PythonConfig;
use super::{command, hosts, python};
use crate::job::life::shorten;
use crate::job::{DEFAULT_PRIORITY, Data, Job, Life};
use crate::outcome::{Class, Outcome, Output};
use crate::ports::{Context, Executor};
use crate::units::spell_duration;

/// Of one sample.
const PATIENCE: Duration = Duration::from_secs(60);
/// How a job is stopped that may take longer.
const AT_ONCE: Duration = Duration::from_millis(1);
/// Of an output or a line, in a detail.
const SHOWN: usize = 200;

/// What was tried, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    pub step: &'static str,
    pub ok: bool,
    pub detail: String,
}

/// The plugin to drive.
#[derive(Clone, Debug)]
pub enum Subject {
    Command(CommandConfig),
    Python(PythonConfig),
}

impl Subject {
    /// From a command line: `plugins/thumbs.py:Thumbnails` is Python, any other file a program that stays and speaks the
    /// plugin protocol.
    ///
    /// # Errors
    /// What of it cannot be a plugin.
    pub fn named(plugin: &str) -> Result<Self, String> {
        let read = |error: serde_json::Error| format!("{plugin}: {error}");
        if plugin.contains(".py:") {
            return serde_json::from_value(json!({"entry": plugin})).map(Subject::Python).map_err(read);
        }
        let file = if plugin.contains('/') { plugin.to_owned() } else { format!("./{plugin}") };
        serde_json::from_value(json!({"run": [file], "persistent": true})).map(Subject::Command).map_err(read)
    }
}

/// Starts the plugin and tries it step by step; `base` is the folder that relative paths start from. Without samples it
/// is sent one job with no data, whose failure is no fault.
pub async fn drive(subject: &Subject, samples: &[Job], base: &Path) -> Vec<Step> {
    let mut steps = Steps(Vec::new());
    let unpacked = python::Sdk::unpack();
    let settings = match subject {
        Subject::Command(config) if !config.persistent => {
            drive_each(config, samples, base, &mut steps).await;
            return steps.0;
        }
        Subject::Command(config) => command::settings("plugin", config, base),
        Subject::Python(config) => {
            unpacked.as_ref().map_err(Clone::clone).and_then(|sdk| python::settings("plugin", config, base, sdk))
        }
    };
    match settings {
        Ok(settings) => drive_staying(&settings, samples, &mut steps).await,
        Err(why) => steps.failed("start", why),
    }
    steps.0
}

struct Steps(Vec<Step>);

impl Steps {
    fn passed(&mut self, step: &'static str, detail: impl Into<String>) {
        self.0.push(Step { step, ok: true, detail: detail.into() });
    }

    fn failed(&mut self, step: &'static str, detail: impl Into<String>) {
        self.0.push(Step { step, ok: false, detail: detail.into() });
    }

    fn add(&mut self, step: &'static str, result: Result<String, String>) {
        match result {
            Ok(detail) => self.passed(step, detail),
            Err(detail) => self.failed(step, detail),
        }
    }
}

/// A program per job can do little wrong.
async fn drive_each(config: &CommandConfig, samples: &[Job], base: &Path, steps: &mut Steps) {
    let executor = match CommandExecutor::new("plugin", config.clone(), base) {
        Ok(executor) => executor,
        Err(why) => return steps.failed("start", why),
    };
    let mut heard = Heard::default();
    for job in &or_one_without_data(samples) {
        let context = context(job, PATIENCE);
        let outcome = executor.execute(job, &context).await;
        steps.add("job", judged(job, &outcome, samples.is_empty()));
        heard.note(&context);
    }
    heard.tell(steps);
    executor.stop(Duration::ZERO).await;
}

async fn drive_staying(settings: &Settings, samples: &[Job], steps: &mut Steps) {
    let mut trial = match Trial::start(settings).await {
        Ok(trial) => trial,
        Err(why) => return steps.failed("hello", why),
    };
    steps.passed("hello", trial.greeting());
    let jobs = or_one_without_data(samples);
    let mut heard = Heard::default();
    for job in &jobs {
        let context = context(job, PATIENCE);
        let outcome = trial.run(job, &context).await;
        steps.add("job", outcome.and_then(|outcome| judged(job, &outcome, samples.is_empty())));
        heard.note(&context);
    }
    heard.tell(steps);
    trial.host.send_unknown();
    let context_after = context(&jobs[0], PATIENCE);
    let after = trial.run(&jobs[0], &context_after).await;
    steps.add("unknown request", after.and_then(|outcome| judged(&jobs[0], &outcome, true)).map(|_| "passed over".into()));
    let cancelled = context(&jobs[0], PATIENCE);
    cancelled.cancel.cancel();
    steps.add("cancel", trial.stopped(&jobs[0], &cancelled).await);
    steps.add("time-out", trial.stopped(&jobs[0], &context(&jobs[0], AT_ONCE)).await);
    steps.add("stop", trial.stop().await);
}

/// A plugin while it is driven.
struct Trial<'a> {
    settings: &'a Settings,
    host: Arc<Host>,
    places: Places,
}

impl<'a> Trial<'a> {
    async fn start(settings: &'a Settings) -> Result<Self, String> {
        let host = hosts::start(settings).await.map_err(|failure| failure.message)?;
        Ok(Trial { settings, host, places: Places::new(1) })
    }

    fn greeting(&self) -> String {
        let hello = &self.host.hello;
        let order = if hello.sequential { "one job after another" } else { "many jobs at once" };
        let cancel = if hello.cancel { "is asked to cancel a job" } else { "is killed to cancel a job" };
        format!("{} runs {order} and {cancel}", hello.name.as_deref().unwrap_or("a plugin without a name"))
    }

    /// Runs a job, on a new process where the last one is gone.
    async fn run(&mut self, job: &Job, context: &Context) -> Result<Outcome, String> {
        if !self.host.takes_jobs() {
            self.host = hosts::start(self.settings).await.map_err(|failure| failure.message)?;
        }
        let gone = || "its process was gone before the job reached it".to_owned();
        self.host.run(job, context, &self.places).await.ok_or_else(gone)
    }

    /// Runs a job that is stopped at once, and sees whether the process survives it.
    async fn stopped(&mut self, job: &Job, context: &Context) -> Result<String, String> {
        let outcome = self.run(job, context).await?;
        match (self.host.takes_jobs(), self.host.hello.cancel) {
            (true, _) if matches!(outcome, Outcome::Done(_)) => Ok("the job was done before that".into()),
            (true, _) => Ok("answered, and the process lives on".into()),
            (false, false) => Ok("the process was killed for it, and a new one takes the next job".into()),
            (false, true) => Err("it says that it knows cancel and did not answer within a second".into()),
        }
    }

    async fn stop(&self) -> Result<String, String> {
        if !self.host.takes_jobs() {
            return Ok("its process had to be killed before".into());
        }
        if self.host.stop(self.settings.stop_grace).await {
            Ok("ended by itself".into())
        } else {
            Err(format!("it did not end within {} (stop_grace) and was killed", spell_duration(self.settings.stop_grace)))
        }
    }
}

/// What was logged and reported over all samples.
#[derive(Default)]
struct Heard {
    lines: usize,
    last: String,
    progress: Option<String>,
}

impl Heard {
    fn note(&mut self, context: &Context) {
        let log = context.log_tail();
        self.lines += log.lines().count();
        if let Some(last) = log.lines().last() {
            self.last = shorten(last, SHOWN).to_owned();
        }
        self.progress = context.progress().or(self.progress.take());
    }

    fn tell(self, steps: &mut Steps) {
        let lines = match self.lines {
            0 => "no line was logged".into(),
            lines => format!("{lines} lines; the last: {}", self.last),
        };
        steps.passed("log", lines);
        steps.passed("progress", self.progress.unwrap_or_else(|| "none was reported".into()));
    }
}

/// Whether a job went as it should: done, or at least answered where any answer will do.
fn judged(job: &Job, outcome: &Outcome, any_answer: bool) -> Result<String, String> {
    match outcome {
        Outcome::Done(Output::Nothing) => Ok(format!("{} is done", job.id)),
        Outcome::Done(Output::Json(json)) => {
            Ok(format!("{} is done: {}", job.id, shorten(&String::from_utf8_lossy(json), SHOWN)))
        }
        Outcome::Done(Output::Binary(bytes)) => Ok(format!("{} is done: {} bytes", job.id, bytes.len())),
        Outcome::Failed(failure) => {
            let told = format!("{} is {}: {}", job.id, failure.class, shorten(&failure.message, SHOWN));
            let answered = !matches!(failure.class, Class::Crashed | Class::Timeout);
            if any_answer && answered { Ok(told) } else { Err(told) }
        }
        Outcome::Interrupted(_) => Err(format!("{} was interrupted", job.id)),
    }
}

fn context(job: &Job, timeout: Duration) -> Context {
    Context::new(job.id.clone(), "plugin test".into(), timeout)
}

fn or_one_without_data(samples: &[Job]) -> Vec<Job> {
    if !samples.is_empty() {
        return samples.to_vec();
    }
    vec![Job {
        id: "sample".into(),
        kind: "sample".into(),
        version: None,
        data: Data::Json("null".into()),
        key: None,
        tenant: "default".into(),
        priority: DEFAULT_PRIORITY,
        not_before: None,
        deadline: None,
        batch: None,
        traceparent: None,
        tracestate: None,
        extensions: Vec::new(),
        life: Life::default(),
    }]
}
