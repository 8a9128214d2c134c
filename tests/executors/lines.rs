//! Whose log a line of a process with several jobs in it belongs to: docs/plugin-protocol.md, "Whose line it is".

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::json;
use windlass::outcome::Outcome;

use crate::kinds::{Kind, LONG, context, job, json_of, logged, run_in, until};

/// The worker's log, as this thread writes it.
#[derive(Clone, Default)]
struct WorkerLog(Arc<Mutex<Vec<u8>>>);

impl WorkerLog {
    /// Kept as long as the guard is.
    fn keep(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn lines_with(&self, words: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }
}

impl io::Write for WorkerLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn of_jobs_that_run_together_log_frames_are_told_apart_and_printed_lines_are_the_processes_own() {
    const JOBS: usize = 4;
    const LINES: usize = 20;
    let (log, folder) = (WorkerLog::default(), tempfile::tempdir().unwrap());
    let _kept = log.keep();
    let (open, close) = (folder.path().join("open"), folder.path().join("close"));
    let executor = Kind::Stays.start(Kind::Stays.together());
    let contexts: Vec<_> = (0..JOBS).map(|_| Arc::new(context(LONG))).collect();
    let runs = contexts.iter().enumerate().map(|(number, context)| {
        let mut named = job(&json!({"do": "mingle", "value": LINES, "open": open, "close": close}));
        named.id = format!("job-{number}").into();
        let (executor, context) = (executor.clone(), context.clone());
        tokio::spawn(async move { executor.execute(&named, &context).await })
    });
    let runs: Vec<_> = runs.collect();
    for context in &contexts {
        logged(context, "at the gate").await;
    }
    std::fs::write(&open, "").unwrap();
    until("all have printed", async || log.lines_with("word ").len() == JOBS * LINES).await;
    std::fs::write(&close, "").unwrap();
    for run in runs {
        assert!(matches!(run.await.unwrap(), Outcome::Done(_)));
    }
    for (number, context) in contexts.iter().enumerate() {
        let own: String = (0..LINES).map(|line| format!("line {line} of job-{number}\n")).collect();
        assert_eq!(context.log_tail(), format!("at the gate\n{own}"));
        let printed = log.lines_with(&format!(" of job-{number} "));
        let printed: Vec<_> = printed.iter().filter(|line| line.contains("word")).collect();
        assert_eq!(printed.len(), LINES, "each is there once: {printed:?}");
        assert!(printed.iter().all(|line| line.contains("executor=\"suite\" pid=") && !line.contains("job=")), "{printed:?}");
    }
    until("lines of answered jobs", async || log.lines_with("late line of job-").len() == JOBS).await;
}

#[tokio::test]
async fn what_a_job_prints_that_is_the_only_one_in_its_process_is_its_own() {
    let log = WorkerLog::default();
    let _kept = log.keep();
    let executor = Kind::Stays.start(Kind::Stays.together());
    for stderr in [false, true] {
        let context = context(LONG);
        let deed = json!({"do": "print", "value": 7, "stderr": stderr});
        let folder = tempfile::tempdir().unwrap();
        let gate = folder.path().join("open");
        // another one that has come and gone before
        std::fs::write(&gate, "").unwrap();
        json_of(run_in(&executor, json!({"do": "gate", "value": gate}), &crate::kinds::context(LONG)).await);
        json_of(run_in(&executor, deed, &context).await);
        logged(&context, "printed 7").await;
    }
    assert!(log.lines_with("printed").iter().all(|line| line.contains("job=")), "{:?}", log.lines_with("printed"));
}
