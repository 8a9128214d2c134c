//! What an owner finds that another one left: in order, by a kill, or while it is still there.

use super::*;
use crate::ports::Admin as _;

#[tokio::test]
async fn what_was_waiting_or_leased_is_there_after_a_kill() {
    let mut bench = Bench::new();
    let mut source = bench.source("orders").await;
    for id in ["done", "leased", "waiting"] {
        bench.submit("orders", id).await;
    }
    ack(take(&mut source).await).await;
    let leased = take(&mut source).await;
    bench.crash().await.unwrap();
    drop(leased);
    let mut source = bench.source("orders").await;
    let first = take(&mut source).await;
    let second = take(&mut source).await;
    assert_eq!((id_of(&first), first.unsettled), ("leased", 1));
    assert_eq!((id_of(&second), second.unsettled), ("waiting", 0), "it never ran, so nothing is held against it");
    ack(first).await;
    ack(second).await;
    assert!(is_empty(&bench, "orders", &mut source).await);
}

#[tokio::test]
async fn suspicion_grows_with_every_kill_and_not_with_an_orderly_stop() {
    let mut bench = Bench::new();
    bench.submit("orders", "a").await;
    for unsettled in 0..3 {
        let mut source = bench.source("orders").await;
        let delivery = take(&mut source).await;
        assert_eq!(delivery.unsettled, unsettled);
        bench.crash().await.unwrap();
        drop(delivery);
    }
    let mut source = bench.source("orders").await;
    let delivery = take(&mut source).await;
    bench.reopen().await;
    drop(delivery);
    let mut source = bench.source("orders").await;
    assert_eq!(take(&mut source).await.unsettled, 3);
}

#[tokio::test]
async fn a_job_that_was_given_back_before_the_kill_is_not_suspected() {
    let mut bench = Bench::new();
    bench.submit("orders", "a").await;
    let mut source = bench.source("orders").await;
    drop(take(&mut source).await);
    bench.crash().await.unwrap();
    let mut source = bench.source("orders").await;
    assert_eq!(take(&mut source).await.unsettled, 0);
}

#[tokio::test]
async fn a_store_that_is_open_is_refused_to_a_second_owner() {
    let bench = Bench::new();
    let refused = Store::open(bench.options.clone()).err().unwrap().to_string();
    assert!(refused.contains("is open in process"), "{refused}");
}

#[tokio::test]
async fn after_closing_everything_is_refused_with_a_sentence() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.store.close().await;
    let submit = bench.store.submit("orders", vec![job("a")]).await.unwrap_err().to_string();
    assert!(submit.contains("is closed"), "{submit}");
    assert!(source.next(room(1)).await.err().unwrap().to_string().contains("is closed"));
}

#[tokio::test]
async fn closing_wakes_a_source_that_waits() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    let (next, ()) = tokio::join!(source.next(room(1)), bench.store.close());
    assert!(next.err().unwrap().to_string().contains("is closed"));
}

#[tokio::test]
async fn places_are_not_used_again_after_a_restart() {
    let mut bench = Bench::new();
    for round in 0..3 {
        bench.submit("orders", &format!("{round}")).await;
        bench.crash().await.unwrap();
    }
    let mut source = bench.source("orders").await;
    let all = source.next(room(9)).await.unwrap();
    assert_eq!(all.iter().map(id_of).collect::<Vec<_>>(), ["0", "1", "2"]);
}
