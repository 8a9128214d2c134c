//! From a job's type to what runs it and how it is retried.

use std::sync::Arc;

use crate::ports::{Executor, Sink};
use crate::retry::Policy;

/// Where jobs of a type go.
pub struct Route {
    /// The type pattern as written, for logs and metrics.
    pub name: Arc<str>,
    pub executor: Arc<dyn Executor>,
    pub executor_name: Arc<str>,
    pub policy: Policy,
    pub results: Option<Arc<dyn Sink>>,
    pub dead_letters: Option<Arc<dyn Sink>>,
}

/// The routes of a pool.
#[derive(Default)]
pub struct Routes {
    list: Vec<Arc<Route>>,
}
impl Routes {
    pub fn new(list: Vec<Arc<Route>>) -> Self {
        Routes { list }
    }
    pub fn find(&self, kind: &str, _version: Option<&str>) -> Option<&Arc<Route>> {
        self.list.iter().find(|r| &*r.name == kind || r.name.strip_suffix('*').is_some_and(|p| kind.starts_with(p)))
    }
}
