use std::process::Stdio;

use crate::workshop::{Workshop, timeless};

#[test]
fn where_there_is_no_store_nothing_is_made_by_looking() {
    let workshop = Workshop::new();
    insta::assert_snapshot!("no_store", workshop.run(&["jobs", "list"]).failed(3));
    for command in [&["queues", "list"][..], &["audit"], &["dead-letters", "list"], &["jobs", "show", "a"]] {
        workshop.run(command).failed(3);
    }
    assert_eq!(std::fs::read_dir(workshop.path()).unwrap().count(), 0);
}

#[test]
fn a_job_says_why_it_waits() {
    let workshop = Workshop::new();
    workshop.run(&["submit", "mail.send", r#"{"to": "ann"}"#, "--id", "now"]).done();
    workshop.run(&["submit", "mail.send", "--id", "later", "--not-before", "2100-01-01T00:00:00Z"]).done();
    workshop.run(&["submit", "mail.send", "--id", "gone"]).done();
    workshop.run(&["jobs", "cancel", "gone"]).done();
    let mut pages = workshop.run(&["jobs", "show", "now"]).done();
    workshop.run(&["queues", "pause", "jobs"]).done();
    for id in ["now", "later", "gone"] {
        pages.push_str("\n----\n");
        pages.push_str(&workshop.run(&["jobs", "show", id]).done());
    }
    insta::assert_snapshot!("why_jobs_wait", timeless(&pages));
}

#[test]
fn an_unknown_job_ends_with_three() {
    let workshop = Workshop::new();
    workshop.run(&["submit", "x"]).done();
    assert!(workshop.run(&["jobs", "show", "nope"]).failed(3).contains("nope"));
    assert!(workshop.run(&["jobs", "cancel", "nope"]).failed(3).contains("nope"));
    assert!(workshop.run(&["jobs", "list", "--queue", "nope"]).failed(3).contains("nope"));
}

#[test]
fn what_can_be_done_is_done_and_the_rest_is_named() {
    let workshop = Workshop::new();
    workshop.run(&["submit", "x", "--id", "a", "--delay", "1h"]).done();
    workshop.run(&["submit", "x", "--id", "b"]).done();
    let ran = workshop.run(&["jobs", "retry", "a", "b", "c"]);
    assert!(ran.out.contains("a  it is to run now"), "{ran:?}");
    let err = ran.failed(4);
    assert!(err.contains("\"b\" is waiting") && err.contains("no job \"c\""), "{err}");
}

#[test]
fn tables_keep_to_eighty_columns() {
    let workshop = Workshop::new();
    workshop.run(&["submit", &"long.".repeat(40), "--id", &"i".repeat(36)]).done();
    workshop.run(&["submit", "short", "--id", "s", "--delay", "1h"]).done();
    let tables = workshop.run(&["jobs", "list"]).done() + &workshop.run(&["queues", "list"]).done();
    assert!(tables.lines().all(|line| line.chars().count() <= 80), "{tables}");
    insta::assert_snapshot!("tables", timeless(&tables));
}

#[test]
fn a_paused_queue_says_so_and_is_resumed() {
    let workshop = Workshop::new();
    workshop.run(&["submit", "x"]).done();
    assert_eq!(workshop.run(&["queues", "pause", "jobs"]).done(), "jobs is paused\n");
    assert!(workshop.run(&["queues", "list"]).done().contains("windlass queues resume jobs"));
    assert_eq!(workshop.run(&["queues", "resume", "jobs"]).done(), "jobs is resumed\n");
    assert_eq!(workshop.run(&["queues", "list", "--json"]).documents()[0]["paused"], false);
    workshop.run(&["queues", "pause", "nope"]).failed(3);
}

#[test]
fn the_audit_finds_a_row_that_was_removed_behind_its_back() {
    let workshop = Workshop::new();
    workshop.run(&["submit", "x", "--id", "a"]).done();
    workshop.run(&["submit", "x", "--id", "b"]).done();
    insta::assert_snapshot!("audit", timeless(&workshop.run(&["audit"]).done()));
    let store = rusqlite::Connection::open(workshop.path().join("windlass.db")).unwrap();
    assert_eq!(store.execute("DELETE FROM jobs WHERE id = 'a'", []).unwrap(), 1);
    drop(store);
    let ran = workshop.run(&["audit", "--db", "windlass.db"]);
    assert!(ran.out.contains("DIFFERS"), "{ran:?}");
    ran.failed(1);
    let ran = workshop.run(&["audit", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&ran.out).unwrap()["ok"], false);
    ran.failed(1);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let workshop = Workshop::new();
    let lines: String = (0..3000).map(|n| format!("{{\"id\": \"{n}\", \"type\": \"x\"}}\n")).collect();
    workshop.feed(&["submit", "--file", "-"], &lines).done();
    let mut command = workshop.command(&["jobs", "list", "--all", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let workshop = Workshop::new();
    workshop.write("windlass.db", "these are my notes\n");
    let err = workshop.run(&["submit", "x"]).failed(5);
    assert!(err.contains("not a windlass store"), "{err}");
    assert_eq!(std::fs::read_to_string(workshop.path().join("windlass.db")).unwrap(), "these are my notes\n");
}

#[test]
fn a_plugin_that_is_gone_locks_no_operator_out() {
    let mut workshop = Workshop::new();
    workshop.write("echo.py", "def echo(data):\n    return data\n");
    let executor = "executors: { echo: { python: { entry: \"echo.py:echo\", workers: 1 } } }";
    workshop.write("windlass.yaml", &format!("api: {{ listen: null }}\ntelemetry: {{ listen: null }}\n{executor}\n"));
    workshop.run(&["submit", "x", "--id", "a", "--delay", "1h"]).done();
    workshop.start_worker();
    workshop.remove("echo.py");
    for live in [true, false] {
        for command in [
            &["jobs", "list"][..],
            &["queues", "list"],
            &["dead-letters", "list"],
            &["audit"],
            &["submit", "x", "--delay", "1h"],
            &["jobs", "show", "a"],
        ] {
            let ran = workshop.run(command);
            assert_eq!(ran.code, 0, "live: {live}, {command:?}: {ran:?}");
        }
        workshop.stop_worker();
    }
    for command in ["run", "check"] {
        let ran = workshop.run(&[command]);
        assert!(ran.code == 2 && (ran.err + &ran.out).contains("echo.py is not there"), "{command}");
    }
}
