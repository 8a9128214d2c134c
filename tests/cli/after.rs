#![expect(clippy::unwrap_used, reason = "a test's tools: what fails here fails the test")]

use crate::workshop::Workshop;

const CONFIG: &str = r#"
api: { listen: null }
telemetry: { listen: null }
executors:
  cat: { command: { run: [cat] } }
  no: { command: { run: ["false"] } }
routes:
  - { type: "order.*", run: cat, unique: { key: data.order, for: 1h } }
  - { type: order.bad, run: no, unique: { key: data.order, for: 1h }, retry: { base: 1h, cap: 1h, jitter: none } }
  - { type: first, run: cat, then: { type: second, key: result.customer } }
  - { type: second, run: cat }
"#;

/// Submits a job and answers how it ended, or stands.
fn end(workshop: &Workshop, kind: &str, id: &str, data: &str) -> String {
    workshop.run(&["submit", kind, data, "--id", id]).done();
    ended(workshop, id)
}

fn ended(workshop: &Workshop, id: &str) -> String {
    for _ in 0..2000 {
        let job = workshop.run(&["jobs", "show", id, "--json"]).documents().remove(0);
        let state = job["state"].as_str().unwrap().to_owned();
        if !["waiting", "running"].contains(&&*state) {
            return state;
        }
        std::thread::yield_now();
    }
    panic!("{id} neither ends nor fails");
}

#[test]
fn a_key_outlives_its_worker_and_is_free_once_its_holder_is_cancelled() {
    let mut workshop = Workshop::new();
    workshop.write("windlass.yaml", CONFIG);
    workshop.start_worker();
    assert_eq!(end(&workshop, "order.new", "a", r#"{"order":1}"#), "completed");
    assert_eq!(end(&workshop, "order.new", "b", r#"{"order":1}"#), "discarded");
    assert_eq!(end(&workshop, "order.bad", "c", r#"{"order":2}"#), "delayed");
    workshop.stop_worker();
    workshop.start_worker();
    assert_eq!(end(&workshop, "order.new", "d", r#"{"order":1}"#), "discarded");
    assert_eq!(end(&workshop, "order.bad", "e", r#"{"order":2}"#), "discarded");
    workshop.run(&["jobs", "cancel", "c", "--discard"]).done();
    assert_eq!(end(&workshop, "order.bad", "f", r#"{"order":2}"#), "delayed");
    workshop.stop_worker();
    workshop.run(&["audit"]).done();
}

#[test]
fn a_job_that_was_done_is_followed_by_one_with_its_result() {
    let mut workshop = Workshop::new();
    workshop.write("windlass.yaml", CONFIG);
    workshop.start_worker();
    assert_eq!(end(&workshop, "first", "a", r#"{"customer":"ann"}"#), "completed");
    assert_eq!(ended(&workshop, "a:then"), "completed");
    let next = workshop.run(&["jobs", "show", "a:then", "--json"]).documents().remove(0);
    assert_eq!((&next["type"], &next["event"]["data"]["customer"]), (&"second".into(), &"ann".into()));
}
