use std::path::Path;

use jiff::Timestamp;

use super::*;
use crate::config::source::load_with;
use crate::job::Message;

fn loaded(yaml: &str) -> (tempfile::TempDir, Loaded) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("windlass.yaml");
    std::fs::write(&file, yaml).unwrap();
    let environment = |name: &str| (name == "SECRET").then(|| "hunter2".to_owned());
    let loaded = load_with(Some(&file), &environment).unwrap();
    (folder, loaded)
}

const CONFIG: &str = "worker: { grace: 5s, name: w, memory: 64MiB }
executors:
  shell: { command: { run: [sh, \"-c\", \"echo ${SECRET} $${HOME} # not a comment\"], env: { A: literal-secret, B: \"env:HOME\", D: \"env:$${X}\", C: \"${SECRET}\" } } }
routes:
  - { type: \"image.*\", version: 2, run: shell, retry: { attempts: 3 } }
  - type: report
    run: shell
    results: out
queues: { jobs: { embedded: { queue: tasks } }, out: { memory: {} } }
";

#[test]
fn each_value_in_effect_is_shown_with_its_origin() {
    let (folder, loaded) = loaded(CONFIG);
    let text = loaded.explain().unwrap().replace(folder.path().to_str().unwrap(), "...");
    insta::assert_snapshot!(text);
}

#[test]
fn no_secret_is_shown() {
    let (_folder, loaded) = loaded(CONFIG);
    let text = loaded.explain().unwrap();
    assert!(!text.contains("hunter2") && !text.contains("literal-secret"), "{text}");
    assert!(text.contains("env:HOME"));
}

#[test]
fn what_is_explained_is_the_same_config_again() {
    let (folder, loaded) = loaded(&CONFIG.replace("A: literal-secret, ", ""));
    let again = folder.path().join("again.yaml");
    std::fs::write(&again, loaded.explain().unwrap()).unwrap();
    let environment = |name: &str| (name == "SECRET").then(|| "hunter2".to_owned());
    assert_eq!(load_with(Some(&again), &environment).unwrap().config, loaded.config);
}

#[test]
fn the_defaults_explain_themselves() {
    let loaded = load_with(None::<&Path>, &|_| None).unwrap();
    let text = loaded.explain().unwrap();
    assert!(text.lines().filter(|line| line.contains('#')).all(|line| line.ends_with("# default")), "{text}");
}

fn explained(body: &str) -> Explanation {
    let (_folder, loaded) = loaded(CONFIG);
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    explain_message(&loaded.config, None, &Message::of(body.to_owned()), now).unwrap()
}

#[test]
fn a_message_is_followed_to_its_exits() {
    let body = r#"{"id":"j1","type":"image.resize","version":"2","key":"k","deadline":"10m","data":[1]}"#;
    insta::assert_snapshot!(explained(body).to_string());
    let json = serde_json::to_value(explained(body)).unwrap();
    assert_eq!(json["runs"]["exits"]["dead_letters"], "tasks.dead");
    assert_eq!(json["runs"]["policy"]["waits"], serde_json::json!(["1s", "2s"]));
}

#[test]
fn a_message_without_a_route_and_one_that_is_no_job_are_told_apart() {
    insta::assert_snapshot!(explained(r#"{"type":"image.resize"}"#).to_string());
    insta::assert_snapshot!(explained(r#"{"id":"j1"}"#).to_string());
}

#[test]
fn a_route_with_its_own_results_overrides_the_pool() {
    let json = serde_json::to_value(explained(r#"{"id":"r","type":"report"}"#)).unwrap();
    assert_eq!(json["runs"]["exits"]["results"], "out");
}

#[test]
fn a_queue_that_no_pool_takes_from_is_said() {
    let (_folder, loaded) = loaded(CONFIG);
    let error = explain_message(&loaded.config, Some("out"), &Message::default(), Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(error.contains("\"out\""), "{error}");
}

#[test]
fn a_job_that_its_queue_does_not_take_is_told_its_end() {
    let (_folder, loaded) = loaded(&CONFIG.replace("queue: tasks }", "queue: tasks }, where: data.n < 5"));
    let end =
        |body: &str| explain_message(&loaded.config, None, &Message::of(body.to_owned()), Timestamp::now()).unwrap().to_string();
    let wanted = end(r#"{"type":"report","data":{"n":1}}"#);
    assert!(wanted.contains("runs on"), "{wanted}");
    let unwanted = end(r#"{"type":"report","data":{"n":7}}"#);
    assert!(unwanted.contains("not wanted    discarded by where"), "{unwanted}");
    let unanswered = end(r#"{"type":"report","data":{}}"#);
    assert!(unanswered.contains("dead-lettered as rejected: where: data.n < 5"), "{unanswered}");
}

#[test]
fn what_a_job_in_order_waits_for_is_told() {
    let route = "run: shell\n    order_by: key";
    let (_folder, loaded) = loaded(&CONFIG.replace("type: report\n    run: shell", &format!("type: report\n    {route}")));
    let end =
        |body: &str| explain_message(&loaded.config, None, &Message::of(body.to_owned()), Timestamp::now()).unwrap().to_string();
    let told = end(r#"{"type":"report","key":"k"}"#);
    assert!(told.contains("order         after every earlier job with the key \"k\"\n"), "{told}");
    assert!(end(r#"{"type":"report"}"#).contains("order         none: it has no key"));
    assert!(!end(r#"{"type":"image.x","version":"2"}"#).contains("order  "));
}

#[test]
fn what_a_route_says_about_other_jobs_is_told() {
    let route = "run: shell\n    unique: { key: data.order, for: 1h }\n    then: report.mail";
    let (_folder, loaded) = loaded(&CONFIG.replace("type: report\n    run: shell", &format!("type: report\n    {route}")));
    let end =
        |body: &str| explain_message(&loaded.config, None, &Message::of(body.to_owned()), Timestamp::now()).unwrap().to_string();
    let told = end(r#"{"type":"report","data":{"order":7}}"#);
    assert!(told.contains("no other job with the key \"7\"") && told.contains("a job of type report.mail in jobs"), "{told}");
    assert!(end(r#"{"type":"report","data":1}"#).contains("dead-lettered as rejected"));
}
