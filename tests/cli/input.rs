use crate::workshop::Workshop;

/// A worker with a Python handler that returns what it is given.
fn with_worker() -> Workshop {
    let mut workshop = Workshop::new();
    workshop.write("echo.py", "def echo(data):\n    return data\n");
    let config = "\
api: { listen: 127.0.0.1:0 }
telemetry: { listen: 127.0.0.1:0 }
executors: { echo: { python: { entry: \"echo.py:echo\", workers: 1 } } }
routes: [{ type: echo, run: echo }]
";
    workshop.write("windlass.yaml", config);
    workshop.start_worker();
    workshop
}

/// A job whose data is so many bytes long.
fn large(bytes: usize) -> String {
    format!("{{\"id\": \"large\", \"type\": \"echo\", \"data\": \"{}\"}}\n", "x".repeat(bytes))
}

#[test]
fn a_body_of_64_mebibytes_is_refused_with_its_line_and_the_next_job_runs() {
    let workshop = with_worker();
    for (bytes, why) in [(2 << 20, "worker.body_limit"), (64 << 20, "over 16MiB")] {
        workshop.write("jobs.jsonl", &format!("{{\"type\": \"echo\"}}\n{}", large(bytes)));
        for as_is in [&[][..], &["--as-is"]] {
            let err = workshop.run(&[&["submit", "--file", "jobs.jsonl"], as_is].concat()).failed(2);
            assert!(err.contains("line 2:") && err.contains(why) && err.contains("nothing was submitted"), "{err}");
        }
    }
    assert_eq!(workshop.run(&["submit", "echo", "7", "--wait", "60s"]).done(), "7\n");
    assert_eq!(workshop.run(&["jobs", "list", "--all", "--json"]).documents().len(), 1);
}

#[test]
fn data_nested_too_deeply_for_python_is_a_dead_letter_with_its_message_untouched() {
    let workshop = with_worker();
    let job = format!(r#"{{"id":"deep","type":"echo","data":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let ran = workshop.feed(&["submit", "--file", "-", "--wait", "60s"], &job);
    assert!(ran.code == 1 && ran.err.contains("nested too deeply"), "{ran:?}");
    let shown = &workshop.run(&["dead-letters", "show", "deep", "--json"]).documents()[0];
    assert_eq!(shown["message"]["body"], job);
    assert_eq!(workshop.run(&["submit", "echo", "7", "--wait", "60s"]).done(), "7\n");
}

#[test]
fn what_is_no_job_is_dead_lettered_as_malformed_when_it_comes_as_it_is() {
    let workshop = with_worker();
    for (body, why) in [("no json", "not JSON"), ("{\"type\": 7}", "type: invalid type"), ("{\"id\": \"a\"}", "type: missing")] {
        let ran = workshop.feed(&["submit", "--file", "-", "--as-is", "--wait", "60s"], body);
        assert!(ran.code == 1 && ran.err.contains("malformed") && ran.err.contains(why), "{ran:?}");
    }
    assert_eq!(workshop.run(&["dead-letters", "list", "--reason", "malformed", "--json"]).documents().len(), 3);
    assert!(workshop.run(&["audit"]).done().ends_with("nothing was lost\n"));
}

#[test]
fn a_job_whose_class_is_missing_waits_and_says_which_ones_there_are() {
    let mut workshop = with_worker();
    workshop.stop_worker();
    workshop.write("echo.py", "def shout(data):\n    return data\n");
    workshop.start_worker();
    workshop.run(&["submit", "echo", "7", "--id", "a"]).done();
    let mut shown = String::new();
    while !shown.contains("misconfigured") {
        shown = workshop.run(&["jobs", "show", "a"]).done();
    }
    assert!(shown.contains("class 'echo'; it has shout"), "{shown}");
    workshop.stop_worker();
    workshop.write("echo.py", "def echo(data):\n    return data\n");
    workshop.start_worker();
    assert_eq!(workshop.run(&["submit", "echo", "--id", "a", "--wait", "60s"]).done(), "7\n");
}
