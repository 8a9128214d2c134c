//! For each reason to wait: what `jobs show` says of the job, and the metric that counts it.

use nix::sys::signal::Signal;

use crate::workshop::{Workshop, until};

/// Two jobs of a route are enough for one to wait; `long` holds its slot until there is a file `go`.
const CONFIG: &str = r#"
api: { listen: null }
telemetry: { listen: 127.0.0.1:0 }
queues:
  jobs: { embedded: { path: windlass.db } }
  narrow: { embedded: { path: windlass.db } }
  held: { embedded: { path: windlass.db } }
executors:
  cat: { command: { run: [cat] } }
  no: { command: { run: ["false"] } }
  shut: { command: { run: [cat] } }
  long: { command: { run: [sh, -c, "touch started-$WINDLASS_JOB_ID; while [ ! -e go ]; do sleep 0.05; done"] } }
routes:
  - { type: long, run: long }
  - { type: paced, run: cat, rate_per_worker: 1/h }
  - { type: few, run: long, concurrency: 1 }
  - { type: keyed, run: long, order_by: key }
  - { type: fails, run: "no", order_by: key, retry: { base: 5m, cap: 5m, jitter: none } }
  - { type: shut, run: shut, order_by: key }
pools:
  default: { from: [jobs, held], slots: 16 }
  narrow: { from: [narrow], slots: 1 }
"#;

fn with_worker() -> Workshop {
    let mut workshop = Workshop::new();
    workshop.write("windlass.yaml", CONFIG);
    workshop.start_worker();
    workshop
}

/// Waits until a job says why it waits and the metric counts that reason.
#[track_caller]
fn waits(workshop: &Workshop, id: &str, sentence: &str, pool: &str, reason: &str) {
    let (mut shown, mut metrics) = (String::new(), String::new());
    let counted = format!(r#"windlass_waiting{{pool="{pool}",reason="{reason}"}} "#);
    let start = std::time::Instant::now();
    let says = |metrics: &str| metrics.lines().any(|line| line.strip_prefix(&counted).is_some_and(|count| count != "0"));
    while !(shown.contains(sentence) && says(&metrics)) {
        let waiting: Vec<&str> = metrics.lines().filter(|line| line.starts_with("windlass_waiting")).collect();
        assert!(start.elapsed().as_secs() < 60, "{shown}\n{counted}\n{waiting:#?}");
        shown = workshop.run(&["jobs", "show", id]).done().split_whitespace().collect::<Vec<_>>().join(" ");
        metrics = workshop.probe("/metrics").1;
    }
}

#[test]
fn every_reason_to_wait_is_said_of_the_job_and_counted() {
    let workshop = with_worker();
    workshop.run(&["breakers", "open", "shut"]).done();
    workshop.run(&["queues", "pause", "held"]).done();
    let lines = [
        r#"{"id":"paced-1","type":"paced"}"#,
        r#"{"id":"few-1","type":"few"}"#,
        r#"{"id":"keyed-1","type":"keyed","key":"k"}"#,
        r#"{"id":"fails-1","type":"fails","key":"k"}"#,
        r#"{"id":"shut-1","type":"shut","key":"k"}"#,
        r#"{"id":"unknown-1","type":"unknown"}"#,
    ];
    let file: String = ["-1", "-2"].iter().flat_map(|n| lines.map(|line| format!("{}\n", line.replace("-1", n)))).collect();
    workshop.feed(&["submit", "--file", "-", "--queue", "jobs"], &file).done();
    workshop.run(&["submit", "long", "--id", "held", "--queue", "held"]).done();
    workshop.run(&["submit", "long", "--id", "long-1", "--queue", "narrow"]).done();
    until("the slot is taken", || workshop.path().join("started-long-1").exists());
    workshop.run(&["submit", "long", "--id", "long-2", "--queue", "narrow"]).done();
    waits(&workshop, "paced-2", "(rate)", "default", "rate");
    waits(&workshop, "few-2", "(concurrency)", "default", "concurrency");
    waits(&workshop, "keyed-2", "(key_busy)", "default", "key_busy");
    waits(&workshop, "fails-1", "(held)", "default", "held");
    waits(
        &workshop,
        "shut-1",
        "because of unavailable, which costs no attempt; it goes on when its executor does",
        "default",
        "parked",
    );
    waits(&workshop, "unknown-1", "because of no_route", "default", "parked");
    waits(&workshop, "held", "its queue is paused: windlass queues resume held", "default", "paused");
    waits(&workshop, "long-2", "it waits for a free slot (no_slot)", "narrow", "no_slot");
    workshop.write("go", "");
}

#[test]
fn jobs_that_may_have_killed_their_worker_wait_to_be_run_alone() {
    let mut workshop = with_worker();
    for id in ["a", "b"] {
        workshop.run(&["submit", "long", "--id", id, "--queue", "jobs"]).done();
    }
    for _ in 0..3 {
        for id in ["a", "b"] {
            until("both run", || workshop.path().join(format!("started-{id}")).exists());
            workshop.remove(&format!("started-{id}"));
        }
        workshop.signal(Signal::SIGKILL);
        workshop.ended();
        workshop.start_worker();
    }
    let started = |id: &str| workshop.path().join(format!("started-{id}")).exists();
    until("one of them runs", || started("a") || started("b"));
    let other = if started("a") { "b" } else { "a" };
    waits(&workshop, other, "(suspect)", "default", "suspect");
    assert!(!started(other), "it ran beside the other one");
    workshop.write("go", "");
    for id in ["a", "b"] {
        let job = &workshop.run(&["jobs", "show", id, "--wait", "60s", "--json"]).documents()[0];
        assert_eq!((&job["state"], &job["life"]["crashes"]), (&"completed".into(), &0.into()), "{job}");
    }
}

#[test]
fn a_suspect_says_that_it_waits_while_others_still_run_and_so_do_those_that_wait_for_it() {
    let mut workshop = with_worker();
    workshop.run(&["submit", "long", "--id", "a", "--queue", "jobs"]).done();
    for death in 0..3 {
        until("it runs", || workshop.path().join("started-a").exists());
        workshop.remove("started-a");
        if death == 2 {
            workshop.run(&["queues", "pause", "jobs"]).done();
        }
        workshop.signal(Signal::SIGKILL);
        workshop.ended();
        workshop.start_worker();
    }
    workshop.run(&["submit", "long", "--id", "first", "--queue", "held"]).done();
    until("another job runs", || workshop.path().join("started-first").exists());
    workshop.run(&["queues", "resume", "jobs"]).done();
    waits(&workshop, "a", "(suspect)", "default", "suspect");
    let shown = workshop.run(&["jobs", "show", "a", "--json"]).documents().remove(0);
    assert_eq!((&shown["state"], &shown["waits_for"]), (&"waiting".into(), &"suspect".into()), "{shown}");
    workshop.run(&["submit", "long", "--id", "later", "--queue", "narrow"]).done();
    waits(&workshop, "later", "(suspect)", "narrow", "suspect");
    assert!(!workshop.path().join("started-a").exists() && !workshop.path().join("started-later").exists());
    workshop.write("go", "");
    for id in ["a", "first", "later"] {
        let job = &workshop.run(&["jobs", "show", id, "--wait", "90s", "--json"]).documents()[0];
        assert_eq!((&job["state"], &job["life"]["crashes"]), (&"completed".into(), &0.into()), "{job}");
    }
}
