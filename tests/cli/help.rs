use crate::workshop::Workshop;

/// Every command, as it is typed.
const COMMANDS: [&str; 43] = [
    "",
    "run",
    "demo",
    "submit",
    "jobs",
    "jobs list",
    "jobs show",
    "jobs cancel",
    "jobs retry",
    "queues",
    "queues list",
    "queues pause",
    "queues resume",
    "breakers",
    "breakers list",
    "breakers open",
    "breakers close",
    "executors",
    "executors list",
    "executors check",
    "executors test",
    "routes",
    "top",
    "reload",
    "dead-letters",
    "dead-letters list",
    "dead-letters show",
    "dead-letters replay",
    "dead-letters discard",
    "batches",
    "batches list",
    "batches show",
    "batches cancel",
    "schedules",
    "schedules list",
    "schedules run",
    "audit",
    "check",
    "explain",
    "plugin",
    "plugin test",
    "schema",
    "completions",
];

#[test]
fn every_command_explains_itself_in_eighty_columns() {
    let workshop = Workshop::new();
    let mut pages = String::new();
    for command in COMMANDS {
        let mut arguments: Vec<&str> = command.split_whitespace().collect();
        arguments.push("--help");
        let page = workshop.run(&arguments).done();
        let wide: Vec<&str> = page.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{command}: {wide:?}");
        // what is the same everywhere is shown once
        let own = if command.is_empty() { page } else { without_everywhere(&page) };
        pages.push_str(&format!("$ windlass {}\n{own}\n", arguments.join(" ")));
    }
    insta::assert_snapshot!("help", pages);
}

fn without_everywhere(page: &str) -> String {
    let (before, rest) = page.split_once("Everywhere:\n").unwrap_or_else(|| panic!("no common options in {page}"));
    let after = rest.split_once("\n\n").map_or("", |(_, after)| after);
    format!("{before}{after}")
}

#[test]
fn every_command_that_does_something_comes_with_an_example() {
    let workshop = Workshop::new();
    for command in COMMANDS.iter().filter(|command| {
        !["", "jobs", "queues", "breakers", "dead-letters", "batches", "schedules", "plugin", "executors"].contains(command)
    }) {
        let mut arguments: Vec<&str> = command.split_whitespace().collect();
        arguments.push("--help");
        let page = workshop.run(&arguments).done();
        assert!(page.contains(&format!("  windlass {command}")), "{command}: {page}");
    }
}

#[test]
fn wrong_command_lines_end_with_two_and_say_what_would_be_right() {
    let workshop = Workshop::new();
    let wrong = [
        "",
        "sumbit x",
        "submit",
        "submit x {bad",
        "submit x --priority 10",
        "submit x --delay soon",
        "submit x --file jobs.jsonl",
        "jobs list --state asleep",
        "dead-letters replay",
        "dead-letters replay a --reason failed",
        "dead-letters replay --all --rate fast",
        "dead-letters list --group-by colour",
        "jobs list --db a.db --config b.yaml",
        "plugin test",
        "plugin test x.py:f --executor y",
        "executors test",
        "executors test x --data 1 --jobs j.jsonl",
        "executors test x --timeout soon",
        "schema --log loud",
    ];
    let mut said = String::new();
    for line in wrong {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let err = workshop.run(&arguments).failed(2);
        said.push_str(&format!("$ windlass {line}\n{err}\n"));
    }
    insta::assert_snapshot!("wrong_command_lines", said);
}

#[test]
fn completions_exist_for_three_shells() {
    let workshop = Workshop::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = workshop.run(&["completions", shell]).done();
        assert!(script.contains("dead-letters"), "{shell}");
    }
    workshop.run(&["completions", "csh"]).failed(2);
}

#[test]
fn schemas_are_named_and_printed() {
    let workshop = Workshop::new();
    let names = workshop.run(&["schema"]).done();
    for name in names.lines() {
        let schema: serde_json::Value = serde_json::from_str(&workshop.run(&["schema", name]).done()).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
    }
    assert!(workshop.run(&["schema", "colour"]).failed(3).contains("job"));
}

#[test]
fn a_config_with_mistakes_is_refused_by_every_command_that_needs_it() {
    let workshop = Workshop::new();
    workshop.write("windlass.yaml", "routes:\n  - { type: x, run: nobody }\n");
    insta::assert_snapshot!("config_with_mistakes", workshop.run(&["jobs", "list"]).failed(2));
    for command in [&["run"][..], &["submit", "x"], &["explain"], &["audit"], &["check"]] {
        let ran = workshop.run(command);
        assert_eq!(ran.code, 2, "{command:?}: {ran:?}");
    }
    let err = workshop.run(&["jobs", "list", "--json"]).failed(2);
    let document: serde_json::Value = serde_json::from_str(&err).unwrap();
    assert_eq!(document["error"]["problems"][0]["key"], "routes[0].run");
}

#[test]
fn the_defaults_are_a_config_that_may_be_run() {
    let workshop = Workshop::new();
    workshop.write("windlass.yaml", &workshop.run(&["explain", "--defaults"]).done());
    workshop.run(&["check"]).done();
}

#[test]
fn a_message_is_explained_from_the_command_line_and_from_a_pipe() {
    let workshop = Workshop::new();
    let message = r#"{"type": "mail.send", "id": "m"}"#;
    let said = workshop.run(&["explain", message]).done();
    assert!(said.contains("mail.send"), "{said}");
    assert_eq!(workshop.feed(&["explain", "-"], message).done(), said);
    let document = workshop.run(&["explain", message, "--json"]).documents();
    assert_eq!(document[0]["queue"], "jobs");
}
