//! The Python executor: a pool of interpreter processes that run a function or a class.

pub mod config;
mod interpreter;
mod sdk;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::executors::hosts::{Hosts, Settings};
use crate::executors::limits::bytes;
use crate::executors::process::{self, find_program};
use crate::job::Job;
use crate::outcome::Outcome;
use crate::ports::{Context, Executor};
use config::PythonConfig;
pub(super) use sdk::Sdk;

/// The variable that tells the SDK's host what to run.
const PLUGIN: &str = "WINDLASS_PLUGIN";

/// Runs jobs by a Python function or class.
#[derive(Debug)]
pub struct PythonExecutor {
    hosts: Hosts,
    _sdk: Sdk,
}

impl PythonExecutor {
    /// `base` is the folder of the config file. Asks a shim in front of the interpreter where that is.
    ///
    /// # Errors
    /// A sentence that says what of the config cannot work here.
    pub fn new(name: &str, config: PythonConfig, base: &Path) -> Result<Arc<Self>, String> {
        let sdk = Sdk::unpack()?;
        Ok(Arc::new(PythonExecutor { hosts: Hosts::new(settings(name, &config, base, &sdk)?), _sdk: sdk }))
    }

    /// What of the config cannot work here, found without starting anything.
    #[must_use]
    pub fn check(config: &PythonConfig, base: &Path) -> Vec<String> {
        let entry = Entry::parse(&config.entry, base).map(drop);
        let program = find_program(&config.python, base).map_err(|why| format!("python: {why}"));
        let recipe = program.and_then(|program| config.limits().recipe(program, Vec::new(), base)).map(drop);
        let mut wrong: Vec<String> = [entry, recipe].into_iter().filter_map(Result::err).collect();
        if config.workers == 0 {
            wrong.push("workers: at least 1 process is needed".into());
        }
        if config.concurrency == 0 {
            wrong.push("concurrency: at least 1 job must be let in".into());
        }
        wrong
    }
}

/// How the interpreters of a plugin are kept.
///
/// # Errors
/// As [`PythonExecutor::new`].
pub(super) fn settings(name: &str, config: &PythonConfig, base: &Path, sdk: &Sdk) -> Result<Settings, String> {
    let entry = Entry::parse(&config.entry, base)?;
    let program = interpreter::behind(&find_program(&config.python, base).map_err(|why| format!("python: {why}"))?)?;
    let mut recipe = config.limits().recipe(program, vec![sdk.folder().to_string_lossy().into_owned()], base)?;
    let plugin = serde_json::json!({"file": entry.file, "name": entry.name, "options": config.options});
    recipe.environment.push((PLUGIN.into(), plugin.to_string()));
    Ok(Settings {
        name: name.into(),
        recipe,
        workers: config.workers,
        concurrency: config.concurrency,
        output: bytes(config.output),
        recycle_jobs: config.recycle_jobs,
        recycle_memory: config.recycle_memory.map(|size| size.0),
        stop_grace: config.stop_grace.0,
    })
}

/// `path/to/file.py:Class`.
struct Entry {
    file: PathBuf,
    name: String,
}

impl Entry {
    fn parse(entry: &str, base: &Path) -> Result<Self, String> {
        let (file, name) =
            entry.rsplit_once(':').filter(|(file, name)| !file.is_empty() && !name.is_empty()).ok_or_else(|| {
                format!("entry: {entry:?} does not say what to call: write \"path/to/file.py:Class\" or \":function\"")
            })?;
        let file = std::path::absolute(base.join(file)).map_err(|error| format!("entry: {file}: {error}"))?;
        if !file.is_file() {
            return Err(format!("entry: the plugin file {} is not there", file.display()));
        }
        Ok(Entry { file, name: name.into() })
    }
}

#[async_trait]
impl Executor for PythonExecutor {
    async fn execute(&self, job: &Job, context: &Context) -> Outcome {
        self.hosts.execute(job, context).await
    }

    async fn warm(&self) -> Result<(), String> {
        self.hosts.warm().await
    }

    async fn prepare(&self, context: &Context) {
        self.hosts.prepare(context).await;
    }

    fn trouble(&self) -> Option<String> {
        self.hosts.trouble()
    }

    async fn stop(&self, grace: Duration) {
        self.hosts.stop(grace).await;
        process::sweep().await;
    }
}
