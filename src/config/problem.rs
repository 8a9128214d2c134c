//! What is wrong with a config: where, what, and how to put it right.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;

use super::node::Mark;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    pub severity: Severity,
    /// As it was named by who asked; empty for the defaults.
    pub file: Arc<str>,
    /// Absent where nothing in the file is at fault by itself.
    #[serde(flatten)]
    pub place: Option<Mark>,
    /// The path of the key, such as `routes[2].retry.base`; empty for the file.
    pub key: String,
    pub message: String,
    /// What to write instead, where there is one answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fix: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    /// Works as written, and is probably not what was meant.
    Warning,
}

impl Problem {
    #[must_use]
    pub fn at(place: Option<Mark>, key: &str, message: impl Into<String>) -> Self {
        Problem {
            severity: Severity::Error,
            file: "".into(),
            place,
            key: key.to_owned(),
            message: message.into(),
            fix: String::new(),
        }
    }

    #[must_use]
    pub fn key(self, key: &str) -> Self {
        Problem { key: key.to_owned(), ..self }
    }

    #[must_use]
    pub fn fix(self, fix: impl Into<String>) -> Self {
        Problem { fix: fix.into(), ..self }
    }

    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// For a terminal: the place, the sentence, the line of the file with a caret below, the fix; at most 80 columns
    /// wide but for single words.
    #[must_use]
    pub fn render(&self, text: &str) -> String {
        let word = if self.is_error() { "error" } else { "warning" };
        let file = if self.file.is_empty() { "defaults" } else { &*self.file };
        let place = self.place.map_or_else(|| file.to_owned(), |at| format!("{file}:{}:{}", at.line, at.column));
        let subject = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        let mut out = format!("{place}\n");
        wrap(&mut out, &format!("  {word}: "), &format!("{subject}{}", self.message));
        if let Some((at, line)) = self.place.and_then(|at| Some((at, text.lines().nth(at.line - 1)?))) {
            quote(&mut out, at, line);
        }
        if !self.fix.is_empty() {
            wrap(&mut out, "  fix: ", &self.fix);
        }
        out
    }
}

/// The line of the file, cut to a window around the column, and a caret below it.
fn quote(out: &mut String, at: Mark, line: &str) {
    let number = format!("  {} | ", at.line);
    let room = 80 - number.len();
    let column = at.column - 1;
    let start = if column < room - 4 { 0 } else { column - room / 2 };
    let shown: String = line.chars().skip(start).take(room).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let caret = " ".repeat(column - start);
    let margin = " ".repeat(number.len() - 2);
    // writing to a string cannot fail
    let _ = writeln!(out, "{number}{}\n{margin}| {caret}^", shown.trim_end());
}

/// Breaks a sentence at blanks so that lines fit 80 columns, the later ones indented like the first word.
pub(super) fn wrap(out: &mut String, prefix: &str, sentence: &str) {
    let mut width = prefix.len();
    out.push_str(prefix);
    for (index, word) in sentence.split_whitespace().enumerate() {
        let length = word.chars().count();
        if index > 0 && width + 1 + length > 80 {
            out.push('\n');
            out.push_str(&" ".repeat(prefix.len()));
            width = prefix.len();
        } else if index > 0 {
            out.push(' ');
            width += 1;
        }
        // what a file or a message holds must not steer the terminal
        out.extend(word.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }));
        width += length;
    }
    out.push('\n');
}

/// The one of `known` that `word` was probably meant to be.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let furthest = (word.chars().count() / 3).max(1);
    let scored = known.into_iter().map(|candidate| (distance(word, candidate), candidate));
    scored.filter(|(distance, _)| *distance <= furthest).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Edits between two words: insert, delete, replace, or swap two neighbours (optimal string alignment).
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let same = from[i - 1] == to[j - 1];
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + usize::from(!same));
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("timeuot", ["type", "timeout", "retry"]), Some("timeout"));
        assert_eq!(nearest("ru", ["run", "retry"]), Some("run"));
        assert_eq!(nearest("colour", ["type", "timeout", "retry"]), None);
    }

    #[test]
    fn a_rendered_problem_fits_eighty_columns_and_points_at_its_place() {
        let line = format!("{}routes: nonsense", "# padding ".repeat(12));
        let place = Mark { line: 1, column: 121 };
        let problem = Problem::at(Some(place), "routes", "word ".repeat(40)).fix("write it differently ".repeat(9));
        let text = problem.render(&line);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        let caret = lines.iter().position(|line| line.trim_end().ends_with('^')).unwrap();
        let column = lines[caret].find('^').unwrap();
        assert!(lines[caret - 1][column..].starts_with("routes"), "{text}");
    }
}
