//! Results and ids are kept for as long, and as many, as was asked for.

use super::*;
use crate::ports::{Admin, State};

async fn complete(bench: &Bench, source: &mut Box<dyn Source>, ids: std::ops::Range<u32>) {
    for id in ids {
        bench.submit("orders", &format!("{id:04}")).await;
        finish(source).await;
    }
}

async fn event_is_kept(bench: &Bench, id: &str) -> bool {
    bench.store.find(Some("orders"), id).await.unwrap().is_some_and(|entry| entry.event.is_some())
}

#[tokio::test]
async fn only_the_latest_results_are_kept_and_older_ends_are_still_known() {
    let bench = Bench::with(|options| options.results_rows = 3);
    let mut source = bench.source("orders").await;
    complete(&bench, &mut source, 0..6).await;
    for (id, kept) in [("0000", false), ("0002", false), ("0003", true), ("0005", true)] {
        assert_eq!(event_is_kept(&bench, id).await, kept, "{id}");
        let entry = bench.store.find(Some("orders"), id).await.unwrap().unwrap();
        assert_eq!(entry.state, State::Completed);
    }
    assert!(bench.submit("orders", "0000").await.existing);
    bench.balances().await;
}

#[tokio::test]
async fn no_results_are_kept_where_none_are_wanted() {
    let bench = Bench::with(|options| options.results_rows = 0);
    let mut source = bench.source("orders").await;
    complete(&bench, &mut source, 0..1).await;
    assert!(!event_is_kept(&bench, "0000").await);
    assert!(bench.submit("orders", "0000").await.existing);
}

#[tokio::test]
async fn old_results_and_ids_go_with_time() {
    let bench = Bench::with(|options| {
        options.results_for = Duration::from_secs(60);
        options.dedupe_for = Duration::from_secs(3600);
    });
    let mut source = bench.source("orders").await;
    complete(&bench, &mut source, 0..2).await;
    bench.advance(Duration::from_secs(61)).await;
    while event_is_kept(&bench, "0001").await {
        tokio::task::yield_now().await;
    }
    assert!(bench.submit("orders", "0000").await.existing);
    bench.advance(Duration::from_secs(3600)).await;
    while bench.store.find(Some("orders"), "0000").await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    assert!(!bench.submit("orders", "0000").await.existing, "a forgotten id is a new job");
    assert_eq!(finish(&mut source).await, "0000");
    assert_eq!(bench.store.audit().await.unwrap().evicted, 0, "they were forgotten in time, not before it");
    bench.balances().await;
}

#[tokio::test]
async fn too_many_ids_of_ended_jobs_are_evicted_oldest_first_and_counted() {
    let bench = Bench::with(|options| options.dedupe_rows = 10);
    let mut source = bench.source("orders").await;
    bench.submit("orders", "waiting-0").await;
    let standing = take(&mut source).await;
    complete(&bench, &mut source, 0..40).await;
    let audit = bench.store.audit().await.unwrap();
    assert!(audit.ok && audit.evicted >= 20, "{audit:#?}");
    for (id, known) in [("0000", false), ("0039", true), ("waiting-0", true)] {
        assert_eq!(bench.store.find(Some("orders"), id).await.unwrap().is_some(), known, "{id}");
    }
    ack(standing).await;
}
