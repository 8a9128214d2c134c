use serde_json::Value;

use crate::workshop::{Workshop, timeless};

const CONFIG: &str = r#"
api: { listen: null }
telemetry: { listen: null }
executors: { sh: { command: { run: [sh, -c, "grep -q ok"] } } }
routes: [{ type: "*", run: sh, retry: { attempts: 1 } }]
"#;

/// Waits until a batch is as told.
fn shown(workshop: &Workshop, id: &str, is: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..2000 {
        let ran = workshop.run(&["batches", "show", id, "--json"]);
        if ran.code == 0 {
            let batch = ran.documents().remove(0);
            if is(&batch) {
                return batch;
            }
        }
    }
    panic!("the batch {id} never is as expected");
}

#[test]
fn a_file_is_one_batch_that_is_followed_to_its_end() {
    let mut workshop = Workshop::new();
    workshop.write("windlass.yaml", CONFIG);
    let lines: String = ["ok", "ok", "bad"].iter().map(|data| format!("{{\"type\":\"t\",\"data\":\"{data}\"}}\n\n")).collect();
    workshop.write("jobs.jsonl", &lines);
    workshop.run(&["submit", "--file", "jobs.jsonl", "--batch", "b/1"]).done();
    assert!(workshop.run(&["batches", "list"]).done().contains("there are no batches"));
    assert!(workshop.run(&["batches", "show", "b/1"]).failed(3).contains("none of its jobs was taken yet"));
    workshop.start_worker();
    let batch = shown(&workshop, "b/1", |batch| batch["completed"].is_string());
    assert_eq!((&batch["size"], &batch["done"], &batch["dead"]), (&3.into(), &2.into(), &1.into()));
    let dead = batch["dead_jobs"][0].as_str().unwrap().to_owned();
    workshop.stop_worker();
    // without a worker, and counted by its last end
    workshop.run(&["dead-letters", "discard", &dead]).done();
    let pages = [&["batches", "list"][..], &["batches", "show", "b/1"]].map(|command| workshop.run(command).done()).concat();
    assert!(pages.lines().all(|line| line.chars().count() <= 80), "{pages}");
    insta::assert_snapshot!("batches", timeless(&pages));
    assert!(workshop.run(&["batches", "cancel", "b/1"]).failed(1).contains("has ended"));
    workshop.run(&["audit"]).done();
}

#[test]
fn a_cancelled_batch_ends_without_its_other_jobs() {
    let mut workshop = Workshop::new();
    workshop.write("windlass.yaml", CONFIG);
    workshop.run(&["submit", "t", "\"ok\"", "--batch", "b", "--batch-size", "3"]).done();
    workshop.start_worker();
    shown(&workshop, "b", |batch| batch["done"] == 1);
    assert!(workshop.run(&["batches", "cancel", "b", "--by", "ann"]).done().contains("discarded in their turn"));
    workshop.run(&["submit", "t", "\"ok\"", "--id", "late", "--batch", "b"]).done();
    workshop.run(&["submit", "t", "--id", "cancelled", "--delay", "1h", "--batch", "b"]).done();
    workshop.run(&["jobs", "cancel", "cancelled"]).done();
    let batch = shown(&workshop, "b", |batch| batch["completed"].is_string());
    assert_eq!((&batch["dead"], &batch["discarded"], &batch["cancelled"]), (&1.into(), &1.into(), &"ann".into()));
}
