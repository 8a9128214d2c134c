//! The config file as written, checked and explained. `config/default.yaml` names every key.

pub mod after;
pub mod breaker;
pub mod check;
pub mod executor;
pub mod explain;
mod interpolate;
mod memory;
mod node;
pub mod order;
pub mod pool;
pub mod problem;
pub mod queue;
mod read;
pub mod route;
pub mod schedule;
pub mod source;
pub mod state;
pub mod worker;
mod yaml;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::routing::RouteTable;
pub use crate::secret::Secret;
pub use after::{NextJob, UniqueJobs};
pub use executor::Executor;
pub use pool::Pool;
pub use problem::Problem;
pub use queue::{Queue, QueueKind};
pub use route::Route;
pub use schedule::Schedule;

pub use source::{Loaded, Refused, load, load_to_operate, locate};
pub use state::State;
pub use worker::{Api, Listen, Telemetry, Worker};

/// Every key with its default and one comment, as text to print or to start a file from.
pub const DEFAULT_YAML: &str = include_str!("../config/default.yaml");

/// Take jobs from queues, run them on executors, send what comes out to exits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub worker: Worker,
    pub api: Api,
    pub telemetry: Telemetry,
    pub queues: BTreeMap<String, Queue>,
    /// What is remembered beyond one job; in the file of the first embedded queue when absent, nowhere without one.
    #[serde(default)]
    pub state: Option<State>,
    pub executors: BTreeMap<String, Executor>,
    pub routes: Vec<Route>,
    /// Jobs that are submitted by themselves, by name.
    pub schedules: BTreeMap<String, Schedule>,
    /// When there are none, one named `default` takes from every queue that no exit names.
    #[serde(default)]
    pub pools: BTreeMap<String, Pool>,
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Config {
            worker: Worker::default(),
            api: Api::default(),
            telemetry: Telemetry::default(),
            queues: BTreeMap::from([("jobs".to_owned(), Queue::default())]),
            state: None,
            executors: BTreeMap::new(),
            routes: Vec::new(),
            schedules: BTreeMap::new(),
            pools: BTreeMap::new(),
        };
        config.complete();
        config
    }
}

impl Config {
    /// The table that finds the number of a job's route in [`Config::routes`].
    ///
    /// # Errors
    /// The pairs of routes that nothing tells apart; `check` has refused them before.
    pub fn route_table(&self) -> Result<RouteTable, Vec<crate::routing::Tie>> {
        RouteTable::new(self.routes.iter().map(|route| (route.kind.as_str(), route.version.as_deref())))
    }

    /// Adds the state store and the pool that are meant where none is written.
    fn complete(&mut self) {
        let mut embedded = self.queues.values().filter_map(|queue| match &queue.kind {
            QueueKind::Embedded(embedded) => Some(State::in_file(&embedded.path)),
            _ => None,
        });
        self.state = self.state.take().or_else(|| embedded.next());
        if !self.pools.is_empty() {
            return;
        }
        let exits = self.routes.iter().flat_map(|route| [&route.results, &route.dead_letters]).flatten();
        let exits: Vec<&String> = exits.collect();
        let from = self.queues.keys().filter(|queue| !exits.contains(queue)).cloned().collect();
        self.pools.insert("default".into(), Pool { from, ..Pool::default() });
    }
}

#[cfg(test)]
mod tests;
