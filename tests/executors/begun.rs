//! From when on a run counts as begun, so that a stop waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::kinds::{Kind, LONG, begin, context};

#[tokio::test]
async fn a_program_that_is_at_work_has_begun_even_where_nobody_has_heard_of_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("at-work");
    let executor = Kind::EachJob.start(json!({"run": ["sh", "-c", "touch \"$0\"; sleep 600", file]}));
    let context = Arc::new(context(LONG));
    let run = begin(&executor, json!({"do": "nothing"}), &context);
    tokio::task::yield_now().await; // it asks for the process
    // and hears nothing while this thread, which runs it, stands still
    let end = Instant::now() + LONG;
    while !file.exists() {
        assert!(Instant::now() < end, "the program was not started");
        #[expect(clippy::disallowed_methods, reason = "another process works in real time")]
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(context.started());
    run.abort();
}
