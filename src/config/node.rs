//! The config as a tree whose every value knows where it stands in the file.

use std::cell::Cell;

use serde::Serialize;

/// A place in a file; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mark {
    pub line: usize,
    pub column: usize,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub mark: Mark,
    pub value: Value,
    /// Found at fault and no longer looked at, so that what stands beside it can still be read.
    dropped: Cell<bool>,
}

#[derive(Clone, Debug)]
pub enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Scalar,
    pub mark: Mark,
    pub node: Node,
}

/// Text, and what is known of how it was written.
#[derive(Clone, Debug, Default)]
pub struct Scalar {
    pub text: String,
    /// Written without quotes: may be a number, a truth value or nothing at all.
    pub plain: bool,
    /// How it stood in the file, where it named variables of the environment.
    pub template: Option<Template>,
}

#[derive(Clone, Debug)]
pub struct Template {
    pub written: String,
    pub variables: Vec<String>,
}

impl Node {
    #[must_use]
    pub fn new(mark: Mark, value: Value) -> Self {
        Node { mark, value, dropped: Cell::new(false) }
    }

    pub fn drop_from_view(&self) {
        self.dropped.set(true);
    }

    #[must_use]
    pub fn dropped(&self) -> bool {
        self.dropped.get()
    }

    /// The keys of a block that are still looked at; none of anything else.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.all_entries().iter().filter(|entry| !entry.node.dropped())
    }

    /// The keys of a block, those at fault included.
    #[must_use]
    pub fn all_entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list that are still looked at; none of anything else.
    pub fn items(&self) -> impl Iterator<Item = &Node> {
        let items: &[Node] = match &self.value {
            Value::List(items) => items,
            _ => &[],
        };
        items.iter().filter(|item| !item.dropped())
    }

    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().find(|entry| entry.key.text == key)
    }

    #[must_use]
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The node at a path such as `["routes", "2", "retry"]`.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        let next = match &self.value {
            Value::List(_) => self.items().nth(first.parse().ok()?)?,
            _ => &self.entry(first)?.node,
        };
        next.at(rest)
    }

    /// Where the value at a path stands, or the nearest block around it that is in the file.
    #[must_use]
    pub fn mark_of(&self, path: &[&str]) -> Option<Mark> {
        if path.is_empty() {
            return None;
        }
        self.at(path).map(|node| node.mark).or_else(|| self.mark_of(&path[..path.len() - 1]))
    }

    /// Calls `visit` with the path to every scalar value in the tree, its place and itself; one for which it answers
    /// false is taken out of view.
    pub fn each_scalar(&mut self, path: &mut Vec<String>, visit: &mut dyn FnMut(&str, Mark, &mut Scalar) -> bool) {
        match &mut self.value {
            Value::Scalar(scalar) => self.dropped.set(!visit(&spell(path.iter()), self.mark, scalar)),
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    path.push(index.to_string());
                    item.each_scalar(path, visit);
                    path.pop();
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    path.push(entry.key.text.clone());
                    entry.node.each_scalar(path, visit);
                    path.pop();
                }
            }
        }
    }
}

impl Scalar {
    /// Nothing at all: `key:`, `key: null` or `key: ~`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.plain
            && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            && (self.template.is_none() || self.text.is_empty())
    }

    /// Whether a number or a truth value may be read from it: what comes from the environment takes the type its key
    /// asks for, quoted or not.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.plain || self.template.is_some()
    }
}

/// A path as users read it: `routes[2].retry.base`.
pub fn spell<'a>(path: impl Iterator<Item = &'a String>) -> String {
    let mut text = String::new();
    for step in path {
        if !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()) {
            text.push_str(&format!("[{step}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(step);
        }
    }
    text
}
