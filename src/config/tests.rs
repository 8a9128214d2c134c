use std::collections::BTreeSet;

use serde_json::Value;

use super::node::Node;
use super::read::read;
use super::source::load_with;
use super::yaml::parse;
use super::*;

fn written(yaml: &str) -> Config {
    let (config, problems) = read(&parse(yaml).unwrap().root);
    assert_eq!(problems, []);
    config.unwrap()
}

/// The default file with the blocks that it only shows (`#: `) in force.
fn reference() -> String {
    let shown = |line: &&str| ["executors: {}", "routes: []", "schedules: {}"].iter().all(|empty| !line.starts_with(empty));
    let lines = DEFAULT_YAML.lines().filter(shown).map(|line| line.strip_prefix("#: ").unwrap_or(line));
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| paths(value, &format!("{path}/{key}"), found)),
        Value::Array(items) => items.iter().for_each(|item| paths(item, &format!("{path}/-"), found)),
        _ => {}
    }
}

fn written_paths(node: &Node, path: &str, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    node.entries().for_each(|entry| written_paths(&entry.node, &format!("{path}/{}", entry.key.text), found));
    node.items().iter().for_each(|item| written_paths(item, &format!("{path}/-"), found));
}

#[test]
fn the_default_file_is_the_default_of_the_program() {
    assert_eq!(written(DEFAULT_YAML), Config::default());
    assert_eq!(load_with(None, &|_| None).unwrap().config, Config::default());
}

#[test]
fn what_the_default_file_shows_of_routes_and_executors_are_their_defaults() {
    let shown = written(&reference());
    let minimal = written(
        "routes: [{ type: image.*, run: thumbs }]\nexecutors:\n  shell: { command: { run: [./thumb.sh] } }\n  \
         thumbs: { python: { entry: 'plugins/thumbs.py:Thumbnails' } }\n  \
         invoices: { http: { url: 'https://example.org/invoices' } }\n  \
         prices: { lambda: { function: prices } }\n\
         schedules: { nightly: { cron: 0 7 * * *, queue: jobs, type: report.daily } }\n",
    );
    assert_eq!((&shown.routes, &shown.executors), (&minimal.routes, &minimal.executors));
    assert_eq!(shown.schedules, minimal.schedules);
}

#[test]
fn the_default_file_names_every_key() {
    let reference = reference();
    let (mut known, mut named) = (BTreeSet::new(), BTreeSet::new());
    paths(&serde_json::to_value(written(&reference)).unwrap(), "", &mut known);
    written_paths(&parse(&reference).unwrap().root, "", &mut named);
    assert_eq!(known, named);
}

#[test]
fn every_value_of_the_default_file_has_a_comment() {
    for line in reference().lines().filter(|line| line.contains(": ") && !line.trim_start().starts_with('#')) {
        assert!(line.contains(" # "), "{line}");
    }
}

#[test]
fn without_pools_there_is_one_from_every_queue_that_no_exit_names() {
    let yaml =
        "{ queues: { a: { memory: {} }, b: { memory: {} }, out: { memory: {} } }, routes: [{ type: t, run: x, results: out }] }";
    let mut config = written(yaml);
    config.complete();
    assert_eq!(config.pools["default"].from, ["a", "b"]);
}

#[test]
fn a_file_from_another_system_is_read_all_the_same() {
    let config = written("\u{feff}worker:\r\n  grace: 5s\r\n  name: w\r\n");
    assert_eq!((config.worker.grace.0.as_secs(), config.worker.name.as_deref()), (5, Some("w")));
}

#[test]
fn a_loaded_config_may_be_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&load_with(None, &|_| None).unwrap());
}
