use crate::workshop::Workshop;

#[test]
fn a_submit_prints_the_id_and_a_known_id_adds_nothing() {
    let workshop = Workshop::new();
    assert_eq!(workshop.run(&["submit", "mail.send", r#"{"to": "ann"}"#, "--id", "m-1"]).done(), "m-1\n");
    let again = workshop.run(&["submit", "other", "--id", "m-1"]);
    assert!(again.err.contains("known already"), "{again:?}");
    assert_eq!(again.done(), "m-1\n");
    let listed = workshop.run(&["jobs", "list", "--json"]).documents();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["type"], "mail.send");
}

#[test]
fn every_option_of_a_job_reaches_its_message() {
    let workshop = Workshop::new();
    let options = ["--key", "k", "--tenant", "t", "--priority", "9", "--deadline", "10m", "--batch", "b", "--delay", "1h"];
    let arguments = [&["submit", "x", "[1]", "--id", "a"][..], &options].concat();
    workshop.run(&arguments).done();
    let shown = &workshop.run(&["jobs", "show", "a", "--json"]).documents()[0];
    let body: serde_json::Value = serde_json::from_str(shown["message"]["body"].as_str().unwrap()).unwrap();
    let wanted = serde_json::json!({
        "type": "x", "id": "a", "data": [1], "key": "k", "tenant": "t", "priority": 9, "deadline": "10m",
        "batch": {"id": "b"}, "delay": "1h",
    });
    assert_eq!(body, wanted);
    assert_eq!((&shown["state"], &shown["priority"]), (&"delayed".into(), &9.into()));
}

#[test]
fn a_bad_job_ends_with_two_and_names_the_key() {
    let workshop = Workshop::new();
    let err = workshop.run(&["submit", "x", "--deadline", "yesterday"]).failed(2);
    assert!(err.contains("deadline:") && err.contains("yesterday"), "{err}");
    assert!(workshop.run(&["jobs", "list"]).done().is_empty());
}

#[test]
fn a_file_is_submitted_line_by_line() {
    let workshop = Workshop::new();
    let lines: String = (1..=1200).map(|n| format!("{{\"id\": \"j-{n}\", \"type\": \"x\"}}\n\n")).collect();
    workshop.write("jobs.jsonl", &lines);
    assert_eq!(workshop.run(&["submit", "--file", "jobs.jsonl"]).done(), "1,200 jobs submitted\n");
    assert_eq!(workshop.feed(&["submit", "--file", "-"], &lines).done(), "0 jobs submitted, 1,200 were known already\n");
    assert_eq!(workshop.run(&["jobs", "list", "--all", "--json"]).documents().len(), 1200);
    assert_eq!(workshop.run(&["jobs", "list", "--limit", "3", "--json"]).documents().len(), 3);
}

#[test]
fn a_file_shows_its_progress_on_a_terminal_and_nowhere_else() {
    let workshop = Workshop::new();
    let lines: String = (1..=3000).map(|n| format!("{{\"id\": \"j-{n}\", \"type\": \"x\"}}\n")).collect();
    workshop.write("jobs.jsonl", &lines);
    let on_terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let mut command = std::process::Command::new("python3");
    command.args(["-c", on_terminal, env!("CARGO_BIN_EXE_windlass"), "submit", "--file", "jobs.jsonl"]);
    let output = command.current_dir(workshop.path()).env("TERM", "xterm").output().unwrap();
    let seen = String::from_utf8_lossy(&output.stdout);
    let total = format!("/{:.2} KiB", lines.len() as f64 / 1024.0);
    assert!(output.status.success() && seen.contains(&total), "{total} in {seen:?}");
    assert!(seen.ends_with("3,000 jobs submitted\r\n"), "the bar is gone at the end: {seen:?}");
    let ran = workshop.run(&["submit", "--file", "jobs.jsonl"]);
    assert_eq!((&*ran.err, &*ran.out), ("", "0 jobs submitted, 3,000 were known already\n"));
}

#[test]
fn a_bad_line_is_named_and_nothing_of_its_chunk_is_taken() {
    let workshop = Workshop::new();
    let line = |n: usize| if n == 700 { "{\"id\": 7}\n".into() } else { format!("{{\"id\": \"j-{n}\", \"type\": \"x\"}}\n") };
    workshop.write("jobs.jsonl", &(1..=1100).map(line).collect::<String>());
    let err = workshop.run(&["submit", "--file", "jobs.jsonl"]).failed(4);
    insta::assert_snapshot!("a_bad_line", err);
    assert_eq!(workshop.run(&["jobs", "list", "--all", "--json"]).documents().len(), 500);
    workshop.write("jobs.jsonl", &(1..=1100).map(|n| line(n.min(699).max(1 + n % 699))).collect::<String>());
    workshop.run(&["submit", "--file", "jobs.jsonl", "--from-line", "501"]).done();
}

#[test]
fn a_bad_first_chunk_ends_with_two_and_leaves_nothing() {
    let workshop = Workshop::new();
    let err = workshop.feed(&["submit", "--file", "-"], "{\"type\": \"x\"}\nnonsense\n").failed(2);
    assert!(err.contains("line 2:") && err.contains("nothing was submitted"), "{err}");
    assert!(workshop.run(&["submit", "--file", "none.jsonl"]).failed(3).contains("none.jsonl"));
}

#[test]
fn as_is_takes_what_is_no_job() {
    let workshop = Workshop::new();
    workshop.feed(&["submit", "--file", "-", "--as-is"], "nonsense\n").done();
    let listed = workshop.run(&["jobs", "list", "--json"]).documents();
    assert_eq!(listed[0]["state"], "waiting");
}

#[test]
fn waiting_without_a_worker_ends_with_four_and_keeps_the_job() {
    let workshop = Workshop::new();
    let err = workshop.run(&["submit", "x", "--id", "a", "--wait", "100ms"]).failed(4);
    assert!(err.contains("no worker lives") && err.contains("windlass run"), "{err}");
    assert_eq!(workshop.run(&["jobs", "show", "a", "--json"]).documents()[0]["state"], "waiting");
}

#[test]
fn a_job_goes_to_the_queue_that_is_named_and_to_no_unknown_one() {
    let workshop = Workshop::new();
    workshop.write("windlass.yaml", "queues:\n  mail: { embedded: { path: a.db } }\n  work: { embedded: { path: b.db } }\n");
    let err = workshop.run(&["submit", "x"]).failed(2);
    assert!(err.contains("mail, work"), "{err}");
    workshop.run(&["submit", "x", "--queue", "work", "--id", "w"]).done();
    assert!(workshop.run(&["submit", "x", "--queue", "wrok"]).failed(3).contains("mail, work"));
    let listed = workshop.run(&["jobs", "list", "--json"]).documents();
    assert_eq!((&listed[0]["id"], &listed[0]["queue"]), (&"w".into(), &"work".into()));
    let named = workshop.run(&["jobs", "list", "--db", "b.db", "--json"]).documents();
    assert_eq!(named[0]["id"], "w");
}
