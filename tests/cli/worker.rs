use std::os::unix::fs::PermissionsExt as _;

use crate::workshop::{Workshop, timeless};

const CONFIG: &str = "\
api: { listen: 127.0.0.1:0 }
telemetry: { listen: 127.0.0.1:0 }
executors:
  sh: { command: { run: [./job.sh] } }
routes:
  - { type: \"ok.*\", run: sh }
  - { type: slow, run: sh }
  - { type: bad, run: sh, retry: { attempts: 1 } }
";

/// Echoes its data, fails, or never ends, as the job's type says.
const PLUGIN: &str = "\
#!/bin/sh
case $WINDLASS_JOB_TYPE in
  bad) echo 'no such invoice' >&2; exit 1 ;;
  slow) touch started; sleep 1000 ;;
  *) cat ;;
esac
";

fn with_worker() -> Workshop {
    let mut workshop = Workshop::new();
    workshop.write("windlass.yaml", CONFIG);
    workshop.write("job.sh", PLUGIN);
    let plugin = workshop.path().join("job.sh");
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap_or_else(|error| panic!("{error}"));
    workshop.start_worker();
    workshop
}

#[test]
fn a_submit_that_waits_prints_what_the_job_returned_byte_for_byte() {
    let workshop = with_worker();
    let data = r#"{"b": 1.50,  "a": [1e3]}"#;
    assert_eq!(workshop.run(&["submit", "ok.echo", data, "--wait", "60s"]).done(), format!("{data}\n"));
    let end = workshop.run(&["submit", "ok.echo", "[1]", "--id", "e", "--wait", "--json"]).documents();
    assert_eq!(end, [serde_json::json!({ "id": "e", "queue": "jobs", "state": "completed", "output": [1] })]);
}

#[test]
fn a_job_that_dies_ends_the_wait_with_one_and_its_reason() {
    let workshop = with_worker();
    let ran = workshop.run(&["submit", "bad", "--id", "b", "--wait", "60s"]);
    assert_eq!(ran.out, "");
    let err = ran.failed(1);
    assert!(err.contains("failed") && err.contains("no such invoice"), "{err}");
    let shown = workshop.run(&["dead-letters", "show", "b"]).done();
    assert!(shown.contains("no such invoice"), "{shown}");
}

#[test]
fn many_jobs_are_waited_for_and_the_worst_end_counts() {
    let workshop = with_worker();
    let lines = "{\"id\": \"a\", \"type\": \"ok.a\"}\n{\"id\": \"b\", \"type\": \"bad\"}\n";
    let ran = workshop.feed(&["submit", "--file", "-", "--wait", "60s"], lines);
    assert_eq!(ran.code, 1, "{ran:?}");
    let said: Vec<&str> = ran.out.lines().collect();
    assert_eq!(said[0], "a  completed");
    assert!(said[1].starts_with("b  dead (failed): "), "{said:?}");
}

#[test]
fn a_wait_begun_without_a_worker_ends_once_one_has_started() {
    let mut workshop = with_worker();
    workshop.stop_worker();
    let mut command = workshop.command(&["submit", "ok.echo", "[7]", "--wait", "120s"]);
    let waiting = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    workshop.start_worker();
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[7]\n", "{output:?}");
}

#[test]
fn a_wait_outlives_the_restart_of_its_worker() {
    let mut workshop = with_worker();
    let mut command = workshop.command(&["submit", "ok.echo", "[7]", "--id", "a", "--delay", "1h", "--wait", "120s"]);
    let waiting = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    while workshop.run(&["jobs", "show", "a"]).code != 0 {}
    workshop.stop_worker();
    workshop.start_worker();
    workshop.run(&["jobs", "retry", "a"]).done();
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[7]\n", "{output:?}");
}

#[test]
fn a_running_job_is_seen_and_cancelled() {
    let workshop = with_worker();
    workshop.run(&["submit", "slow", "--id", "s"]).done();
    let started = workshop.path().join("started");
    while !started.exists() {
        std::thread::yield_now();
    }
    let shown = workshop.run(&["jobs", "show", "s"]).done();
    assert!(timeless(&shown).contains("it runs since #s (run #, route slow)"), "{shown}");
    assert_eq!(workshop.run(&["queues", "list", "--json"]).documents()[0]["running"], 1);
    assert_eq!(workshop.run(&["jobs", "cancel", "s", "--discard"]).done(), "s  asked to end\n");
    workshop.run(&["submit", "slow", "--id", "s", "--wait", "60s"]).failed(1);
    assert_eq!(workshop.run(&["jobs", "show", "s", "--json"]).documents()[0]["state"], "discarded");
}

#[test]
fn a_dead_letter_is_replayed_through_the_worker_and_nothing_is_lost() {
    let mut workshop = with_worker();
    workshop.run(&["submit", "bad", "--id", "b", "--wait"]).failed(1);
    workshop.write("job.sh", "#!/bin/sh\necho '\"mended\"'\n");
    assert_eq!(workshop.run(&["dead-letters", "replay", "--reason", "failed"]).done(), "1 dead letter replayed\n");
    assert_eq!(workshop.run(&["submit", "bad", "--id", "b", "--wait", "60s"]).done(), "\"mended\"\n");
    let live = workshop.run(&["audit"]).done();
    assert!(live.ends_with("nothing was lost\n"), "{live}");
    workshop.stop_worker();
    assert_eq!(workshop.run(&["audit"]).done(), live);
}

#[test]
fn two_workers_do_not_share_a_store() {
    let workshop = with_worker();
    let err = workshop.run(&["run"]).failed(5);
    assert!(err.contains("is open in process"), "{err}");
}
