//! What really left a worker: taken out of its exits, and held against the schemas that the program prints.
#![expect(clippy::unwrap_used, reason = "a test's tools: what fails here fails the test")]

use cloudevents::{AttributesReader as _, Event};
use serde_json::{Value, json};

use crate::workshop::{Workshop, until};

const CONFIG: &str = r#"
api: { listen: null }
telemetry: { listen: null }
queues:
  jobs: { embedded: { path: windlass.db } }
  results: { embedded: { path: windlass.db } }
  graves: { embedded: { path: other.db } }
executors:
  cat: { command: { run: [cat] } }
  bytes: { command: { run: [printf, "\\377\\376"] } }
  no: { command: { run: [sh, -c, "echo 'no such invoice' >&2; exit 1"] } }
routes:
  - { type: good, run: cat }
  - { type: bytes, run: bytes }
  - { type: bad, run: "no", retry: { attempts: 2, base: 10ms } }
  - { type: abroad, run: "no", retry: { attempts: 2, base: 10ms }, dead_letters: graves }
  - { type: later, run: "no", retry: { base: 1h, cap: 1h, jitter: none } }
pools:
  default: { from: [jobs], results: results }
"#;

/// Checks documents against a schema as `windlass schema` prints it.
#[track_caller]
fn accepted(workshop: &Workshop, schema: &str, document: &Value) {
    let schema: Value = serde_json::from_str(&workshop.run(&["schema", schema]).done()).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert_eq!(errors, [""; 0], "{document:#}");
}

/// The messages that wait in a queue, as somebody who takes from it gets them.
fn messages(workshop: &Workshop, queue: &str) -> Vec<Value> {
    let listed = workshop.run(&["jobs", "list", "--queue", queue, "--all", "--json"]).documents();
    let show = |entry: &Value| {
        let shown = workshop.run(&["jobs", "show", entry["id"].as_str().unwrap(), "--queue", queue, "--json"]);
        shown.documents().remove(0)["message"].take()
    };
    listed.iter().map(show).collect()
}

fn header(message: &Value, name: &str) -> Option<Value> {
    let headers = message["headers"].as_array().unwrap();
    let found = headers.iter().find(|header| header["name"] == name)?;
    Some(serde_json::from_str(found["value"].as_str().unwrap()).unwrap())
}

fn parsed(text: &Value) -> Value {
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

#[test]
fn every_event_that_left_through_the_results_exit_is_as_its_schema_says_and_another_library_reads_it() {
    let mut workshop = Workshop::new();
    workshop.write("windlass.yaml", CONFIG);
    workshop.start_worker();
    let lines = ["good", "bytes", "bad"].map(|kind| format!("{{\"id\":\"{kind}\",\"type\":\"{kind}\",\"tenant\":\"acme\"}}\n"));
    workshop.write("jobs.jsonl", &lines.concat());
    workshop.run(&["submit", "--file", "jobs.jsonl", "--batch", "b", "--queue", "jobs"]).done();
    let kind = |message: &Value| parsed(&message["body"])["type"].as_str().unwrap().to_owned();
    let sent = || messages(&workshop, "results");
    until("the batch is complete", || sent().iter().any(|message| kind(message) == "windlass.batch.completed"));
    let mut kinds: Vec<String> = sent().iter().map(kind).collect();
    for message in sent() {
        let (schema, body) = (if kind(&message).contains(".batch.") { "batch" } else { "result" }, parsed(&message["body"]));
        accepted(&workshop, schema, &body);
        let event: Event = serde_json::from_value(body.clone()).unwrap();
        assert_eq!((event.id(), event.ty()), (body["id"].as_str().unwrap(), &*kind(&message)));
        assert_eq!(event.source().to_string(), "/windlass/default");
        let headers = message["headers"].as_array().unwrap();
        let kinds = headers.iter().filter(|header| header["name"] == "content-type").map(|header| &header["value"]);
        assert_eq!(kinds.collect::<Vec<_>>(), ["application/cloudevents+json"], "{message:#}");
        if kind(&message) == "windlass.job.failed" {
            assert_eq!(body["data"]["log_tail"], "no such invoice\n", "{body:#}");
        }
    }
    kinds.retain(|kind| kind != "windlass.batch.progress"); // as many as there was time for
    kinds.sort();
    let (batch, job) = (["batch.completed", "batch.opened"], ["job.completed", "job.completed", "job.failed"]);
    assert_eq!(kinds, batch.into_iter().chain(job).map(|kind| format!("windlass.{kind}")).collect::<Vec<_>>());
}

#[test]
fn every_dead_letter_has_its_body_untouched_and_a_failure_document_as_its_schema_says() {
    let mut workshop = Workshop::new();
    workshop.write("windlass.yaml", CONFIG);
    workshop.start_worker();
    let body = |kind: &str| format!(r#"{{ "type":"{kind}", "id" : "{kind}", "data": {{"b": 1.50, "a": 2}} }}"#);
    for kind in ["bad", "abroad"] {
        workshop.feed(&["submit", "--file", "-", "--queue", "jobs"], &body(kind)).done();
    }
    workshop.feed(&["submit", "--file", "-", "--as-is", "--queue", "jobs"], "no job").done();
    until("three are dead", || workshop.run(&["dead-letters", "list", "--json"]).documents().len() == 2);
    until("one is buried abroad", || !messages(&workshop, "graves").is_empty());
    let ids = workshop.run(&["dead-letters", "list", "--json"]).documents();
    let mut letters: Vec<Value> = ids
        .iter()
        .map(|entry| workshop.run(&["dead-letters", "show", entry["id"].as_str().unwrap(), "--json"]).documents().remove(0))
        .map(|mut shown| shown["message"].take())
        .collect();
    letters.extend(messages(&workshop, "graves"));
    let mut reasons = Vec::new();
    for letter in &letters {
        let failure = header(letter, "windlass-failure").unwrap();
        accepted(&workshop, "failure", &failure);
        let kind = failure["type"].as_str().map_or_else(|| "no job".into(), body);
        assert_eq!(letter["body"].as_str().unwrap().trim_end(), kind);
        assert!(header(letter, "windlass-job").is_none(), "it is folded into the failure document: {letter:#}");
        reasons.push((failure["reason"].as_str().unwrap().to_owned(), failure["attempts"].clone()));
    }
    reasons.sort_by_key(|(reason, attempts)| (reason.clone(), attempts.to_string()));
    assert_eq!(reasons, [("failed".into(), json!(2)), ("failed".into(), json!(2)), ("malformed".into(), json!(0))]);
}

#[test]
fn what_travels_with_a_job_and_what_was_submitted_are_as_their_schemas_say() {
    let mut workshop = Workshop::new();
    workshop.write("windlass.yaml", CONFIG);
    workshop.start_worker();
    let options = ["--key", "k", "--tenant", "t", "--priority", "9", "--deadline", "10h", "--batch", "b", "--batch-size", "2"];
    workshop.run(&[&["submit", "later", "[1]", "--id", "later", "--queue", "jobs"][..], &options].concat()).done();
    workshop.run(&["submit", "unknown", "--id", "parked", "--queue", "jobs"]).done();
    for (id, state) in [("later", "delayed"), ("parked", "parked")] {
        let shown = || workshop.run(&["jobs", "show", id, "--json"]).documents().remove(0);
        until("it waits", || shown()["state"] == state);
        let message = &shown()["message"];
        accepted(&workshop, "job", &parsed(&message["body"]));
        let life = header(message, "windlass-job").unwrap();
        accepted(&workshop, "life", &life);
        assert_eq!(life["attempt"], u32::from(id == "later"), "{life:#}");
        assert_eq!(life["park"]["reason"], if id == "parked" { json!("no_route") } else { Value::Null }, "{life:#}");
    }
}
