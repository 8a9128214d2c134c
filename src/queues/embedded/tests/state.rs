//! Values of the state store: kept over a kill, forgotten in the file, added to files of an earlier layout.

use super::*;
use crate::state::{Change, StateStore, When};

fn put(key: &str, value: &'static str) -> Change {
    Change::put(&key.into(), When::Absent, value)
}

async fn value(bench: &Bench, key: &str) -> Option<Bytes> {
    let store: Arc<dyn StateStore> = bench.store.clone();
    store.get(&key.into()).await.unwrap().map(|held| held.value)
}

fn rows(bench: &Bench) -> i64 {
    let connection = rusqlite::Connection::open(&bench.options.path).unwrap();
    connection.query_row("SELECT count(*) FROM state", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_kill_and_versions_go_on() {
    let mut bench = Bench::new();
    assert!(bench.store.change(vec![put("a", "1")]).await.unwrap());
    let before = bench.store.read(&["a".into()]).await.unwrap();
    bench.crash().await.unwrap();
    assert_eq!(bench.store.read(&["a".into()]).await.unwrap(), before);
    let key = "a".into();
    bench.store.change(vec![Change::remove(&key, When::Always)]).await.unwrap();
    bench.store.change(vec![put("a", "1")]).await.unwrap();
    assert_ne!(bench.store.read(&[key]).await.unwrap(), before, "a version that was seen before a kill is never given again");
    bench.balances().await;
}

#[tokio::test]
async fn expired_values_leave_the_file() {
    let mut bench = Bench::new();
    let soon = put("soon", "1").for_the_next(Duration::from_secs(60), bench.now());
    let late = put("late", "1").for_the_next(Duration::from_secs(6000), bench.now());
    bench.store.change(vec![soon, late, put("ever", "1")]).await.unwrap();
    bench.advance(Duration::from_secs(61)).await;
    while rows(&bench) != 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((value(&bench, "soon").await, value(&bench, "late").await), (None, Some("1".into())));
    bench.store.close().await;
    bench.options.clock.offset.fetch_add(6_000_000, Ordering::SeqCst);
    bench.store = Store::open(bench.options.clone()).unwrap();
    while rows(&bench) != 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(value(&bench, "ever").await, Some("1".into()));
}

#[tokio::test]
async fn a_file_of_the_layout_before_is_upgraded_in_place_with_its_jobs() {
    let mut bench = Bench::new();
    let mut source = bench.source("orders").await;
    for id in ["done", "waiting"] {
        bench.submit("orders", id).await;
    }
    finish(&mut source).await;
    bench.store.close().await;
    let connection = rusqlite::Connection::open(&bench.options.path).unwrap();
    connection
        .execute_batch("DROP TABLE state; ALTER TABLE jobs DROP COLUMN event; PRAGMA user_version = 2; UPDATE meta SET value = '0.0.1' WHERE key = 'written_by'")
        .unwrap();
    drop(connection);
    bench.store = Store::open(bench.options.clone()).unwrap();
    assert!(bench.store.change(vec![put("a", "1")]).await.unwrap());
    let mut source = bench.source("orders").await;
    assert_eq!(finish(&mut source).await, "waiting");
    assert!(bench.submit("orders", "done").await.existing, "ended ids are still known");
    bench.balances().await;
    bench.reopen().await;
    assert_eq!(value(&bench, "a").await, Some("1".into()));
    let connection = rusqlite::Connection::open(&bench.options.path).unwrap();
    let written_by: String =
        connection.query_row("SELECT value FROM meta WHERE key = 'written_by'", [], |row| row.get(0)).unwrap();
    let layout: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!((&*written_by, layout), (env!("CARGO_PKG_VERSION"), 4));
}
