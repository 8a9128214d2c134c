//! What the demo shows in a pipe: to people, and to programs.

use serde_json::{Value, json};

use crate::workshop::{Workshop, timeless};

#[test]
fn the_demo_in_a_pipe_tells_counts_retries_dead_letters_by_reason_the_replay_and_the_proof() {
    let workshop = Workshop::new();
    let ran = workshop.run(&["demo", "--directory", "shown"]);
    assert_eq!(ran.err, "", "{ran:?}");
    let said = ran.done();
    assert!(said.lines().all(|line| line.chars().count() <= 80 || line.contains("PATH=")), "{said}");
    assert!(!said.contains('\x1b'), "{said}");
    let has = |line: &str| assert!(said.lines().any(|said| said == line), "{line:?} in\n{said}");
    has("311 jobs go into shown/windlass.db");
    has("3 dead letters:");
    has("  failed     invoice-13");
    has("  malformed  garbled");
    has("  poison     invoice-27");
    has("audit: 311 submitted = 310 completed + 1 discarded + 0 waiting + 0 dead");
    has("audit: nothing was lost.");
    let summary = said.lines().find(|line| line.contains("p50")).unwrap_or_else(|| panic!("no summary in {said}"));
    assert_eq!(timeless(summary), "# jobs done, # of them after retries; submit to done p# # ms, p# # ms");
    assert!(summary.starts_with("308 jobs done, 8 of them"), "{summary}");
    assert!(said.contains("2 dead letters are replayed"), "{said}");
    assert!(said.lines().any(|line| timeless(line) == "done #, running #, waiting #, retry later #, dead #"), "{said}");
    assert!(workshop.run(&["demo", "--directory", "shown"]).failed(1).contains("not empty"));
    assert!(workshop.run(&["audit", "--db", "shown/windlass.db"]).done().ends_with("nothing was lost\n"));
}

#[test]
fn the_demo_for_programs_is_one_document_a_line() {
    let workshop = Workshop::new();
    let said = workshop.run(&["demo", "--json", "--directory", "shown"]).documents();
    let event = |name: &str| said.iter().filter(|document| document["event"] == name).collect::<Vec<&Value>>();
    assert_eq!(event("start"), [&json!({ "event": "start", "jobs": 311, "file": "shown/windlass.db" })]);
    let jobs = &event("progress").last().unwrap()["jobs"];
    let sum: u64 = ["done", "running", "waiting", "retry_later", "dead"].iter().map(|key| jobs[key].as_u64().unwrap()).sum();
    assert!((300..=311).contains(&sum), "{jobs}");
    let summary = &event("summary")[0]["summary"];
    assert_eq!((&summary["done"], &summary["retried"]), (&308.into(), &8.into()), "{summary}");
    let dead = json!({ "failed": ["invoice-13"], "malformed": ["garbled"], "poison": ["invoice-27"] });
    assert_eq!(summary["dead_letters"], dead);
    assert!(summary["p50_ms"].as_u64() <= summary["p99_ms"].as_u64(), "{summary}");
    assert_eq!(event("mended"), [&json!({ "event": "mended", "replayed": 2, "discarded": 1 })]);
    let end = said.last().unwrap();
    assert_eq!((&end["event"], &end["audit"]["ok"], &end["directory"]), (&"end".into(), &true.into(), &"shown".into()));
}
