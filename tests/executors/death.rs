//! A worker that is killed takes its processes along.
//!
//! The tests of this file start this program twice more: an observer that adopts what the worker leaves behind, since in
//! the process of the suite itself the executors would end it, and the worker.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};
use serde_json::json;

use crate::kinds::{Kind, LONG, begin, context, logged};

/// Set for the observer and the worker: the kind that is run.
const KIND: &str = "WINDLASS_SUITE_KIND";
const KINDS: [Kind; 3] = [Kind::EachJob, Kind::Stays, Kind::Python];

fn play(part: &str, kind: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", part, "--ignored", "--nocapture"]).env(KIND, kind);
    command
}

#[test]
fn a_killed_worker_takes_its_processes_along() {
    for kind in KINDS {
        let told = play("death::plays_the_observer", &format!("{kind:?}")).output().unwrap();
        assert!(told.status.success(), "{kind:?}: {}", String::from_utf8_lossy(&told.stderr));
    }
}

#[test]
#[ignore = "a part in the test above"]
fn plays_the_observer() {
    let Ok(kind) = std::env::var(KIND) else { return };
    set_child_subreaper(Some(getpid())).unwrap();
    let mut worker = play("death::plays_the_worker", &kind).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines().map(Result::unwrap);
    let told = lines.find_map(|line| line.split_once("pids ").map(|(_, pids)| pids.to_owned())).unwrap();
    let pids: Vec<Pid> = told.split(' ').map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap()).collect();
    worker.kill().unwrap();
    worker.wait().unwrap();
    let (_, end) = waitpid(Some(pids[0]), WaitOptions::empty()).unwrap().unwrap();
    for left_behind in &pids[1..] {
        let _gone = kill_process(*left_behind, Signal::KILL);
    }
    assert_eq!(end.terminating_signal(), Some(Signal::KILL.as_raw()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part in the test above"]
async fn plays_the_worker() {
    let Ok(told) = std::env::var(KIND) else { return };
    let kind = KINDS.into_iter().find(|kind| format!("{kind:?}") == told).unwrap();
    let executor = kind.start(json!({}));
    let context = Arc::new(context(LONG));
    let running = begin(&executor, json!({"do": "family"}), &context);
    println!("pids {}", logged(&context, "pids ").await);
    running.await.unwrap();
}
