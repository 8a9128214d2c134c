//! From a job's type to what runs it and how it is retried.

use std::sync::Arc;
use std::time::Duration;

use super::exit::Exit;
use super::then::Then;
use super::turns::Rules;
use super::unique::Unique;
use crate::job::Job;
use crate::ports::{Executor, Facets};
use crate::retry::Policy;
use crate::routing::RouteTable;
use crate::telemetry::RouteMetrics;

/// Where jobs of a type go.
pub struct Route {
    /// The type pattern as written, for logs and metrics.
    pub name: Arc<str>,
    pub executor: Arc<dyn Executor>,
    pub executor_name: Arc<str>,
    pub policy: Policy,
    /// How its jobs take turns.
    pub rules: Arc<Rules>,
    /// How long a key waits for a job that fails, where its order is kept; none is for ever.
    pub order_hold: Option<Duration>,
    /// Of jobs with the same key only one runs.
    pub unique: Option<Unique>,
    /// The job after one that was done.
    pub then: Option<Then>,
    pub results: Option<Arc<Exit>>,
    pub dead_letters: Option<Arc<Exit>>,
    pub metrics: RouteMetrics,
}

impl Route {
    /// Whether other jobs must not pass this one.
    #[must_use]
    pub fn keeps_order(&self, job: &Job) -> bool {
        self.rules.ordered && job.key.is_some()
    }
}

/// The routes of a pool, found by a job's type and version.
#[derive(Default)]
pub struct Routes {
    table: RouteTable,
    routes: Vec<Arc<Route>>,
}

impl Routes {
    /// `table` numbers the routes of `routes`.
    #[must_use]
    pub fn new(table: RouteTable, routes: Vec<Arc<Route>>) -> Self {
        Routes { table, routes }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }

    /// What tells a job apart for its source: types whose keys are kept in order by one route are one.
    #[must_use]
    pub fn sorted(&self, mut facets: Facets) -> Facets {
        if let Some(route) = self.find(&facets.kind, None).filter(|route| facets.key.is_some() && route.rules.ordered) {
            facets.kind = route.name.clone();
        }
        facets
    }

    #[must_use]
    pub fn find(&self, kind: &str, version: Option<&str>) -> Option<&Arc<Route>> {
        self.table.find(kind, version).and_then(|number| self.routes.get(number))
    }
}
