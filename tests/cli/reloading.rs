use crate::workshop::{Workshop, timeless, until};

/// `{ROUTES}` is where each test puts its own.
const CONFIG: &str = "\
api: { listen: null }
telemetry: { listen: 127.0.0.1:0 }
executors:
  old: { command: { run: [sh, -c, \"echo '\\\"old\\\"'\"] } }
  slow: { command: { run: [sh, -c, \"touch started; while [ ! -e go ]; do sleep 0.05; done; echo '\\\"slow\\\"'\"] } }
";

fn with_worker(routes: &str) -> Workshop {
    let mut workshop = Workshop::new();
    workshop.write("windlass.yaml", &format!("{CONFIG}{routes}"));
    workshop.start_worker();
    workshop
}

#[test]
fn a_reload_brings_routes_and_executors_while_what_runs_ends_by_the_old_ones() {
    let workshop = with_worker("routes:\n  - { type: a, run: old }\n  - { type: s, run: slow }\n");
    assert_eq!(workshop.run(&["submit", "a", "--wait", "60s"]).done(), "\"old\"\n");
    workshop.run(&["submit", "s", "--id", "s"]).done();
    until("the slow job starts", || {
        workshop.run(&["jobs", "show", "s"]).done();
        workshop.path().join("started").exists()
    });
    let new = CONFIG.replace("echo '\\\"old\\\"'", "echo '\\\"new\\\"'");
    let new: String = new.lines().filter(|line| !line.starts_with("  slow:")).map(|line| format!("{line}\n")).collect();
    workshop.write("windlass.yaml", &format!("{new}routes:\n  - {{ type: a, run: old }}\n  - {{ type: b, run: old }}\n"));
    let said = workshop.run(&["reload"]).done();
    assert_eq!(
        said,
        "reloaded: 2 routes\n  executor old was made anew\n  executor old ends with its last job\n  executor slow ends with its last job\n"
    );
    assert_eq!(workshop.run(&["submit", "a", "--wait", "60s"]).done(), "\"new\"\n");
    assert_eq!(workshop.run(&["submit", "b", "--wait", "60s"]).done(), "\"new\"\n");
    workshop.write("go", "");
    assert_eq!(workshop.run(&["jobs", "show", "s", "--wait", "60s", "--json"]).documents()[0]["state"], "completed");
    let routes: Vec<_> = workshop.run(&["routes", "--json"]).documents();
    assert_eq!(routes.iter().map(|route| &route["route"]).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_file_at_fault_or_one_that_needs_a_restart_is_refused_and_the_old_config_stays() {
    let workshop = with_worker("routes:\n  - { type: a, run: old }\n");
    workshop.write("windlass.yaml", &format!("{CONFIG}routes:\n  - {{ type: a, run: nowhere }}\n"));
    let err = workshop.run(&["reload"]).failed(2);
    assert!(err.contains("routes[0].run") && err.contains("nowhere"), "{err}");
    workshop.hang_up();
    workshop.write("windlass.yaml", &format!("{CONFIG}routes: []\npools: {{ default: {{ from: [jobs], slots: 5 }} }}\n"));
    let err = workshop.run(&["reload"]).failed(1);
    assert!(err.contains("pools.default.slots") && err.contains("restart"), "{err}");
    assert_eq!(workshop.run(&["submit", "a", "--wait", "60s"]).done(), "\"old\"\n");
}

#[test]
fn whatever_a_reload_does_not_take_is_refused_with_the_list_in_the_answer_the_log_and_the_metric() {
    let queues = "queues: { jobs: { embedded: {}, where: \"data != 1\" } }\n";
    let workshop = with_worker(&format!("{queues}routes:\n  - {{ type: a, run: old }}\n"));
    let other = "queues: { jobs: { embedded: {}, where: \"data != 2\", max_age: 1h } }\nworker: { lease: 40s }\n\
                 schedules: { tick: { every: 1h, queue: jobs, type: a } }\nroutes: [{ type: b, run: old }]\n\
                 pools: { default: { from: [jobs], kept_free: 1, no_route: 1m, tenants: { gold: { weight: 2 } } } }\n";
    workshop.write("windlass.yaml", &format!("{CONFIG}{other}"));
    let refused = |times: usize| {
        let metric = format!("windlass_reloads_total{{result=\"refused\"}} {times}\n");
        until("it is refused", || workshop.probe("/metrics").1.contains(&metric));
    };
    let list = [
        "queues.jobs.where",
        "queues.jobs.max_age",
        "schedules.tick",
        "worker.lease",
        "pools.default.kept_free",
        "pools.default.no_route",
        "pools.default.tenants.gold",
        "restart",
    ];
    let answer = workshop.run(&["reload"]).failed(1).split_whitespace().collect::<Vec<_>>().join(" ");
    refused(1);
    workshop.hang_up();
    refused(2);
    until("it is in the log twice", || workshop.log().matches("the old one stays").count() == 2);
    for key in list {
        assert!(answer.contains(key) && workshop.log().matches(key).count() >= 2, "{key}: {answer}\n{}", workshop.log());
    }
    workshop.write("windlass.yaml", "routes: [{ type: a, run: nowhere }]\n");
    workshop.hang_up();
    refused(3);
    until("the mistake is in the log", || workshop.log().contains("routes[0].run") && workshop.log().contains("nowhere"));
    workshop.write("windlass.yaml", CONFIG); // for the command: the worker goes by its own
    // by the old file 1 is not wanted, 2 is, and there is a route for it
    workshop
        .feed(
            &["submit", "--file", "-"],
            "{\"id\":\"one\",\"type\":\"a\",\"data\":1}\n{\"id\":\"two\",\"type\":\"a\",\"data\":2}\n",
        )
        .done();
    for (id, state) in [("one", "discarded"), ("two", "completed")] {
        assert_eq!(workshop.run(&["jobs", "show", id, "--wait", "60s", "--json"]).documents()[0]["state"], state);
    }
}

#[test]
fn a_route_that_goes_and_comes_back_loses_no_job_that_runs_is_parked_or_is_delayed() {
    let shut = CONFIG.replace("  slow:", "  shut: { command: { run: [cat] } }\n  slow:");
    let routes = "routes:\n  - { type: a, run: old }\n  - { type: s, run: slow }\n  - { type: p, run: shut }\n";
    let mut workshop = Workshop::new();
    workshop.write("windlass.yaml", &format!("{shut}{routes}"));
    workshop.start_worker();
    workshop.run(&["breakers", "open", "shut"]).done();
    workshop.run(&["submit", "s", "--id", "runs"]).done();
    workshop.run(&["submit", "p", "--id", "parked"]).done();
    workshop.run(&["submit", "a", "--id", "delayed", "--delay", "2s"]).done();
    let state = |id: &str| workshop.run(&["jobs", "show", id, "--json"]).documents()[0]["state"].clone();
    until("one runs and one is parked", || workshop.path().join("started").exists() && state("parked") == "parked");
    // the executors are gone, too
    let nothing: String = CONFIG.lines().filter(|line| !line.contains("slow:")).map(|line| format!("{line}\n")).collect();
    workshop.write("windlass.yaml", &format!("{nothing}routes:\n  - {{ type: other, run: old }}\n"));
    workshop.run(&["reload"]).done();
    let told = |id: &str| workshop.run(&["jobs", "show", id]).done().split_whitespace().collect::<Vec<_>>().join(" ");
    let waits = |id: &str| told(id).contains("because of no_route");
    until("both wait for a route", || waits("parked") && waits("delayed"));
    workshop.write("go", "");
    assert_eq!(workshop.run(&["jobs", "show", "runs", "--wait", "60s", "--json"]).documents()[0]["state"], "completed");
    workshop.write("windlass.yaml", &format!("{shut}{routes}"));
    workshop.run(&["reload"]).done();
    // it is held open still, and lets its job through once it is closed
    until("it is parked for its executor again", || told("parked").contains("because of unavailable"));
    workshop.run(&["breakers", "close", "shut"]).done();
    for id in ["parked", "delayed"] {
        let job = &workshop.run(&["jobs", "show", id, "--wait", "60s", "--json"]).documents()[0];
        assert_eq!((&job["state"], &job["life"]["attempt"]), (&"completed".into(), &0.into()), "{job}");
    }
    assert_eq!(workshop.run(&["audit", "--json"]).documents()[0]["ok"], true);
}

#[test]
fn jobs_whose_route_is_gone_wait_for_it_and_run_when_it_is_back() {
    let workshop = with_worker("routes:\n  - { type: a, run: old, rate_per_worker: 1/h }\n");
    workshop.run(&["submit", "a", "--id", "first", "--wait", "60s"]).done();
    workshop.run(&["submit", "a", "--id", "waits"]).done();
    workshop.run(&["submit", "a", "--id", "delayed", "--delay", "1s"]).done();
    let story = || workshop.run(&["jobs", "show", "waits"]).done();
    until("it waits for its rate", || story().contains("(rate)"));
    workshop.write("windlass.yaml", &format!("{CONFIG}routes: []\n"));
    workshop.run(&["reload"]).done();
    until("it is parked", || story().contains("no_route"));
    workshop.write("windlass.yaml", &format!("{CONFIG}routes:\n  - {{ type: a, run: old }}\n"));
    workshop.run(&["reload"]).done();
    for id in ["waits", "delayed"] {
        let ended = workshop.run(&["jobs", "show", id, "--wait", "60s", "--json"]).documents();
        assert_eq!(ended[0]["state"], "completed", "{ended:?}");
    }
}

#[test]
fn what_jobs_wait_for_is_seen_at_a_glance() {
    let workshop = with_worker(
        "routes:\n  - { type: s, run: slow, order_by: key, weight: 2 }\n  - { type: r, run: old, rate_per_worker: 1/h }\n",
    );
    let lines = "{\"type\":\"s\",\"key\":\"k\"}\n{\"type\":\"s\",\"key\":\"k\"}\n{\"type\":\"r\"}\n{\"type\":\"r\"}\n";
    workshop.feed(&["submit", "--file", "-"], lines).done();
    until("two wait", || {
        let routes = workshop.run(&["routes", "--json"]).documents();
        routes.iter().any(|route| route["waiting"]["key_busy"] == 1) && routes.iter().any(|route| route["waiting"]["rate"] == 1)
    });
    until("the first of the rate is done", || workshop.run(&["queues", "list", "--json"]).documents()[0]["completed"] == 1);
    let picture = workshop.run(&["top", "--once", "--every", "100ms"]).done();
    let (_, below) = picture.split_once('\n').unwrap(); // the first line names the machine
    insta::assert_snapshot!(timeless(below));
    let wide: Vec<&str> = picture.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:?}");
    let document = &workshop.run(&["top", "--once", "--every", "100ms", "--json"]).documents()[0];
    assert_eq!((&document["queues"][0]["waiting"], &document["routes"][0]["waiting"]["key_busy"]), (&2.into(), &1.into()));
    workshop.write("go", "");
}

#[test]
fn without_a_worker_there_is_nothing_to_watch_or_reload() {
    let workshop = Workshop::new();
    workshop.run(&["submit", "a"]).done();
    for command in [&["top", "--once"][..], &["routes"], &["reload"]] {
        let err = workshop.run(command).failed(3);
        assert!(err.contains("windlass run"), "{err}");
    }
}
