//! The rules of style that a machine can keep: sizes, directions, names, and what never stands in the sources.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every module of `src/` and what of the others it may use, from the ground up: each uses only what stands above it in this
/// list. `job` and `outcome` are one layer in two files: a job's life tells its last outcome, a verdict carries its next life.
const DIRECTIONS: [(&str, &[&str]); 26] = [
    ("aws", &[]),
    ("clock", &[]),
    ("rhythm", &[]),
    ("routing", &[]),
    ("schema", &[]),
    ("secret", &[]),
    ("stop_point", &[]),
    ("units", &[]),
    ("job", &["clock", "outcome", "units"]),
    ("outcome", &["job"]),
    ("retry", &["clock", "job", "outcome"]),
    ("expression", &["job", "outcome"]),
    ("state", &["clock"]),
    ("ports", &["job", "outcome", "units"]),
    ("telemetry", &["clock", "outcome", "ports"]),
    ("batches", &["clock", "job", "ports", "retry", "state", "stop_point", "telemetry"]),
    ("schedules", &["clock", "job", "ports", "rhythm", "state", "telemetry"]),
    ("queues", &["clock", "job", "outcome", "ports", "secret", "state", "stop_point", "units"]),
    ("executors", &["aws", "expression", "job", "outcome", "ports", "secret", "units"]),
    (
        "engine",
        &[
            "batches",
            "clock",
            "expression",
            "job",
            "outcome",
            "ports",
            "retry",
            "routing",
            "state",
            "stop_point",
            "telemetry",
            "units",
        ],
    ),
    // each module parses its own block, or names what its block becomes; `config` puts the blocks together
    (
        "config",
        &[
            "engine",
            "executors",
            "expression",
            "job",
            "outcome",
            "ports",
            "queues",
            "retry",
            "rhythm",
            "routing",
            "schedules",
            "secret",
            "telemetry",
            "units",
            "clock",
        ],
    ),
    ("admin", &["batches", "clock", "engine", "job", "ports", "schedules", "state", "telemetry", "units"]),
    (
        "app",
        &[
            "admin",
            "batches",
            "clock",
            "config",
            "engine",
            "executors",
            "expression",
            "job",
            "ports",
            "queues",
            "schedules",
            "state",
            "telemetry",
        ],
    ),
    // the documents of the API are read as the types that wrote them, wherever these stand
    (
        "cli",
        &[
            "admin",
            "app",
            "batches",
            "clock",
            "config",
            "engine",
            "executors",
            "job",
            "outcome",
            "ports",
            "queues",
            "schedules",
            "schema",
            "telemetry",
            "units",
        ],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];
/// The only files that may hold unsafe code.
const UNSAFE: [&str; 1] = ["src/executors/process/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folders: &[&str]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in folders {
        walk(&root().join(folder), &mut files);
    }
    assert!(files.len() > 20, "the walk found only {} files", files.len());
    files
}

fn walk(folder: &Path, files: &mut Vec<(String, String)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The part of a file before the unit tests that stand in it.
fn product(text: &str) -> &str {
    text.split("\nmod tests {").next().unwrap_or(text)
}

fn report(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn files_have_at_most_four_hundred_lines() {
    let long = rust_files(&["src", "tests", "sdk", "benches"]).into_iter().filter_map(|(name, text)| {
        let lines = text.lines().count();
        (lines > 400).then(|| format!("{name}: {lines}"))
    });
    report("split these by idea", long.collect());
}

#[test]
fn every_module_opens_with_a_sentence() {
    let silent = rust_files(&["src", "benches"]).into_iter().filter(|(name, text)| {
        let test = name.ends_with("/tests.rs") || name.contains("/tests/");
        !test && !text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.len() > 12)
    });
    report("say what these are for", silent.map(|(name, _)| name).collect());
}

#[test]
fn functions_have_at_most_fifty_lines_and_process_at_most_forty() {
    let mut long = Vec::new();
    for (name, text) in rust_files(&["src", "sdk"]) {
        let lines: Vec<&str> = product(&text).lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let trimmed = line.trim_start();
            let indent = line.len() - trimmed.len();
            let is_function = ["fn ", "pub fn ", "async fn ", "pub async fn "].iter().any(|start| trimmed.starts_with(start))
                || (trimmed.starts_with("pub(") && trimmed.contains(" fn "));
            if !is_function || trimmed.ends_with(';') || trimmed.ends_with('}') {
                continue;
            }
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[number..].iter().position(|line| **line == end).map_or(0, |at| at + 1);
            let limit = if trimmed.contains("fn process(") { 40 } else { 50 };
            if length > limit {
                long.push(format!("{name}:{}: {length} lines", number + 1));
            }
        }
    }
    report("too long to prove by reading", long);
}

/// The module of `src/` that a file belongs to.
fn module(name: &str) -> &str {
    name.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default()
}

#[test]
fn every_module_has_its_place_in_the_list_of_directions() {
    let found: BTreeSet<String> = rust_files(&["src"]).iter().map(|(name, _)| module(name).to_owned()).collect();
    let listed: BTreeSet<String> = DIRECTIONS.iter().map(|(module, _)| (*module).to_owned()).collect();
    assert_eq!(listed.len(), DIRECTIONS.len(), "a module is listed twice");
    report("say what these may use", found.difference(&listed).cloned().collect());
    report("these are gone", listed.difference(&found).cloned().collect());
}

#[test]
fn the_list_of_directions_has_no_way_up() {
    let mut wrong = Vec::new();
    for (place, (module, allowed)) in DIRECTIONS.iter().enumerate() {
        let below = |used: &&&str| DIRECTIONS[..place].iter().any(|(known, _)| known == *used);
        let one_layer = |used: &&&str| (*module, **used) == ("job", "outcome");
        wrong.extend(allowed.iter().filter(|used| !below(used) && !one_layer(used)).map(|used| format!("{module} uses {used}")));
    }
    report("these look upwards", wrong);
}

#[test]
fn layers_point_only_downwards() {
    let (mut wrong, mut unused): (Vec<String>, BTreeSet<(&str, &str)>) = (Vec::new(), BTreeSet::new());
    unused.extend(DIRECTIONS.iter().flat_map(|(layer, allowed)| allowed.iter().map(move |used| (*layer, *used))));
    let test = |name: &str| name.ends_with("/tests.rs") || name.contains("/tests/");
    for (name, text) in rust_files(&["src"]).into_iter().filter(|(name, _)| !test(name)) {
        let layer = module(&name);
        let Some((_, allowed)) = DIRECTIONS.iter().find(|(known, _)| *known == layer) else { continue };
        let root = if layer == "main" { "windlass::" } else { "crate::" };
        for used in product(&text).split(root).skip(1) {
            let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if used != layer && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{name} uses {root}{used}"));
            }
            unused.retain(|pair| *pair != (layer, used.as_str()));
        }
        // the same by another spelling: up to the root of the crate and down again
        let depth = name.trim_start_matches("src/").split('/').count();
        if product(&text).contains(&"super::".repeat(depth)) {
            wrong.push(format!("{name} leaves its module by super::"));
        }
    }
    report("these look upwards or sideways", wrong);
    report("nothing of these is used: forbid it", unused.iter().map(|(layer, used)| format!("{layer} uses {used}")).collect());
}

#[test]
fn the_engine_and_each_kind_name_no_other_kind() {
    let kinds = ["memory", "embedded", "kafka", "rabbitmq", "command", "http", "lambda", "python"];
    let mut wrong = Vec::new();
    for (name, text) in rust_files(&["src/engine", "src/queues", "src/executors"]) {
        let own = name.split('/').find_map(|part| kinds.iter().find(|kind| part.trim_end_matches(".rs") == **kind));
        for kind in kinds.iter().filter(|kind| Some(*kind) != own) {
            for folder in ["queues", "executors"] {
                if product(&text).contains(&format!("{folder}::{kind}::")) {
                    wrong.push(format!("{name} names {kind}"));
                }
            }
        }
    }
    report("kinds meet only in the tables", wrong);
}

#[test]
fn the_pure_modules_do_no_input_or_output() {
    for (name, text) in rust_files(&["src"]) {
        let pure = ["src/expression", "src/job", "src/outcome", "src/retry", "src/rhythm", "src/routing", "src/units"]
            .iter()
            .any(|start| name.starts_with(start));
        if pure {
            for word in ["tokio", "std::fs", "std::net", "std::process", "Timestamp::now"] {
                assert!(!product(&text).contains(word), "{name} must stay pure, but names {word}");
            }
        }
    }
}

#[test]
fn what_is_forbidden_does_not_stand_in_the_sources() {
    let mut found = Vec::new();
    for (name, text) in rust_files(&["src", "sdk"]) {
        for (number, line) in product(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let metric = ["counter!(", "gauge!(", "histogram!("].iter().any(|word| code.contains(word));
            let broken = [
                (metric && !name.starts_with("src/telemetry"), "a raw metric outside telemetry/"),
                (code.contains("unsafe ") && !UNSAFE.iter().any(|allowed| name.starts_with(allowed)), "unsafe code"),
                (code.contains(".unwrap()") && !name.contains("/tests"), "an unwrap outside tests"),
                (code.contains("#[allow("), "an allow: expect it, with a reason"),
            ];
            found.extend(broken.iter().filter(|(is, _)| *is).map(|(_, what)| format!("{name}:{}: {what}", number + 1)));
        }
    }
    report("not in here", found);
}

#[test]
fn features_are_asked_for_only_in_the_tables() {
    let tables = [
        "src/executors.rs",
        "src/lib.rs",
        "src/queues.rs",
        "src/app/kinds.rs",
        "tests/executors.rs",
        "tests/executors/kinds.rs",
        "tests/conformance.rs",
        "tests/conformance/kinds.rs",
        "tests/chaos.rs",
        "tests/kafka.rs",
    ];
    let mut found = Vec::new();
    for (name, text) in rust_files(&["src", "tests"]) {
        if text.contains(concat!("feature", " = \"")) && !tables.contains(&name.as_str()) {
            found.push(name);
        }
    }
    report("a build without a feature is a matter of the tables", found);
}

#[test]
fn documents_keep_to_their_size_and_name_no_machine() {
    for (name, most) in [("ARCHITECTURE.md", 150), ("CONTRIBUTING.md", 60), ("src/main.rs", 30)] {
        let lines = fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}")).lines().count();
        assert!(lines <= most, "{name} has {lines} lines; at most {most}");
    }
    let words: BTreeSet<&str> = ["utils", "common", "helpers", "manager"].into();
    for (name, _) in rust_files(&["src", "sdk"]) {
        let parts: Vec<&str> = name.split(['/', '.']).collect();
        assert!(parts.iter().all(|part| !words.contains(part)), "{name}: say what it is");
    }
}
