//! The command executor: a program per job, or a program that stays and is sent many.

mod codes;
pub mod config;
mod each;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::executors::hosts::{Hosts, Settings};
use crate::executors::limits::bytes;
use crate::executors::places::Places;
use crate::executors::process::{self, Recipe, find_program};
use crate::job::Job;
use crate::outcome::Outcome;
use crate::ports::{Context, Executor};
use config::CommandConfig;
use each::EachJob;

/// Runs jobs by a program.
#[derive(Debug)]
pub enum CommandExecutor {
    EachJob(Box<EachJob>),
    Persistent(Box<Hosts>),
}

impl CommandExecutor {
    /// `base` is the folder of the config file.
    ///
    /// # Errors
    /// A sentence that says what of the config cannot work here.
    pub fn new(name: &str, config: CommandConfig, base: &Path) -> Result<Arc<Self>, String> {
        let executor = if config.persistent {
            CommandExecutor::Persistent(Box::new(Hosts::new(settings(name, &config, base)?)))
        } else {
            CommandExecutor::EachJob(Box::new(EachJob {
                recipe: recipe(&config, base)?,
                places: Places::new(config.workers),
                output: bytes(config.output),
                stop_grace: config.stop_grace.0,
                exit_codes: config.exit_codes,
            }))
        };
        Ok(Arc::new(executor))
    }

    /// What of the config cannot work here, found without starting anything.
    #[must_use]
    pub fn check(config: &CommandConfig, base: &Path) -> Vec<String> {
        let mut wrong: Vec<String> = recipe(config, base).err().into_iter().collect();
        if config.workers == 0 {
            wrong.push("workers: at least 1 process is needed".into());
        }
        if config.concurrency == 0 {
            wrong.push("concurrency: at least 1 job must be let in".into());
        }
        if !config.persistent && (config.concurrency > 1 || config.recycle_jobs.is_some() || config.recycle_memory.is_some()) {
            wrong.push("concurrency, recycle_jobs and recycle_memory are for a process that stays: add persistent: true".into());
        }
        wrong
    }
}

/// How the processes of a persistent command are kept.
///
/// # Errors
/// As [`CommandExecutor::new`].
pub(super) fn settings(name: &str, config: &CommandConfig, base: &Path) -> Result<Settings, String> {
    Ok(Settings {
        name: name.into(),
        recipe: recipe(config, base)?,
        workers: config.workers,
        concurrency: config.concurrency,
        output: bytes(config.output),
        recycle_jobs: config.recycle_jobs,
        recycle_memory: config.recycle_memory.map(|size| size.0),
        stop_grace: config.stop_grace.0,
    })
}

fn recipe(config: &CommandConfig, base: &Path) -> Result<Recipe, String> {
    let (program, arguments) = config.run.split_first().ok_or("run: a program is needed, such as [\"./thumb.sh\"]")?;
    let program = find_program(program, base).map_err(|why| format!("run: {why}"))?;
    config.limits().recipe(program, arguments.to_vec(), base)
}

#[async_trait]
impl Executor for CommandExecutor {
    async fn execute(&self, job: &Job, context: &Context) -> Outcome {
        match self {
            CommandExecutor::EachJob(each) => each.execute(job, context).await,
            CommandExecutor::Persistent(hosts) => hosts.execute(job, context).await,
        }
    }

    async fn warm(&self) -> Result<(), String> {
        match self {
            CommandExecutor::EachJob(_) => Ok(()),
            CommandExecutor::Persistent(hosts) => hosts.warm().await,
        }
    }

    async fn prepare(&self, context: &Context) {
        if let CommandExecutor::Persistent(hosts) = self {
            hosts.prepare(context).await;
        }
    }

    fn trouble(&self) -> Option<String> {
        match self {
            CommandExecutor::EachJob(_) => None,
            CommandExecutor::Persistent(hosts) => hosts.trouble(),
        }
    }

    async fn stop(&self, grace: Duration) {
        match self {
            CommandExecutor::EachJob(each) => each.places.close(grace, || {}).await,
            CommandExecutor::Persistent(hosts) => hosts.stop(grace).await,
        }
        process::sweep().await;
    }
}
