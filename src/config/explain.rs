//! `windlass explain`: what is in effect and where it comes from, and what would become of one message.

mod message;

use std::fmt::Write as _;

use super::node::{Node, Scalar, Value};
use super::source::Loaded;
use super::yaml;

pub use message::{Explanation, explain_message};

/// Where the origin of a value stands, unless the value is longer.
const COLUMN: usize = 44;

impl Loaded {
    /// The config in effect, as YAML that can be read again, with the origin of each value beside it. Secrets, and what
    /// came from the environment, are shown by reference.
    ///
    /// # Errors
    /// When the config has no spelling in YAML: a mistake of the program.
    pub fn explain(&self) -> Result<String, String> {
        let mut config = self.config.clone();
        config.worker.name = Some(config.worker.name());
        config.worker.memory = Some(config.worker.budget());
        let file = self.source.file.as_ref().map_or_else(String::new, |file| file.display().to_string());
        let mut page = Page { source: &self.source.root, file, path: Vec::new(), out: String::new() };
        page.block(&yaml::tree(&config)?, 0);
        Ok(page.out)
    }
}

struct Page<'s> {
    source: &'s Node,
    file: String,
    path: Vec<String>,
    out: String,
}

impl Page<'_> {
    /// Writes the keys of a block or the items of a list, one to a line.
    fn block(&mut self, node: &Node, indent: usize) {
        for entry in node.entries() {
            let key = spelled(&entry.key);
            self.value(&format!("{:indent$}{key}:", ""), &entry.key.text, &entry.node, indent + 2);
        }
        for (index, item) in node.items().iter().enumerate() {
            self.item(index, item, indent);
        }
    }

    /// A block in a list starts beside its dash.
    fn item(&mut self, index: usize, item: &Node, indent: usize) {
        let start = self.out.len();
        if leaf(item) {
            self.value(&format!("{:indent$}-", ""), &index.to_string(), item, indent);
        } else {
            self.path.push(index.to_string());
            self.block(item, indent + 2);
            self.path.pop();
            self.out.replace_range(start + indent..start + indent + 1, "-");
        }
    }

    fn value(&mut self, label: &str, step: &str, node: &Node, indent: usize) {
        self.path.push(step.to_owned());
        if leaf(node) {
            let (value, origin) = self.shown(node);
            // writing to a string cannot fail
            let _ = writeln!(self.out, "{:COLUMN$}# {origin}", format!("{label} {value} "));
        } else {
            self.out.push_str(label);
            self.out.push('\n');
            self.block(node, indent);
        }
        self.path.pop();
    }

    /// A value as it may be shown, and where it comes from.
    fn shown(&self, node: &Node) -> (String, String) {
        let value = match &node.value {
            Value::Scalar(scalar) => spelled(scalar),
            Value::List(_) => "[]".into(),
            Value::Map(_) => "{}".into(),
        };
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let Some(written) = self.source.at(&path) else { return (value, "default".into()) };
        let place = format!("{}:{}", self.file, written.mark.line);
        match written.scalar().and_then(|scalar| scalar.template.as_ref()) {
            Some(template) => (quoted(&template.written), format!("env {}, {place}", template.variables.join(", "))),
            None if written.scalar().is_some_and(Scalar::is_null) => (value, "default".into()),
            None if literal(&path) && !reference(node) => ("\"...\"".into(), format!("{place}, not shown")),
            None => (value, place),
        }
    }
}

/// A variable set for a process may be a secret that somebody wrote down after all.
fn literal(path: &[&str]) -> bool {
    matches!(path, ["executors", _, _, "env", _])
}

fn reference(node: &Node) -> bool {
    node.scalar().is_some_and(|scalar| super::Secret::parse(&scalar.text).is_ok())
}

fn leaf(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(_) => true,
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
    }
}

fn spelled(scalar: &Scalar) -> String {
    let text = scalar.text.replace("${", "$${");
    if scalar.plain { text } else { quoted(&text) }
}

/// A JSON string is a YAML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
