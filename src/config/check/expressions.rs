//! Expressions: each can be read, and names only what there is.

use super::Inspection;
use crate::config::node::Mark;
use crate::config::problem::Problem;
use crate::expression::{Expression, Scope};

impl Inspection<'_> {
    pub(super) fn expressions(&mut self) {
        for (name, queue) in &self.config.queues {
            if let Some(wanted) = &queue.wanted {
                self.expression(&["queues", name, "where"], wanted, Scope::Job);
            }
            if queue.max_age.is_some_and(|age| age.0.is_zero()) {
                self.error(&["queues", name, "max_age"], "every job would be too old", "write 1h, for example");
            }
        }
    }

    /// Refuses an expression that cannot be read, with the column where it cannot.
    pub(super) fn expression(&mut self, path: &[&str], source: &str, scope: Scope) {
        let Err(wrong) = Expression::compile(source, scope) else { return };
        let fix = "write an expression in CEL, such as: job.tenant != \"test\" && data.size < 1000";
        let message = format!("at column {} of the expression: {}", wrong.column, wrong.message.trim_end_matches('.'));
        self.error(path, message, fix);
        if let Some(Problem { place: Some(place), .. }) = self.problems.last_mut()
            && let Some(column) = column_in(&self.source.text, *place, source, wrong.column)
        {
            place.column = column;
        }
    }
}

/// The column of the file where the `column`-th character of `source` stands, which starts at `place` or a quote later;
/// none where it is written over several lines or with escapes.
fn column_in(text: &str, place: Mark, source: &str, column: usize) -> Option<usize> {
    let rest: String = text.lines().nth(place.line - 1)?.chars().skip(place.column - 1).collect();
    let start = [0, 1].into_iter().find(|start| rest.get(*start..).is_some_and(|rest| rest.starts_with(source)))?;
    Some(place.column + start + column - 1)
}
