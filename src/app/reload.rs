//! A new config for a living worker: routes, policies, limits and executors. What runs ends by the old one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::parts::{self, Bench, Executors};
use super::queues::Systems;
use crate::config::{self, Config, Loaded};
use crate::engine::pool::Pool;
use crate::ports::Executor;
use crate::telemetry::Telemetry;

/// The blocks of a config that a living worker takes anew.
const FREE: [&str; 2] = ["routes", "executors"];
/// How often an executor that was replaced is looked at, until its last job has ended.
const LOOK: Duration = Duration::from_millis(200);
/// How long an executor may take to end its processes.
pub(super) const STOP: Duration = Duration::from_secs(5);

/// Holds what a reload compares with and replaces.
pub struct Reloader {
    file: Option<PathBuf>,
    systems: Arc<Systems>,
    pools: Vec<Arc<Pool>>,
    telemetry: Telemetry,
    /// Held over a whole reload: one at a time.
    now: Mutex<Now>,
}

struct Now {
    config: Config,
    executors: Executors,
    /// Replaced, and maybe not ended yet.
    retired: Vec<Arc<dyn Executor>>,
}

/// What a reload has changed.
#[derive(Clone, Debug, Serialize)]
pub struct Reloaded {
    pub routes: usize,
    /// Executors that were made anew, because they are new or their block has changed.
    pub started: Vec<String>,
    /// Executors that end with their last job.
    pub ended: Vec<String>,
}

/// Why the old config stays.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotReloaded {
    /// Everything that is wrong with the file.
    #[error("the new config is refused, the old one stays:\n{0}")]
    Invalid(String),
    #[error("the new config is refused, the old one stays: {} cannot change while the worker lives; restart it", .0.join(", "))]
    Fixed(Vec<String>),
    #[error("the new config is refused, the old one stays: {0}")]
    Impossible(String),
}

impl Reloader {
    pub fn new(
        loaded: &Loaded,
        systems: Arc<Systems>,
        pools: Vec<Arc<Pool>>,
        executors: Executors,
        telemetry: &Telemetry,
    ) -> Self {
        let now = Now { config: loaded.config.clone(), executors, retired: Vec::new() };
        let file = loaded.source.file.clone();
        Reloader { file, systems, pools, telemetry: telemetry.clone(), now: Mutex::new(now) }
    }

    /// Reads the file again and goes on by it, or refuses it whole; says either in the log and in a metric.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub async fn reload(&self) -> Result<Reloaded, NotReloaded> {
        let mut now = self.now.lock().await;
        let reloaded = self.try_reload(&mut now).await;
        self.telemetry.reloaded(reloaded.is_ok());
        match &reloaded {
            Ok(done) => tracing::info!(
                "reloaded: {} routes; executors made anew: {:?}, ended: {:?}",
                done.routes,
                done.started,
                done.ended
            ),
            Err(why) => tracing::error!("{why}"),
        }
        reloaded
    }

    async fn try_reload(&self, now: &mut Now) -> Result<Reloaded, NotReloaded> {
        let loaded = config::load(self.file.as_deref()).map_err(|refused| NotReloaded::Invalid(refused.to_string()))?;
        let changed = fixed(&now.config, &loaded.config);
        if !changed.is_empty() {
            return Err(NotReloaded::Fixed(changed));
        }
        let (executors, started) = rebuilt(now, &loaded.config, &loaded.source.base)?;
        let mut all = Vec::new();
        for pool in &self.pools {
            let Some(block) = loaded.config.pools.get(&*pool.name) else { continue };
            parts::guards(&loaded.config, &pool.shared, &self.telemetry);
            let bench = Bench {
                config: &loaded.config,
                shared: &pool.shared,
                systems: &self.systems,
                executors: &executors,
                telemetry: &self.telemetry,
            };
            all.push((pool, bench.routes(&pool.name, block, &pool.metrics).map_err(impossible)?));
        }
        parts::warm(executors.iter().filter(|(name, _)| started.contains(name))).await;
        all.into_iter().for_each(|(pool, routes)| pool.reload(routes));
        let ended = now.replace(loaded.config, executors);
        Ok(Reloaded { routes: now.config.routes.len(), started, ended })
    }

    /// Every executor there is, for the end of the worker.
    pub async fn executors(&self) -> Vec<Arc<dyn Executor>> {
        let now = self.now.lock().await;
        now.executors.values().chain(&now.retired).cloned().collect()
    }
}

impl Now {
    /// Puts the new config in the place of the old; executors that are in it no more end with their last job.
    fn replace(&mut self, config: Config, executors: Executors) -> Vec<String> {
        self.retired.retain(|executor| Arc::strong_count(executor) > 1);
        let old = std::mem::replace(&mut self.executors, executors);
        self.config = config;
        let mut ended = Vec::new();
        for (name, executor) in old {
            if self.executors.get(&name).is_some_and(|kept| Arc::ptr_eq(kept, &executor)) {
                continue;
            }
            ended.push(name);
            self.retired.push(executor.clone());
            tokio::spawn(async move {
                // this one and the one in `retired`; every route and every run that uses it holds another
                while Arc::strong_count(&executor) > 2 {
                    tokio::time::sleep(LOOK).await;
                }
                executor.stop(STOP).await;
            });
        }
        ended
    }
}

fn impossible(error: impl std::fmt::Display) -> NotReloaded {
    NotReloaded::Impossible(error.to_string())
}

/// The executors of a new config: those whose block is the same go on. Names those that were made.
fn rebuilt(now: &Now, config: &Config, base: &Path) -> Result<(Executors, Vec<String>), NotReloaded> {
    let (mut executors, mut made) = (Executors::new(), Vec::new());
    for (name, block) in &config.executors {
        let kept = now.executors.get(name).filter(|_| now.config.executors.get(name) == Some(block));
        let executor = match kept {
            Some(executor) => executor.clone(),
            None => {
                made.push(name.clone());
                parts::executor(name, block, base).map_err(impossible)?
            }
        };
        executors.insert(name.clone(), executor);
    }
    Ok((executors, made))
}

/// The keys that differ and cannot change while the worker lives, such as `pools.default.slots`.
fn fixed(old: &Config, new: &Config) -> Vec<String> {
    let value = |config| serde_json::to_value(config).unwrap_or_default();
    let mut changed = BTreeSet::new();
    differ("", &value(old), &value(new), &mut changed);
    changed.into_iter().filter(|key| !FREE.contains(&key.split('.').next().unwrap_or_default())).collect()
}

fn differ(at: &str, old: &Value, new: &Value, changed: &mut BTreeSet<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for key in old.keys().chain(new.keys()) {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                differ(&path, old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null), changed);
            }
        }
        _ if old == new => {}
        _ => {
            changed.insert(at.to_owned());
        }
    }
}
