//! The config as a tree whose every value knows where it stands in the file.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

/// A place in a file; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mark {
    pub line: usize,
    pub column: usize,
}

#[derive(Debug)]
pub struct Node {
    pub mark: Mark,
    pub value: Value,
    /// Found at fault and no longer looked at, so that what stands beside it can still be read.
    dropped: AtomicBool,
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

impl Clone for Node {
    fn clone(&self) -> Self {
        Node { mark: self.mark, value: self.value.clone(), dropped: self.dropped().into() }
    }
}

impl Node {
    #[must_use]
    pub fn new(mark: Mark, value: Value) -> Self {
        Node { mark, value, dropped: AtomicBool::new(false) }
    }

    pub fn drop_from_view(&self) {
        self.dropped.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn dropped(&self) -> bool {
        self.dropped.load(Ordering::Relaxed)
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

    /// The items of a list, those at fault included; none of anything else.
    #[must_use]
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
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
            Value::List(items) => items.get(first.parse::<usize>().ok()?)?,
            _ => &self.entry(first)?.node,
        };
        next.at(rest)
    }

    /// Where the value at a path stands, or the nearest block around it that is in the file.
    #[must_use]
    pub fn mark_of(&self, path: &[&str]) -> Option<Mark> {
        let (last, before) = path.split_last()?;
        let entry = self.at(before).and_then(|node| node.entry(last)).map(Entry::place);
        entry.or_else(|| self.at(path).map(|node| node.mark)).or_else(|| self.mark_of(before))
    }

    /// A message about this value, which may quote it: one that came from the environment may be a secret, and is named
    /// as it was written instead.
    #[must_use]
    pub fn hide(&self, message: String) -> String {
        let Some((scalar, template)) = self.scalar().and_then(|scalar| Some((scalar, scalar.template.as_ref()?))) else {
            return message;
        };
        let quoted = message.replace(&format!("{:?}", scalar.text), &format!("{:?}", template.written));
        // shorter ones would be found inside of words
        if scalar.text.len() > 2 { quoted.replace(&scalar.text, &template.written) } else { quoted }
    }

    /// Calls `visit` with the path to every scalar value in the tree, its place and itself; one for which it answers
    /// false is taken out of view.
    pub fn each_scalar(&mut self, path: &mut Vec<String>, visit: &mut dyn FnMut(&str, Mark, &mut Scalar) -> bool) {
        match &mut self.value {
            Value::Scalar(scalar) => *self.dropped.get_mut() = !visit(&spell(path.iter()), self.mark, scalar),
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

impl Entry {
    /// Where to look: at the value, or at the key of a whole block, which may start lines below.
    #[must_use]
    pub fn place(&self) -> Mark {
        if self.node.scalar().is_some() { self.node.mark } else { self.mark }
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
pub fn spell(path: impl Iterator<Item = impl AsRef<str>>) -> String {
    let mut text = String::new();
    for step in path {
        let step = step.as_ref();
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
