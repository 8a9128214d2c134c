use std::time::Duration;

use super::*;
use crate::job::Life;
use crate::outcome::{Class, Output, Reason, Verdict};
use crate::ports::Usage;

#[test]
fn every_metric_has_a_name_by_the_conventions_and_a_sentence() {
    for metric in names::ALL {
        let name = metric.name.strip_prefix("windlass_").unwrap();
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(metric.help.ends_with('.'), "{name}: {}", metric.help);
    }
    let mut all: Vec<&str> = names::ALL.iter().map(|metric| metric.name).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), names::ALL.len());
}

#[test]
fn what_happens_to_jobs_is_counted_by_route_verdict_class_and_reason() {
    let telemetry = Telemetry::install().unwrap();
    let route = telemetry.route("default", "image.*", "thumbs");
    assert!(
        telemetry
            .render()
            .contains(r#"windlass_verdicts_total{pool="default",route="image.*",executor="thumbs",verdict="retry"} 0"#)
    );
    route.ended(&Verdict::Complete(Output::Nothing));
    let dead = |reason| Verdict::DeadLetter { reason, class: Class::Crashed, message: String::new(), life: Life::default() };
    route.ended(&dead(Reason::POISON));
    route.ended(&dead(Reason::Class(Class::Expired)));
    for class in Class::ALL {
        route.failed(class);
    }
    route.started(Some(Duration::from_secs(2)));
    route.finished(Duration::from_millis(30), None);
    assert!(!telemetry.render().contains("windlass_billed_seconds"), "most executors know no cost");
    let (billed, start) = (Duration::from_millis(20), Duration::from_millis(90));
    route.used(Usage { billed, memory: Some(45 << 20), cold_start: Some(start) });
    route.used(Usage { billed, memory: Some(46 << 20), cold_start: None });
    let text = telemetry.render();
    for line in [
        r#"verdict="complete"} 1"#,
        r#"verdict="dead_letter"} 2"#,
        r#"reason="poison"} 1"#,
        r#"reason="expired"} 1"#,
        r#"class="unknown_outcome"} 1"#,
        r#"windlass_run_seconds_bucket{pool="default",route="image.*",executor="thumbs",le="0.025"} 0"#,
        r#"windlass_run_seconds_bucket{pool="default",route="image.*",executor="thumbs",le="0.1"} 1"#,
        r#"windlass_queue_seconds_sum{pool="default",route="image.*",executor="thumbs"} 2"#,
        r#"windlass_running{pool="default",route="image.*",executor="thumbs"} 0"#,
        r#"windlass_billed_seconds_count{pool="default",route="image.*",executor="thumbs"} 2"#,
        r#"windlass_cold_start_seconds_sum{pool="default",route="image.*",executor="thumbs"} 0.09"#,
        r#"windlass_function_memory_bytes{pool="default",route="image.*",executor="thumbs"} 48234496"#,
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[test]
fn something_waits_as_long_as_its_guard_is_held() {
    let telemetry = Telemetry::install().unwrap();
    let pool = telemetry.pool("default");
    let waiting = r#"windlass_waiting{pool="default",reason="bytes"}"#;
    let first = pool.wait(Wait::Bytes);
    drop(pool.wait(Wait::Bytes));
    assert!(telemetry.render().contains(&format!("{waiting} 1")));
    drop(first);
    pool.waits(Wait::Parked, 1);
    let text = telemetry.render();
    assert!(text.contains(&format!("{waiting} 0")));
    assert!(text.contains(r#"windlass_waits_total{pool="default",reason="bytes"} 2"#));
    assert!(text.contains(r#"windlass_waits_total{pool="default",reason="parked"} 1"#));
}

#[test]
fn two_workers_in_one_process_count_apart() {
    let (one, other) = (Telemetry::install().unwrap(), Telemetry::install().unwrap());
    one.pool("p").exit("results").published.increment(5);
    other.pool("p").exit("results").published.increment(1);
    assert!(one.render().contains(r#"windlass_published_total{pool="p",exit="results"} 5"#));
    assert!(other.render().contains(r#"windlass_published_total{pool="p",exit="results"} 1"#));
}

#[test]
fn upkeep_keeps_what_was_recorded() {
    let telemetry = Telemetry::install().unwrap();
    let route = telemetry.route("p", "r", "e");
    for _ in 0..3 {
        route.finished(Duration::from_secs(1), None);
        telemetry.upkeep();
    }
    assert!(telemetry.render().contains(r#"windlass_run_seconds_count{pool="p",route="r",executor="e"} 3"#));
}

#[test]
fn the_process_itself_is_shown_under_the_names_that_dashboards_know() {
    let text = Telemetry::install().unwrap().render();
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
        line.parse().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_start_time_seconds") > 1.7e9);
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_cpu_seconds_total") >= 0.0);
}
