use crate::workshop::Workshop;

const PLUGIN: &str = "\
def double(data, ctx):
    print('so it begins')
    ctx.progress({'half': True})
    return data * 2
";

fn with_plugin() -> Workshop {
    let workshop = Workshop::new();
    workshop.write("numbers.py", PLUGIN);
    workshop.write("jobs.jsonl", "{\"id\": \"a\", \"type\": \"double\", \"data\": 21}\n\n");
    workshop
}

#[test]
fn a_plugin_is_driven_step_by_step() {
    let workshop = with_plugin();
    let said = workshop.run(&["plugin", "test", "numbers.py:double", "--jobs", "jobs.jsonl"]).done();
    assert!(said.contains("a is done: 42") && said.contains("so it begins"), "{said}");
    let document = &workshop.run(&["plugin", "test", "numbers.py:double", "--jobs", "jobs.jsonl", "--json"]).documents()[0];
    assert_eq!((&document["ok"], &document["steps"][0]["step"]), (&true.into(), &"hello".into()));
}

#[test]
fn the_executor_of_a_config_is_driven_from_its_folder() {
    let workshop = with_plugin();
    std::fs::create_dir(workshop.path().join("elsewhere")).unwrap();
    workshop.write("windlass.yaml", "executors:\n  numbers: { python: { entry: \"numbers.py:double\" } }\n");
    let test = ["plugin", "test", "--executor", "numbers", "--jobs", "../jobs.jsonl", "--config", "../windlass.yaml"];
    let output = workshop.command(&test).current_dir(workshop.path().join("elsewhere")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let err = workshop.run(&["plugin", "test", "--executor", "letters"]).failed(3);
    assert!(err.contains("numbers"), "{err}");
}

#[test]
fn what_is_wrong_with_a_plugin_or_its_samples_is_said() {
    let workshop = with_plugin();
    let ran = workshop.run(&["plugin", "test", "numbers.py:triple"]);
    assert!(ran.out.contains("triple") && ran.out.contains("double"), "{ran:?}");
    ran.failed(1);
    let err = workshop.feed(&["plugin", "test", "numbers.py:double", "--jobs", "-"], "{\"id\": \"a\"}\n").failed(2);
    assert!(err.contains("line 1: type:"), "{err}");
    workshop.run(&["plugin", "test", "numbers.py:double", "--jobs", "none.jsonl"]).failed(3);
}

#[test]
fn a_worker_whose_starter_ignores_the_ends_of_children_still_learns_how_its_own_ended() {
    let workshop = with_plugin();
    let starter = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])";
    let mut command = std::process::Command::new("python3");
    command.args(["-c", starter, env!("CARGO_BIN_EXE_windlass"), "plugin", "test", "--executor", "copy", "--jobs", "jobs.jsonl"]);
    workshop.write("windlass.yaml", "executors:\n  copy: { command: { run: [cat] } }\n");
    let output = command.current_dir(workshop.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_plugin_runs_in_the_folder_that_its_executor_names() {
    let mut workshop = Workshop::new();
    std::fs::create_dir(workshop.path().join("elsewhere")).unwrap();
    workshop.write("where.py", "import os\n\n\ndef where(data):\n    return os.getcwd()\n");
    workshop.write("where.sh", "echo \"\\\"$PWD\\\"\"\n");
    let config = r#"
api: { listen: null }
telemetry: { listen: null }
executors:
  sh: { command: { run: [sh, ../where.sh], directory: elsewhere } }
  python: { python: { entry: "where.py:where", workers: 1, directory: elsewhere } }
  home: { command: { run: [sh, where.sh] } }
routes:
  - { type: sh, run: sh }
  - { type: python, run: python }
  - { type: home, run: home }
"#;
    workshop.write("windlass.yaml", config);
    workshop.start_worker();
    let home = workshop.path().canonicalize().unwrap();
    for (kind, folder) in [("sh", home.join("elsewhere")), ("python", home.join("elsewhere")), ("home", home)] {
        let said = workshop.run(&["submit", kind, "--wait", "60s"]).done();
        assert_eq!(said, format!("\"{}\"\n", folder.display()), "{kind}");
    }
    workshop.write("windlass.yaml", &config.replace("directory: elsewhere", "directory: nowhere"));
    let ran = workshop.run(&["check"]);
    assert!(ran.out.contains("executors.sh.command.directory") && ran.out.contains("nowhere is not there"), "{ran:?}");
}
