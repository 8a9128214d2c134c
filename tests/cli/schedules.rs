use std::time::{Duration, Instant};

use crate::workshop::{Workshop, timeless};

const CONFIG: &str = r#"
api: { listen: null }
telemetry: { listen: null }
state: { embedded: { path: state.db } }
executors: { echo: { command: { run: [cat] } } }
routes: [{ type: "*", run: echo }]
schedules:
  tick: { every: 1s, queue: jobs, type: tick, data: { n: 1 } }
  yearly: { cron: "0 7 1 1 *", zone: Europe/Vienna, queue: jobs, type: report.yearly, catch_up: all }
"#;

#[test]
fn a_worker_submits_what_is_due_and_shows_what_comes() {
    let mut workshop = Workshop::new();
    workshop.write("windlass.yaml", CONFIG);
    workshop.start_worker();
    let patience = Instant::now() + Duration::from_secs(30);
    let ticks = loop {
        let ticks = workshop.run(&["jobs", "list", "--type", "tick", "--state", "completed", "--json"]).documents();
        if ticks.len() >= 2 {
            break ticks;
        }
        assert!(Instant::now() < patience, "{ticks:?}");
    };
    assert!(ticks.iter().all(|tick| tick["id"].as_str().unwrap().starts_with("cron:tick:2")), "{ticks:?}");
    let shown = workshop.run(&["schedules", "list", "--next", "2", "--json"]).documents();
    assert_eq!(shown.len(), 2);
    assert!(shown[0]["fired"].is_string() && shown[1].get("fired").is_none(), "{shown:?}");
    assert_eq!((&shown[1]["due"], shown[1]["next"].as_array().unwrap().len()), (&"0 7 1 1 * Europe/Vienna".into(), 2));
    assert!(shown[1]["next"][0].as_str().unwrap().ends_with("-01-01T06:00:00Z"), "{shown:?}");
}

#[test]
fn a_schedule_is_run_now_without_a_worker_too() {
    let workshop = Workshop::new();
    workshop.write("windlass.yaml", CONFIG);
    workshop.run(&["schedules", "list"]).failed(3);
    let id = workshop.run(&["schedules", "run", "yearly"]).done();
    assert!(id.starts_with("cron:yearly:run:"), "{id}");
    let job = workshop.run(&["jobs", "show", id.trim(), "--json"]).documents().remove(0);
    assert_eq!((&job["state"], &job["type"]), (&"waiting".into(), &"report.yearly".into()));
    let page = workshop.run(&["schedules", "list"]).done();
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    assert!(page.contains("yearly") && page.contains("never") && timeless(&page).contains("#-# #:#:#Z"), "{page}");
    assert!(workshop.run(&["schedules", "run", "weekly"]).failed(3).contains("there are: tick, yearly"));
}
