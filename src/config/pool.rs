//! The block of one pool: where its jobs come from, where what comes out goes, how many run at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::window::WindowOptions;
use crate::retry::Policy;
use crate::units::{Size, Span};

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
    /// Of these, how many only tenants get who run fewer jobs than this, while more than one is around; one in 32 when
    /// absent, and none of fewer than 16.
    #[serde(default)]
    pub kept_free: Option<usize>,
    /// How much is taken and waits for its turn.
    #[serde(default)]
    pub window: Window,
    /// Tenants that have another share than the others.
    #[serde(default)]
    pub tenants: BTreeMap<String, Tenant>,
    /// How long a job waits for a route of its type.
    #[serde(default = "no_route")]
    pub no_route: Span,
}

/// What a pool takes beyond what it runs, of each source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Window {
    /// Jobs that wait for a rate, a key or a slot.
    pub jobs: usize,
    pub bytes: Size,
    /// Jobs that wait for nothing but a slot; when absent, a quarter of the slots where the queue chooses fairly by itself,
    /// else as many as may wait.
    pub ahead: Option<usize>,
}

impl Default for Window {
    fn default() -> Self {
        let WindowOptions { jobs, bytes, .. } = WindowOptions::new(1);
        Window { jobs, bytes: Size(bytes as u64), ahead: None }
    }
}

/// What differs for one tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its share; that of the others is 1.
    pub weight: u32,
}

fn slots() -> usize {
    64
}

fn no_route() -> Span {
    Span(Policy::default().no_route)
}

impl Pool {
    /// The bounds of its window.
    #[must_use]
    pub fn window(&self) -> WindowOptions {
        let usual = WindowOptions::new(self.slots);
        WindowOptions {
            jobs: self.window.jobs,
            bytes: usize::try_from(self.window.bytes.0).unwrap_or(usize::MAX),
            ahead: self.window.ahead,
            kept_free: self.kept_free,
            weights: self.tenants.iter().map(|(name, tenant)| (name.as_str().into(), tenant.weight)).collect(),
            ..usual
        }
    }

    /// How jobs are treated that no route takes.
    #[must_use]
    pub fn unrouted(&self) -> Policy {
        Policy { no_route: self.no_route.0, ..Policy::default() }
    }
}

impl Default for Pool {
    fn default() -> Self {
        Pool {
            from: Vec::new(),
            results: None,
            dead_letters: None,
            slots: slots(),
            kept_free: None,
            window: Window::default(),
            tenants: BTreeMap::new(),
            no_route: no_route(),
        }
    }
}
