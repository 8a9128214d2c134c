//! Counts and listings.

use super::*;
use crate::ports::{Admin, Cursor, Entry, Filter, State};

/// All pages of a listing.
async fn list(bench: &Bench, filter: &Filter, limit: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut after = None;
    loop {
        let page = bench.store.browse(filter, &Cursor { after, limit }).await.unwrap();
        assert!(page.entries.len() <= limit);
        entries.extend(page.entries);
        after = page.next;
        if after.is_none() {
            return entries;
        }
    }
}

async fn ids(bench: &Bench, filter: &Filter) -> Vec<String> {
    list(bench, filter, 3).await.iter().map(|entry| entry.id.to_string()).collect()
}

fn in_state(state: State) -> Filter {
    Filter { state: Some(state), ..Filter::default() }
}

/// One job in each state, named after it, in the queue `orders`.
async fn zoo() -> (Bench, Box<dyn Source>, Delivery) {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.bury(&mut source, "dead", "it broke on tuesday").await;
    bench.submit("orders", "completed").await;
    finish(&mut source).await;
    bench.submit("orders", "parked").await;
    let at = crate::clock::after(bench.now(), Duration::from_secs(3600));
    let park = Some(crate::job::life::Parked { reason: Class::NoRoute, since: bench.now(), count: 1, round: None });
    let later = Transfer::Later { at, life: Life { park, ..Life::default() } };
    take(&mut source).await.receipt.transfer(later).await.ok().unwrap();
    bench.submit_job("orders", NewJob { due: Some(at), ..job("delayed") }).await;
    bench.submit("orders", "running").await;
    let running = take(&mut source).await;
    bench.submit("orders", "waiting").await;
    (bench, source, running)
}

#[tokio::test]
async fn every_state_is_counted_and_listed() {
    let (bench, _source, running) = zoo().await;
    let stats = bench.store.stats().await.unwrap();
    let names: Vec<&str> = stats.iter().map(|queue| &*queue.queue).collect();
    assert_eq!(names, ["orders", "orders.dead"]);
    let orders = &stats[0];
    assert_eq!((orders.waiting, orders.delayed, orders.parked, orders.running, orders.dead), (1, Some(1), 1, Some(1), 1));
    assert_eq!((orders.completed, orders.discarded), (Some(1), Some(0)));
    assert!(orders.oldest.is_some());
    assert_eq!((stats[1].dead, stats[1].waiting), (0, 0), "each job is counted once");
    for (state, id) in [
        (State::Dead, "dead"),
        (State::Completed, "completed"),
        (State::Parked, "parked"),
        (State::Delayed, "delayed"),
        (State::Running, "running"),
        (State::Waiting, "waiting"),
    ] {
        assert_eq!(ids(&bench, &in_state(state)).await, [id]);
        let entry = bench.store.find(Some("orders"), id).await.unwrap().unwrap();
        assert_eq!((entry.state, &*entry.queue), (state, "orders"));
        assert_eq!(entry.message.is_some(), state != State::Completed);
    }
    let all = list(&bench, &Filter::default(), 4).await;
    assert_eq!(all.len(), 6);
    assert!(all.iter().filter(|entry| entry.state != State::Completed).all(|entry| entry.kind.as_deref() == Some("test")));
    drop(running);
}

#[tokio::test]
async fn a_filter_names_jobs_by_what_is_known_of_them() {
    let (bench, _source, running) = zoo().await;
    let filter = |json: &str| serde_json::from_str::<Filter>(json).unwrap();
    for (json, expected) in [
        (r#"{"reason":"failed"}"#, &["dead"][..]),
        (r#"{"class":"no_route"}"#, &["parked"]),
        (r#"{"text":"tuesday"}"#, &["dead"]),
        (r#"{"text":"\"waiting\""}"#, &["waiting"]),
        (r#"{"queue":"orders.dead"}"#, &["dead"]),
        (r#"{"queue":"orders","state":"dead"}"#, &["dead"]),
        (r#"{"queue":"invoices"}"#, &[]),
        (r#"{"type":"te*","state":"waiting"}"#, &["waiting"]),
        (r#"{"type":"other.*"}"#, &[]),
        (r#"{"tenant":"acme"}"#, &[]),
        (r#"{"older_than":"1h"}"#, &[]),
        (r#"{"newer_than":"1h","state":"delayed"}"#, &["delayed"]),
        (r#"{"route":"none"}"#, &[]),
    ] {
        assert_eq!(ids(&bench, &filter(json)).await, expected, "{json}");
    }
    drop(running);
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition() {
    let bench = Bench::new();
    for (queue, priority) in [("a", 4), ("b", 9), ("a", 0), ("b", 4)] {
        let jobs = (0..5).map(|number| NewJob { priority, ..job(&format!("{queue}{priority}{number}")) }).collect();
        bench.store.submit(queue, jobs).await.unwrap();
    }
    let all = ids(&bench, &Filter::default()).await;
    let expected: Vec<String> =
        ["a4", "b9", "a0", "b4"].iter().flat_map(|name| (0..5).map(move |number| format!("{name}{number}"))).collect();
    assert_eq!(all, expected, "oldest first over all queues and priorities");
    let refused = bench.store.browse(&Filter::default(), &Cursor { after: Some("?".into()), limit: 1 }).await.unwrap_err();
    assert!(refused.to_string().contains("cursor"), "{refused}");
}

#[tokio::test]
async fn endings_are_paged_across_their_blocks() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    for round in 0..3 {
        let jobs = (0..4).map(|number| job(&format!("{round}{number}"))).collect();
        bench.store.submit("orders", jobs).await.unwrap();
        let deliveries = source.next(room(4)).await.unwrap();
        futures_util::future::join_all(deliveries.into_iter().map(ack)).await;
    }
    let mut found = ids(&bench, &in_state(State::Completed)).await;
    found.sort();
    let expected: Vec<String> = (0..3).flat_map(|round| (0..4).map(move |number| format!("{round}{number}"))).collect();
    assert_eq!(found, expected);
    let entry = bench.store.find(None, "23").await.unwrap().unwrap();
    assert!(entry.event.is_some() && entry.ended.is_some());
}
