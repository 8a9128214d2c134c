//! What an orchestrator and a scraper see of a real worker, and what its signals do.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::workshop::{Workshop, until};

/// The long job goes on until there is a file `go`.
const CONFIG: &str = r#"
worker: { grace: 1h }
api: { listen: null }
telemetry: { listen: 127.0.0.1:0 }
executors:
  cat: { command: { run: [cat] } }
  long: { command: { run: [sh, -c, "touch started; while [ ! -e go ]; do sleep 0.05; done"] } }
  gone: { python: { entry: "gone.py:Missing", workers: 1 } }
routes:
  - { type: short, run: cat }
  - { type: long, run: long }
  - { type: gone, run: gone }
"#;

fn with_worker() -> Workshop {
    let mut workshop = Workshop::new();
    workshop.write("windlass.yaml", CONFIG);
    workshop.write("gone.py", "");
    workshop.start_worker();
    workshop
}

fn with_a_long_job() -> Workshop {
    let workshop = with_worker();
    workshop.run(&["submit", "long", "--id", "long"]).done();
    until("the job starts", || workshop.path().join("started").exists());
    workshop
}

#[test]
fn a_worker_is_ready_until_the_first_stage_of_its_stop_and_stays_in_health_while_its_last_job_ends() {
    let mut workshop = with_a_long_job();
    assert_eq!(workshop.probe("/ready"), (200, "{\"ready\":true}".into()));
    workshop.signal(Signal::SIGTERM);
    until("it is not ready", || workshop.probe("/ready") == (503, "{\"ready\":false}".into()));
    assert_eq!(workshop.probe("/health").0, 200);
    assert!(workshop.probe("/metrics").1.contains("windlass_running{pool=\"default\",route=\"long\",executor=\"long\"} 1"));
    workshop.write("go", "");
    assert!(workshop.ended().success());
    let shown = workshop.run(&["jobs", "show", "long", "--json"]).documents().remove(0);
    assert_eq!(shown["state"], "completed", "{shown:#}");
}

#[test]
fn a_second_signal_abandons_what_runs_and_its_job_is_handed_back_uncounted() {
    let mut workshop = with_a_long_job();
    workshop.signal(Signal::SIGTERM);
    until("the first stage", || workshop.probe("/ready").0 == 503);
    workshop.signal(Signal::SIGINT);
    assert!(workshop.ended().success());
    let job = &workshop.run(&["jobs", "show", "long", "--json"]).documents()[0];
    assert_eq!((&job["state"], &job["life"]["attempt"]), (&"waiting".into(), &0.into()), "{job}");
    assert!(workshop.run(&["audit"]).done().ends_with("nothing was lost\n"));
}

#[test]
fn a_worker_whose_executor_cannot_run_is_degraded_with_the_reason() {
    let workshop = with_worker();
    let health = || workshop.probe("/health");
    until("it is degraded", || health().1.starts_with("{\"status\":\"degraded\""));
    let (code, body) = health();
    assert_eq!(code, 200, "a restart would not help");
    assert!(body.contains("executor gone") && body.contains("Missing"), "{body}");
    assert!(body.contains("{\"name\":\"source jobs\",\"status\":\"ok\""), "{body}");
}

#[test]
fn the_metrics_of_a_worker_are_the_text_that_a_scraper_reads() {
    let workshop = with_worker();
    workshop.run(&["submit", "short", "7", "--wait", "60s"]).done();
    let (code, text) = workshop.probe("/metrics");
    assert_eq!(code, 200);
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(name.starts_with("windlass_") || name.starts_with("process_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    for line in [
        r#"windlass_verdicts_total{pool="default",route="short",executor="cat",verdict="complete"} 1"#,
        r#"windlass_queue_ended_total{queue="jobs",end="completed"} 1"#,
        r#"windlass_fenced_acks_total{pool="default"} 0"#,
        r#"windlass_breaker{executor="cat"} 0"#,
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line} in\n{text}");
    }
}

#[test]
fn a_worker_for_programs_tells_where_it_listens_and_how_it_ended() {
    let workshop = Workshop::new();
    workshop.write("windlass.yaml", &CONFIG.replace("api: { listen: null }", "api: { listen: 127.0.0.1:0 }"));
    workshop.write("gone.py", "");
    let mut command = workshop.command(&["run", "--json"]);
    let mut worker = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let ready = next();
    assert_eq!((&ready["event"], &ready["pid"]), (&"ready".into(), &worker.id().into()), "{ready}");
    for listens in ["api", "telemetry"] {
        TcpStream::connect(ready[listens].as_str().unwrap()).unwrap();
    }
    workshop.run(&["submit", "short", "7", "--wait", "60s"]).done();
    kill(Pid::from_raw(worker.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(next(), json!({ "event": "stopping", "running": 0, "grace": "1h" }));
    let stopped = next();
    assert_eq!((&stopped["event"], &stopped["in_time"]), (&"stopped".into(), &true.into()), "{stopped}");
    let queue = &stopped["queues"][0];
    assert_eq!((&queue["queue"], &queue["completed"]), (&"jobs".into(), &1.into()), "{stopped}");
    let output = worker.wait_with_output().unwrap();
    assert!(output.status.success());
    let log = String::from_utf8(output.stderr).unwrap();
    let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(log.iter().any(|line| line["message"].as_str().unwrap().ends_with("is ready")), "{log:?}");
}
