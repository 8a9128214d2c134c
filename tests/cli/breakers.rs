use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::workshop::{Workshop, timeless};

const CONFIG: &str = "\
api: { listen: 127.0.0.1:0 }
telemetry: { listen: 127.0.0.1:0 }
executors:
  mail: { command: { run: [./mail.sh] }, breaker: { probe: 10m, longest_probe: 10m } }
  plain: { command: { run: [./mail.sh] }, breaker: off }
routes:
  - { type: \"mail.*\", run: mail }
  - { type: plain, run: plain }
";

/// Finds its server gone as long as there is a file `down`.
const PLUGIN: &str = "\
#!/bin/sh
if [ -e down ]; then echo 'connection to mail.example refused' >&2; exit 69; fi
cat
";

fn with_worker() -> Workshop {
    with_worker_of(CONFIG)
}

fn with_worker_of(config: &str) -> Workshop {
    let mut workshop = Workshop::new();
    workshop.write("windlass.yaml", config);
    workshop.write("mail.sh", PLUGIN);
    workshop.write("down", "");
    let plugin = workshop.path().join("mail.sh");
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap_or_else(|error| panic!("{error}"));
    workshop.start_worker();
    workshop
}

fn until(workshop: &Workshop, command: &[&str], there: impl Fn(&[Value]) -> bool) {
    for _ in 0..400 {
        if there(&workshop.run(command).documents()) {
            return;
        }
        workshop.run(&["jobs", "show", "a", "--wait", "50ms"]).done();
    }
    panic!("never so: {:?}", workshop.run(command));
}

#[test]
fn an_outage_is_seen_and_ended_by_hand_and_every_job_is_done_once() {
    let workshop = with_worker();
    for id in ["a", "b", "c", "d", "e", "f"] {
        workshop.run(&["submit", "mail.send", "--id", id]).done();
    }
    until(&workshop, &["breakers", "list", "--json"], |breakers| breakers[0]["state"] == "open");
    // the breaker opens by the fifth job, so that a later one is moved without a run
    workshop.run(&["submit", "mail.send", "--id", "g"]).done();
    until(&workshop, &["jobs", "list", "--state", "parked", "--json"], |jobs| jobs.len() == 7);
    let mut seen = workshop.run(&["breakers", "list"]).done();
    assert!(seen.lines().all(|line| line.chars().count() <= 80), "{seen}");
    seen.push_str("\n----\n");
    seen.push_str(&workshop.run(&["jobs", "show", "g"]).done());
    insta::assert_snapshot!("an_outage", timeless(&seen));
    workshop.remove("down");
    assert_eq!(workshop.run(&["breakers", "close", "mail"]).done(), "mail is closed\n");
    for id in ["a", "b", "c", "d", "e", "f", "g"] {
        let job = &workshop.run(&["jobs", "show", id, "--wait", "60s", "--json"]).documents()[0];
        assert_eq!((&job["state"], &job["life"]["attempt"]), (&"completed".into(), &0.into()), "{job}");
    }
}

#[test]
fn a_breaker_is_held_open_by_hand_and_what_is_none_says_so() {
    let workshop = with_worker();
    workshop.remove("down");
    let said = workshop.run(&["breakers", "open", "mail"]).done();
    assert_eq!(said, "mail is held open, after a restart too: windlass breakers close mail\n");
    workshop.run(&["submit", "mail.send", "--id", "a"]).done();
    let held = workshop.run(&["breakers", "list"]).done();
    assert!(held.contains("held by ") && held.contains("off"), "{held}");
    workshop.run(&["jobs", "show", "a", "--wait", "1s"]).done();
    assert_ne!(workshop.run(&["jobs", "show", "a", "--json"]).documents()[0]["state"], "completed");
    workshop.run(&["breakers", "close", "mail"]).done();
    let job = &workshop.run(&["jobs", "show", "a", "--wait", "60s", "--json"]).documents()[0];
    assert_eq!(job["state"], "completed");
    assert!(workshop.run(&["breakers", "open", "none"]).failed(3).contains("mail, plain"));
    assert!(workshop.run(&["breakers", "open", "plain"]).failed(1).contains("breaker: off"));
}

#[test]
fn without_a_worker_there_is_no_breaker() {
    let workshop = Workshop::new();
    workshop.run(&["submit", "x"]).done();
    assert!(workshop.run(&["breakers", "list"]).failed(3).contains("windlass run"));
}

#[test]
fn a_breaker_held_by_hand_stays_so_over_restarts_and_reloads_until_it_is_closed() {
    let mut workshop = with_worker();
    workshop.remove("down");
    workshop.run(&["breakers", "open", "mail"]).done();
    let held = |workshop: &Workshop| {
        let breakers = workshop.run(&["breakers", "list", "--json"]).documents();
        (breakers[0]["state"].clone(), breakers[0]["held_by"].clone(), breakers[0]["remembered"].clone())
    };
    let open = ("open".into(), "ann".into(), true.into());
    for _ in 0..2 {
        workshop.stop_worker();
        workshop.start_worker();
        assert_eq!(held(&workshop), open);
    }
    workshop.run(&["submit", "mail.send", "--id", "a"]).done();
    workshop.write("windlass.yaml", &CONFIG.replace("probe: 10m", "probe: 9m"));
    workshop.run(&["reload"]).done();
    assert_eq!(held(&workshop), open);
    workshop.run(&["jobs", "show", "a", "--wait", "1s"]).done();
    assert_ne!(workshop.run(&["jobs", "show", "a", "--json"]).documents()[0]["state"], "completed");
    // a second worker has no way to the same breakers: the file has one owner
    let second = workshop.run(&["run"]).failed(5);
    assert!(second.contains("windlass.db is open in process"), "{second}");
    workshop.run(&["breakers", "close", "mail"]).done();
    workshop.stop_worker();
    workshop.start_worker();
    assert_eq!(held(&workshop), ("closed".into(), Value::Null, Value::Null));
    let job = &workshop.run(&["jobs", "show", "a", "--wait", "60s", "--json"]).documents()[0];
    assert_eq!(job["state"], "completed");
}

#[test]
fn where_nothing_outlives_the_worker_a_hold_says_that_it_does_not_either() {
    let mut workshop = with_worker_of(&format!("{CONFIG}state: {{ memory: {{}} }}\n"));
    let said = workshop.run(&["breakers", "open", "mail"]).done();
    assert!(said.starts_with("mail is held open until the worker ends") && said.contains("add state:"), "{said}");
    assert_eq!(workshop.run(&["breakers", "list", "--json"]).documents()[0]["remembered"], false);
    workshop.stop_worker();
    workshop.start_worker();
    assert_eq!(workshop.run(&["breakers", "list", "--json"]).documents()[0]["state"], "closed");
}
