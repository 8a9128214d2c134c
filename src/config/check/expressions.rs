//! Expressions: each can be read, and names only what there is.

use super::Inspection;
use crate::config::after::NextJob;
use crate::config::node::Mark;
use crate::config::problem::Problem;
use crate::config::queue::Decode;
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

    /// Which jobs are the same, and which come after: with keys that can be read, and not in a circle.
    pub(super) fn after(&mut self) {
        let queues = self.named("queues");
        for (number, route) in self.each_route() {
            let at = ["routes", &number];
            if let Some(unique) = &route.unique {
                self.expression(&[&at[..], &["unique", "key"]].concat(), &unique.key, Scope::Job);
                self.needs_state(&[&at[..], &["unique"]].concat(), "which keys are held");
            }
            let Some(then) = &route.then else { continue };
            let block = self.source.root.at(&[&at[..], &["then"]].concat()).is_some_and(|node| node.scalar().is_none());
            let key = |key| if block { [&at[..], &["then", key]].concat() } else { [&at[..], &["then"]].concat() };
            if let Some(expression) = &then.key {
                self.expression(&key("key"), expression, Scope::Result);
            }
            if let Some(queue) = &then.queue {
                self.known(&key("queue"), queue, &queues);
            }
            if then.kind.is_empty() {
                self.error(&key("type"), "empty", "name a job type");
            }
            self.next_queue(&key(if then.queue.is_some() { "queue" } else { "type" }), then);
            self.circle(&key("type"), &route.name(), then);
        }
    }

    /// The next job is written as Windlass JSON.
    fn next_queue(&mut self, at: &[&str], then: &NextJob) {
        let taken = |name: &String| self.config.pools.values().any(|pool| pool.from.contains(name));
        let raw = self.config.queues.iter().find(|(name, queue)| {
            queue.decode != Decode::Envelope && then.queue.as_ref().map_or_else(|| taken(name), |named| named == *name)
        });
        if let Some((name, _)) = raw {
            let message = format!("{name:?} takes any body as data, so the next job would not be read as one");
            self.error(at, message, "name another queue in then: { type: …, queue: … }");
        }
    }

    /// Jobs that lead to each other would never end.
    fn circle(&mut self, at: &[&str], route: &str, then: &NextJob) {
        let Ok(table) = self.config.route_table() else { return };
        let (mut seen, mut kind) = (vec![route.to_owned()], then.kind.as_str());
        while let Some(next) = table.find(kind, None).and_then(|number| self.config.routes.get(number)) {
            let name = next.name();
            if name == route {
                let chain = seen.join(", then ");
                return self.error(
                    at,
                    format!("goes in a circle without end: {chain}, then {route}"),
                    "end it with a type of its own",
                );
            }
            let Some(after) = next.then.as_ref().filter(|_| !seen.contains(&name)) else { return };
            seen.push(name);
            kind = &after.kind;
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
