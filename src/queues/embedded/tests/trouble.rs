//! Files that are not what they should be, and disks that are full.

use super::*;
use crate::ports::{Outgoing, QueueError};

fn refusal(options: &StoreOptions) -> String {
    Store::open(options.clone()).err().expect("it must be refused").to_string()
}

/// A closed store with a job in it.
async fn closed() -> Bench {
    let bench = Bench::new();
    bench.submit("orders", "a").await;
    bench.store.close().await;
    bench
}

#[tokio::test]
async fn a_file_of_a_newer_windlass_is_refused_and_left_alone() {
    let bench = closed().await;
    let connection = rusqlite::Connection::open(&bench.options.path).unwrap();
    connection.execute_batch("PRAGMA user_version = 99; UPDATE meta SET value = '7.1.0' WHERE key = 'written_by'").unwrap();
    drop(connection);
    let before = std::fs::read(&bench.options.path).unwrap();
    let refused = refusal(&bench.options);
    assert!(refused.contains("7.1.0") && refused.contains("layout 99") && refused.contains("upgrade"), "{refused}");
    assert_eq!(std::fs::read(&bench.options.path).unwrap(), before);
}

#[tokio::test]
async fn a_file_of_an_earlier_layout_is_refused_and_left_alone() {
    let bench = closed().await;
    rusqlite::Connection::open(&bench.options.path).unwrap().execute_batch("PRAGMA user_version = 1").unwrap();
    let before = std::fs::read(&bench.options.path).unwrap();
    let refused = refusal(&bench.options);
    assert!(refused.contains("layout 1") && refused.contains("finish its jobs"), "{refused}");
    assert_eq!(std::fs::read(&bench.options.path).unwrap(), before);
}

#[tokio::test]
async fn somebody_elses_database_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE notes(text)").unwrap();
    let before = std::fs::read(&path).unwrap();
    let config = super::super::EmbeddedConfig { path: path.clone(), ..Default::default() };
    let refused = refusal(&StoreOptions::from(&config));
    assert!(refused.contains("not a windlass store"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_the_way_out_and_never_truncated() {
    let bench = closed().await;
    let mut content = std::fs::read(&bench.options.path).unwrap();
    content[100..4000].fill(0xee);
    std::fs::write(&bench.options.path, &content).unwrap();
    let refused = refusal(&bench.options);
    assert!(refused.contains("damaged") && refused.contains(".recover"), "{refused}");
    assert_eq!(std::fs::read(&bench.options.path).unwrap(), content);
}

#[tokio::test]
async fn damage_met_while_reading_jobs_is_told_and_stops_nobody_else() {
    let bench = Bench::new();
    let jobs = (0..2000).map(|number| job(&format!("{number}"))).collect();
    bench.store.submit("orders", jobs).await.unwrap();
    bench.store.close().await;
    let page = root_page(&bench.options, "jobs");
    let mut content = std::fs::read(&bench.options.path).unwrap();
    content[page * 16384..page * 16384 + 2000].fill(0xee);
    std::fs::write(&bench.options.path, &content).unwrap();
    let store = Store::open(bench.options.clone()).unwrap();
    let told = match store.queue("orders", "orders").source(sort(&Decoding::Envelope)).await {
        Err(error) => error.to_string(),
        Ok(mut source) => source.next(room(1)).await.err().unwrap().to_string(),
    };
    assert!(told.contains("damaged") && told.contains(".recover"), "{told}");
    assert!(!super::super::audit(&bench.options.path).map(|audit| audit.ok).unwrap_or(false));
}

/// The number of a table's first page, from 0.
fn root_page(options: &StoreOptions, table: &str) -> usize {
    let connection = rusqlite::Connection::open(&options.path).unwrap();
    let select = "SELECT rootpage FROM sqlite_schema WHERE name = ?";
    connection.query_row(select, [table], |row| row.get::<_, u32>(0)).unwrap() as usize - 1
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_refused_with_a_sentence() {
    let config = super::super::EmbeddedConfig { path: "/proc/windlass.db".into(), ..Default::default() };
    let refused = refusal(&StoreOptions::from(&config));
    assert!(refused.contains("cannot be written"), "{refused}");
}

#[tokio::test]
async fn a_full_disk_refuses_submits_lets_jobs_end_and_is_over_when_there_is_room() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    let large = NewJob { message: Message::of(vec![b'x'; 100_000]), ..job("first") };
    bench.submit_job("orders", large.clone()).await;
    bench.pragma("PRAGMA max_page_count = 1").await; // SQLite raises it to what is in use
    let refused = bench.store.submit("orders", vec![NewJob { id: "second".into(), ..large.clone() }]).await.unwrap_err();
    assert!(matches!(&refused, QueueError::Unavailable(why) if why.contains("full") && why.contains("free space")), "{refused}");
    let first = take(&mut source).await;
    // both in one commit: the submit fails, the end does not
    let outgoing = Outgoing { message: Message::of(vec![b'x'; 200_000]), id: Some("third".into()), ..Outgoing::default() };
    let sink = bench.store.queue("orders", "orders").sink();
    let (ended, sent) = tokio::join!(ack(first), sink.send(outgoing.clone()));
    assert_eq!(ended, Settled::Done);
    assert!(sent.is_err());
    bench.pragma("PRAGMA max_page_count = 100000").await;
    sink.send(outgoing).await.unwrap();
    assert_eq!(finish(&mut source).await, "third");
    assert!(is_empty(&bench, "orders", &mut source).await);
    bench.balances().await;
}

#[tokio::test]
async fn a_settlement_that_the_disk_refuses_gives_the_duty_back() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.submit("orders", "a").await;
    let delivery = take(&mut source).await;
    bench.pragma("PRAGMA query_only = ON").await;
    let unsettled = delivery.receipt.ack(completed()).await.err().unwrap();
    assert!(unsettled.error.to_string().contains("failed"), "{}", unsettled.error);
    unsettled.receipt.extend(Duration::from_secs(60)).await.unwrap();
    bench.pragma("PRAGMA query_only = OFF").await;
    assert_eq!(unsettled.receipt.ack(completed()).await.ok().unwrap(), Settled::Done);
    bench.balances().await;
}

#[tokio::test]
async fn an_action_that_the_disk_refuses_leaves_the_job_where_it_was() {
    use crate::ports::{Action, Admin};
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.submit("orders", "a").await;
    bench.pragma("PRAGMA query_only = ON").await;
    let cancel = Action::Cancel { by: "ann".into(), discard: true };
    assert!(bench.store.act("orders", "a", &cancel).await.is_err());
    bench.pragma("PRAGMA query_only = OFF").await;
    assert_eq!(finish(&mut source).await, "a");
}
