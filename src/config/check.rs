//! `windlass check`: everything that is wrong with a config, at once and without running it.

mod expressions;
mod names;
mod numbers;
mod order;
mod places;
mod plugins;
mod schedules;

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::node::spell;
use super::problem::{Problem, Severity};
use super::source::{Purpose, Source, examine};
use super::{Config, QueueKind};

/// What was found, in the order of the file, errors first.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    pub problems: Vec<Problem>,
    #[serde(skip)]
    text: String,
}

/// Checks a config file, or the defaults when there is none.
#[must_use]
pub fn check(file: Option<&Path>) -> Checked {
    let (source, _, problems) = examine(Purpose::Work, file, &|name| std::env::var(name).ok());
    Checked { problems, text: source.text }
}

impl Checked {
    /// Whether the config may be run; warnings do not forbid it.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.problems.iter().any(Problem::is_error)
    }

    /// For a terminal, at most 80 columns wide.
    #[must_use]
    pub fn render(&self) -> String {
        render(&self.problems, &self.text)
    }
}

/// All problems with their lines of the file, and how many there are.
pub(super) fn render(problems: &[Problem], text: &str) -> String {
    let mut out = String::new();
    for problem in problems {
        // writing to a string cannot fail
        let _ = writeln!(out, "{}", problem.render(text));
    }
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let _ = writeln!(out, "{}, {}", count(errors, "error"), count(problems.len() - errors, "warning"));
    out
}

fn count(number: usize, word: &str) -> String {
    match number {
        0 => format!("no {word}s"),
        1 => format!("1 {word}"),
        number => format!("{number} {word}s"),
    }
}

/// What is wrong with a config although each of its values can be read. `whole` says that all of the file could be: only
/// then something absent is really missing.
pub(super) fn inspect(purpose: Purpose, source: &Source, config: &Config, whole: bool) -> Vec<Problem> {
    let live = source.root.at(&["routes"]).map_or(&[][..], |routes| routes.items()).iter().enumerate();
    let routes = live.filter(|(_, route)| !route.dropped()).map(|(index, _)| index.to_string()).collect();
    let mut inspection = Inspection { source, config, routes, problems: Vec::new() };
    inspection.names();
    inspection.sharing();
    inspection.routing();
    inspection.numbers();
    inspection.order(QueueKind::order);
    inspection.patience();
    inspection.places();
    if purpose == Purpose::Work {
        inspection.plugins();
    }
    inspection.schedules();
    inspection.expressions();
    inspection.after();
    if whole {
        inspection.idle();
    }
    inspection.problems
}

/// One pass over a config that could be read.
struct Inspection<'s> {
    source: &'s Source,
    config: &'s Config,
    /// For each route of the config, its place in the file's list.
    routes: Vec<String>,
    problems: Vec<Problem>,
}

impl Inspection<'_> {
    fn error(&mut self, path: &[&str], message: impl Into<String>, fix: impl Into<String>) {
        let root = &self.source.root;
        let message = message.into();
        let message = match root.at(path) {
            Some(node) => node.hide(message),
            None => message,
        };
        self.problems.push(Problem::at(root.mark_of(path), &spell(path.iter()), message).fix(fix));
    }

    fn warn(&mut self, path: &[&str], message: impl Into<String>, fix: impl Into<String>) {
        self.error(path, message, fix);
        if let Some(problem) = self.problems.last_mut() {
            problem.severity = Severity::Warning;
        }
    }

    /// Each route with its place in the file's list.
    fn each_route(&self) -> Vec<(String, super::Route)> {
        self.routes.iter().cloned().zip(self.config.routes.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests;
