//! What the author of a plugin is told before any job runs.

use serde_json::json;
use windlass::executors::drive::{Step, Subject, drive};

use crate::kinds::{PYTHON, fixtures, job};

fn of<'a>(steps: &'a [Step], name: &str) -> &'a Step {
    steps.iter().find(|step| step.step == name).unwrap_or_else(|| panic!("no step {name} in {steps:?}"))
}

#[tokio::test]
async fn a_sound_python_plugin_passes_every_step() {
    let subject = Subject::named("handler.py:Together").unwrap();
    let samples = [
        job(&json!({"do": "echo", "value": 3})),
        job(&json!({"do": "log", "value": ["one", "two"]})),
        job(&json!({"do": "progress", "value": 40})),
    ];
    let steps = drive(&subject, &samples, &fixtures()).await;
    assert!(steps.iter().all(|step| step.ok), "{steps:?}");
    assert!(of(&steps, "hello").detail.contains("handler.py:Together runs many jobs at once"));
    assert_eq!(of(&steps, "job").detail, "job-1 is done: 3");
    assert_eq!(of(&steps, "log").detail, "2 lines; the last: two");
    assert_eq!(of(&steps, "progress").detail, "40");
    assert_eq!(of(&steps, "stop").detail, "ended by itself");
}

#[tokio::test]
async fn a_program_of_any_language_passes_without_samples() {
    let steps = drive(&Subject::named("plugin.pl").unwrap(), &[], &fixtures()).await;
    assert!(steps.iter().all(|step| step.ok), "{steps:?}");
    assert_eq!(of(&steps, "job").detail, "sample is done: \"\"");
    assert!(of(&steps, "hello").detail.contains("plugin.pl"));
}

#[tokio::test]
async fn what_does_not_work_is_told_at_its_step() {
    let block = |run: serde_json::Value| serde_json::from_value(json!({"run": run, "persistent": true})).unwrap();
    let mute = drive(&Subject::Command(block(json!([*PYTHON, "stays.py", "mute"]))), &[], &fixtures()).await;
    assert_eq!(mute.len(), 1);
    assert!(!mute[0].ok && mute[0].detail.contains("cannot import the thing"), "{mute:?}");
    let broken = [job(&json!({"do": "no json"}))];
    let steps = drive(&Subject::Command(block(json!([*PYTHON, "stays.py"]))), &broken, &fixtures()).await;
    let step = of(&steps, "job");
    assert!(!step.ok && step.detail.contains("no response"), "{steps:?}");
    assert!(!drive(&Subject::named("nowhere.sh").unwrap(), &[], &fixtures()).await[0].ok);
}

#[tokio::test]
async fn a_program_per_job_is_driven_by_its_samples() {
    let config = serde_json::from_value(json!({"run": [*PYTHON, "each.py"]})).unwrap();
    let samples = [job(&json!({"do": "echo", "value": 3})), job(&json!({"do": "no such deed"}))];
    let steps = drive(&Subject::Command(config), &samples, &fixtures()).await;
    assert!(steps[0].ok && steps[0].detail.ends_with("done: 3"));
    assert!(!steps[1].ok && steps[1].detail.contains("misconfigured"), "{steps:?}");
}
