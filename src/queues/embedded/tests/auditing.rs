//! The books, and who cooks them.

use super::super::audit;
use super::*;

/// A store with jobs in many states, and its books.
async fn busy() -> Bench {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.bury(&mut source, "dead", "no").await;
    for id in ["one", "two", "three", "four"] {
        bench.submit("orders", id).await;
    }
    ack(take(&mut source).await).await;
    let moved = Ending { end: End::Moved, event: None, at: bench.now() };
    take(&mut source).await.receipt.ack(moved).await.ok().unwrap();
    bench
}

#[tokio::test]
async fn the_books_balance_while_the_store_works_and_after_it_is_closed() {
    let bench = busy().await;
    bench.balances().await;
    let line = bench.store.audit().await.unwrap().queues.remove(0);
    assert_eq!((&*line.queue, line.submitted, line.completed, line.moved), ("orders", 5, 1, 1));
    assert_eq!((line.dead, line.waiting, line.discarded), (1, 2, 0));
    bench.store.close().await;
    let offline = audit(&bench.options.path).unwrap();
    assert!(offline.ok && offline.queues[0].balanced);
}

#[tokio::test]
async fn the_books_balance_after_a_kill() {
    let mut bench = busy().await;
    bench.crash().await.unwrap();
    bench.balances().await;
}

#[tokio::test]
async fn a_row_deleted_added_or_renamed_behind_the_stores_back_is_found() {
    for tampering in [
        "DELETE FROM jobs WHERE id = 'three'",
        "DELETE FROM jobs WHERE id = 'dead'",
        "UPDATE jobs SET id = 'five' WHERE id = 'four'",
        "UPDATE jobs SET home = (SELECT number FROM queues WHERE name = 'orders.dead') WHERE id = 'four'",
        "INSERT INTO jobs SELECT place + 1000, home, 'six', submitted, 4, 0, NULL, NULL, NULL, NULL, NULL, body, NULL
         FROM jobs WHERE id = 'four'",
        "DELETE FROM known_log WHERE number = 6",
        "INSERT INTO known_log(entries) VALUES(zeroblob(28))",
        "UPDATE ledger SET count = count + 1 WHERE line = 'completed'",
        "UPDATE ledger SET sum = zeroblob(16) WHERE line = 'submitted'",
        "UPDATE ledger SET count = count + 1 WHERE line = 'waiting' AND queue = 1",
    ] {
        let bench = busy().await;
        bench.tamper(tampering);
        let audit = bench.store.audit().await.unwrap();
        assert!(!audit.ok && !audit.problems.is_empty(), "{tampering}");
    }
}

#[tokio::test]
async fn a_job_that_was_swapped_for_another_is_found_although_the_counts_agree() {
    let bench = busy().await;
    bench.tamper("UPDATE jobs SET id = 'other' WHERE id = 'four'");
    let audit = bench.store.audit().await.unwrap();
    assert!(!audit.ok && !audit.queues[0].balanced, "{audit:#?}");
}

#[tokio::test]
async fn a_file_that_is_no_store_is_not_audited() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE notes(text)").unwrap();
    assert!(matches!(audit(&path), Err(OpenError::Foreign(_))));
}
