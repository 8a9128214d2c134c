//! Jobs that are parked beside their queue are still that queue's jobs.

use super::*;
use crate::job::life::Parked;
use crate::ports::{Acted, Action, Cursor, Filter, State};

/// Submits a job and parks it for an hour.
async fn parked(bench: &Bench, source: &mut Box<dyn Source>, id: &str) {
    bench.submit("orders", id).await;
    let until = crate::clock::after(bench.now(), Duration::from_secs(3600));
    let park = Parked { reason: Class::Unavailable, since: bench.now(), count: 1, round: None };
    let life = Life { park: Some(park), ..Life::default() };
    let park = Transfer::Park { place: "thumbs".into(), until, life };
    assert_eq!(take(source).await.receipt.transfer(park).await.ok().unwrap(), Settled::Done);
}

async fn state(bench: &Bench, id: &str) -> State {
    let entry = bench.store.find(Some("orders"), id).await.unwrap().unwrap();
    assert_eq!(&*entry.queue, "orders");
    entry.state
}

#[tokio::test]
async fn a_parked_job_is_one_job_of_its_queue_for_whoever_asks() {
    let mut bench = Bench::new();
    let mut source = bench.source("orders").await;
    parked(&bench, &mut source, "a").await;
    assert_eq!(state(&bench, "a").await, State::Parked);
    assert!(bench.submit("orders", "a").await.existing);
    for queue in ["orders", "orders.parked.thumbs"] {
        let filter = Filter { queue: Some(queue.into()), state: Some(State::Parked), ..Filter::default() };
        let page = bench.store.browse(&filter, &Cursor { after: None, limit: 10 }).await.unwrap();
        assert_eq!(page.entries.iter().map(|entry| &*entry.id).collect::<Vec<_>>(), ["a"], "{queue}");
    }
    let stats = bench.store.stats().await.unwrap();
    assert_eq!(
        stats.iter().map(|queue| (&*queue.queue, queue.waiting, queue.parked)).collect::<Vec<_>>(),
        [("orders", 0, 1), ("orders.parked.thumbs", 0, 0)]
    );
    bench.balances().await;
    bench.reopen().await;
    assert_eq!(state(&bench, "a").await, State::Parked);
    let entry = bench.store.ended("orders", "a", Duration::ZERO).await.unwrap().unwrap();
    assert_eq!((entry.state, entry.life.park.unwrap().reason), (State::Parked, Class::Unavailable));
}

#[tokio::test]
async fn an_empty_place_is_not_listed() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    parked(&bench, &mut source, "a").await;
    let mut beside = bench.source("orders.parked.thumbs").await;
    assert_eq!(finish(&mut beside).await, "a");
    let stats = bench.store.stats().await.unwrap();
    assert_eq!(stats.iter().map(|queue| &*queue.queue).collect::<Vec<_>>(), ["orders"]);
    assert_eq!(stats[0].completed, Some(1));
    bench.balances().await;
}

#[tokio::test]
async fn operators_cancel_and_retry_a_parked_job_as_one_of_its_queue() {
    for taken_from in [false, true] {
        let bench = Bench::new();
        let mut source = bench.source("orders").await;
        for id in ["a", "b", "c"] {
            parked(&bench, &mut source, id).await;
        }
        let beside = if taken_from { Some(bench.source("orders.parked.thumbs").await) } else { None };
        let cancel = Action::Cancel { by: "ann".into(), discard: false };
        assert_eq!(bench.store.act("orders", "a", &cancel).await.unwrap(), Acted::Done);
        assert_eq!(bench.store.act("orders", "b", &Action::RunNow).await.unwrap(), Acted::Done);
        assert_eq!((state(&bench, "a").await, state(&bench, "c").await), (State::Dead, State::Parked));
        assert_eq!(finish(&mut source).await, "b");
        assert_eq!(finish(&mut bench.source("orders.dead").await).await, "a");
        drop(beside);
        assert_eq!(finish(&mut bench.source("orders.parked.thumbs").await).await, "c");
        let file = rusqlite::Connection::open(&bench.options.path).unwrap();
        let due: i64 = file.query_row("SELECT count(*) FROM due", [], |row| row.get(0)).unwrap();
        assert_eq!(due, 0, "a due time was left behind");
        bench.balances().await;
    }
}

#[tokio::test]
async fn a_paused_queue_hands_out_none_of_its_parked_jobs() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    parked(&bench, &mut source, "a").await;
    bench.store.pause("orders", true).await.unwrap();
    let mut beside = bench.source("orders.parked.thumbs").await;
    let taken = tokio::time::timeout(Duration::from_millis(200), beside.next(room(1))).await;
    assert!(taken.is_err());
    bench.store.pause("orders", false).await.unwrap();
    assert_eq!(finish(&mut beside).await, "a");
}

#[tokio::test]
async fn what_was_parked_stands_where_it_stood_after_a_crash_and_the_running_one_is_suspected() {
    let mut bench = Bench::new();
    let mut source = bench.source("orders").await;
    for id in ["a", "b"] {
        parked(&bench, &mut source, id).await;
    }
    let mut beside = bench.source("orders.parked.thumbs").await;
    let running = take(&mut beside).await;
    bench.crash().await.unwrap();
    drop(running);
    let mut beside = bench.source("orders.parked.thumbs").await;
    let (first, second) = (take(&mut beside).await, take(&mut beside).await);
    assert_eq!((id_of(&first), first.unsettled, id_of(&second), second.unsettled), ("a", 1, "b", 0));
    bench.balances().await;
}

#[tokio::test]
async fn a_commit_that_fails_leaves_an_overdue_job_in_its_place() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    parked(&bench, &mut source, "a").await;
    let mut beside = bench.source("orders.parked.thumbs").await;
    drop(take(&mut beside).await); // it stands in memory
    bench.pragma("PRAGMA query_only = ON").await;
    bench.advance(Duration::from_secs(3601)).await;
    let held = take(&mut beside).await;
    drop(held);
    bench.pragma("PRAGMA query_only = OFF").await;
    bench.advance(Duration::from_secs(5)).await;
    assert_eq!(finish(&mut source).await, "a");
    bench.balances().await;
}

#[tokio::test]
async fn whether_a_place_is_drained_is_known_before_anybody_takes_from_it() {
    let mut bench = Bench::new();
    let mut source = bench.source("orders").await;
    parked(&bench, &mut source, "a").await;
    let drained = async |bench: &Bench| bench.store.queue("orders", "orders").parked("thumbs").drained().await.unwrap();
    bench.reopen().await;
    assert!(!drained(&bench).await);
    let mut beside = bench.source("orders.parked.thumbs").await;
    assert_eq!(finish(&mut beside).await, "a");
    drop(beside);
    bench.reopen().await;
    assert!(drained(&bench).await);
}
