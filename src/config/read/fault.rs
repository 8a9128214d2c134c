//! One thing that could not be read, on its way up to the place that names it.

use std::fmt;

use serde::de;

use crate::config::node::{Mark, Node, spell};
use crate::config::problem::{Problem, nearest};

#[derive(Debug)]
pub struct Fault {
    message: String,
    fix: String,
    mark: Option<Mark>,
    /// From the innermost key outwards.
    path: Vec<String>,
    missing: Option<&'static str>,
    /// Only a consequence of a fault that is known already.
    follows: bool,
}

impl Fault {
    fn new(message: impl Into<String>) -> Self {
        Fault { message: message.into(), fix: String::new(), mark: None, path: Vec::new(), missing: None, follows: false }
    }

    pub fn at(mut self, mark: Mark) -> Self {
        self.mark.get_or_insert(mark);
        self
    }

    pub fn within(mut self, step: &str) -> Self {
        self.path.push(step.to_owned());
        self
    }

    /// Blames the innermost value that the fault passes: `scope` is what was read, `node` is what cannot be kept.
    pub fn blame(mut self, scope: &Node, node: &Node) -> Self {
        if node.dropped() || self.path_was_blamed() {
            return self;
        }
        self.follows = self.follows_from(scope);
        self.message = node.hide(self.message);
        self.mark.get_or_insert(scope.mark);
        node.drop_from_view();
        self
    }

    fn path_was_blamed(&self) -> bool {
        !self.path.is_empty()
    }

    /// A key that is missing because it was at fault itself, or a whole that is wrong because a part was.
    fn follows_from(&self, scope: &Node) -> bool {
        let mut dropped = scope.all_entries().iter().filter(|entry| entry.node.dropped());
        match self.missing {
            Some(missing) => dropped.any(|entry| nearest(&entry.key.text, [missing]).is_some()),
            None => dropped.next().is_some(),
        }
    }

    pub fn into_problem(self) -> Option<Problem> {
        let key = spell(self.path.iter().rev());
        (!self.follows).then(|| Problem::at(self.mark, &key, self.message).fix(self.fix))
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault::new(message.to_string())
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Fault::new(format!("{} stands where {} belongs", describe(found), plainly(&expected.to_string())))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Fault::invalid_type(found, expected)
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Fault { fix: choice(field, known), ..Fault::new(format!("unknown key {field:?}")) }
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Fault { fix: choice(variant, known), ..Fault::new(format!("{variant:?} is not known here")) }
    }

    fn missing_field(field: &'static str) -> Self {
        let fix = format!("add \"{field}: ...\"");
        Fault { fix, missing: Some(field), ..Fault::new(format!("the key {field:?} is missing")) }
    }
}

fn choice(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(meant) => format!("write {meant:?}"),
        None if known.is_empty() => "leave it out: there are no keys here".into(),
        None => format!("one of these: {}", known.join(", ")),
    }
}

fn describe(found: de::Unexpected<'_>) -> String {
    match found {
        de::Unexpected::Str(text) => format!("the text {text:?}"),
        de::Unexpected::Unit | de::Unexpected::Option => "nothing".into(),
        de::Unexpected::Seq => "a list".into(),
        de::Unexpected::Map => "a block of keys".into(),
        de::Unexpected::Bool(truth) => format!("{truth}"),
        de::Unexpected::Unsigned(number) => format!("the number {number}"),
        de::Unexpected::Signed(number) => format!("the number {number}"),
        de::Unexpected::Float(number) => format!("the number {number}"),
        other => other.to_string(),
    }
}

/// Serde's words for what it expected, in those of users.
fn plainly(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u32" => "a whole number from 0 to 4294967295",
        "u16" | "u64" | "usize" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "path string" => "text",
        "a sequence" => "a list",
        _ if expected == "a map" || expected.starts_with("struct ") => "a block of keys",
        _ if expected.starts_with("enum ") => "one kind, named by its key,",
        _ => expected,
    }
}
