//! What an orchestrator and a scraper see of a real worker, and what its signals do.

use nix::sys::signal::Signal;

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
    assert_eq!(workshop.run(&["jobs", "show", "long", "--json"]).documents()[0]["state"], "completed");
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
