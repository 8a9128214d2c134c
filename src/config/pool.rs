//! The block of one pool: where its jobs come from, where what comes out goes, how many run at once.

use serde::{Deserialize, Serialize};

use crate::retry::Policy;
use crate::units::Span;

/// `{ from: [jobs], results: results }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// The names of queues.
    pub from: Vec<String>,
    /// The queue for results; kept by the source itself, where it can, when absent.
    #[serde(default)]
    pub results: Option<String>,
    /// The queue for dead letters; `<q>.dead` beside each source when absent.
    #[serde(default)]
    pub dead_letters: Option<String>,
    /// Jobs at once.
    #[serde(default = "slots")]
    pub slots: usize,
    /// How long a job waits for a route of its type.
    #[serde(default = "no_route")]
    pub no_route: Span,
}

fn slots() -> usize {
    64
}

fn no_route() -> Span {
    Span(Policy::default().no_route)
}

impl Pool {
    /// How jobs are treated that no route takes.
    #[must_use]
    pub fn unrouted(&self) -> Policy {
        Policy { no_route: self.no_route.0, ..Policy::default() }
    }
}

impl Default for Pool {
    fn default() -> Self {
        Pool { from: Vec::new(), results: None, dead_letters: None, slots: slots(), no_route: no_route() }
    }
}
