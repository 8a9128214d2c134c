//! YAML text into a located tree: the only module that knows the YAML library.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Serialize;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag, options};

use super::node::{Entry, Mark, Node, Scalar, Value};
use super::problem::Problem;

/// The most values in one file, repetitions by `*alias` counted: an alias bomb ends here.
const MOST_NODES: usize = 100_000;

/// The tree of a file, and what could be read past.
#[derive(Debug)]
pub struct Parsed {
    pub root: Node,
    pub problems: Vec<Problem>,
}

/// Reads one YAML document. An empty one is an empty block.
///
/// # Errors
/// The first place where the text stops being YAML.
pub fn parse(text: &str) -> Result<Parsed, Problem> {
    let mut options = options! { disallow_directives: true };
    options.set_emit_comments(false);
    let parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder { parser, anchors: HashMap::new(), nodes: 0, problems: Vec::new() };
    let root = builder.document()?;
    Ok(Parsed { root, problems: builder.problems })
}

/// A value as the tree of the file that would be read as it.
///
/// # Errors
/// When the value has no spelling in YAML: a mistake of the program.
pub fn tree(value: &impl Serialize) -> Result<Node, String> {
    let text = serde_saphyr::to_string(value).map_err(|error| error.to_string())?;
    parse(&text).map(|parsed| parsed.root).map_err(|problem| problem.message)
}

struct Builder<'t> {
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    problems: Vec<Problem>,
}

type Read<T> = Result<T, Problem>;

impl<'t> Builder<'t> {
    fn document(&mut self) -> Read<Node> {
        let start = Mark { line: 1, column: 1 };
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root.unwrap_or_else(|| Node::new(start, Value::Map(Vec::new())))),
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(fault(&span, "a second document starts here").fix("keep one document in a file"));
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => root = Some(self.node(event, &span)?),
            }
        }
    }

    fn next(&mut self) -> Read<(Event<'t>, Span)> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(syntax(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: &Span) -> Read<Node> {
        self.count(1, span)?;
        let (value, anchor) = match event {
            Event::Alias(anchor) => return self.repeat(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                untagged(tag, span)?;
                (Value::Scalar(scalar(text, style)), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                untagged(tag, span)?;
                (self.list()?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                untagged(tag, span)?;
                (self.map()?, anchor)
            }
            _ => return Err(fault(span, "a value is missing here")),
        };
        let node = Node::new(mark(span), value);
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self) -> Read<Value> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => items.push(self.node(event, &span)?),
            }
        }
    }

    fn map(&mut self) -> Read<Value> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (key, key_span) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Map(entries)),
                (Event::Scalar(text, style, 0, None), span) => (scalar(text, style), span),
                (_, span) => return Err(fault(&span, "a key must be plain text")),
            };
            let (event, span) = self.next()?;
            let node = self.node(event, &span)?;
            if let Some(first) = entries.iter().find(|entry| entry.key.text == key.text) {
                let message = format!("{:?} stands in line {} already", key.text, first.mark.line);
                self.problems.push(fault(&key_span, message).key(&key.text).fix("keep one of the two"));
            } else {
                entries.push(Entry { key, mark: mark(&key_span), node });
            }
        }
    }

    fn repeat(&mut self, anchor: usize, span: &Span) -> Read<Node> {
        let node = self.anchors.get(&anchor).cloned();
        let node = node.ok_or_else(|| fault(span, "this alias stands inside the block that it names"))?;
        self.count(size(&node), span)?;
        Ok(node)
    }

    fn count(&mut self, nodes: usize, span: &Span) -> Read<()> {
        self.nodes += nodes;
        if self.nodes > MOST_NODES {
            return Err(fault(span, format!("more than {MOST_NODES} values, aliases counted")));
        }
        Ok(())
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Scalar {
    Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain, template: None }
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 1,
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| size(&entry.node)).sum::<usize>(),
    }
}

fn untagged(tag: Option<Cow<'_, Tag>>, span: &Span) -> Read<()> {
    match tag {
        None => Ok(()),
        Some(tag) => Err(fault(span, format!("the tag {} is not understood here", tag.original())).fix("leave it out")),
    }
}

fn mark(span: &Span) -> Mark {
    Mark { line: span.start.line(), column: span.start.col() + 1 }
}

fn fault(span: &Span, message: impl Into<String>) -> Problem {
    Problem::at(Some(mark(span)), "", message)
}

fn syntax(error: &ScanError) -> Problem {
    let at = error.marker();
    Problem::at(Some(Mark { line: at.line(), column: at.col() + 1 }), "", format!("not YAML: {}", error.info()))
}
