//! From submit to delivery: ids, priorities, delays, windows.

use std::collections::HashSet;

use super::*;
use crate::clock::after;
use crate::job::{Header, JOB_HEADER};
use crate::ports::Admin as _;
use crate::ports::Outgoing;

#[tokio::test]
async fn a_submitted_job_is_delivered_as_it_was_sent() {
    let bench = Bench::new();
    let mut message = Message { key: Some("customer".into()), ..Message::of("any bytes") };
    message.headers.push(Header::new("x-colour", vec![0xff]));
    bench.submit_job("orders", NewJob { message: message.clone(), ..job("a") }).await;
    let mut source = bench.source("orders").await;
    let delivery = take(&mut source).await;
    assert_eq!(delivery.message, message);
    assert_eq!((&*delivery.origin.queue, id_of(&delivery), delivery.unsettled), ("orders", "a", 0));
    assert!(delivery.published.is_some());
}

#[tokio::test]
async fn a_known_id_is_answered_with_the_job_that_has_it_and_changes_nothing() {
    let mut bench = Bench::new();
    assert!(!bench.submit("orders", "a").await.existing);
    assert!(bench.submit_job("orders", NewJob { message: Message::of("other"), ..job("a") }).await.existing);
    assert!(!bench.submit("invoices", "a").await.existing, "another queue has its own ids");
    bench.reopen().await;
    assert!(bench.submit("orders", "a").await.existing);
    let mut source = bench.source("orders").await;
    let delivery = take(&mut source).await;
    assert_eq!(delivery.message, job("a").message);
    ack(delivery).await;
    assert!(bench.submit("orders", "a").await.existing, "an ended job's id is known for a while");
    assert!(is_empty(&bench, "orders", &mut source).await);
}

#[tokio::test]
async fn ids_repeated_within_one_submit_are_told_apart() {
    let bench = Bench::new();
    let answers = bench.store.submit("orders", vec![job("a"), job("b"), job("a")]).await.unwrap();
    let existing: Vec<bool> = answers.iter().map(|answer| answer.existing).collect();
    assert_eq!(existing, [false, false, true]);
}

#[tokio::test]
async fn a_sink_confirms_a_known_id_without_a_second_copy() {
    let bench = Bench::new();
    let queue = bench.store.queue("orders", "orders");
    let outgoing = Outgoing { message: Message::of("{}"), id: Some("a".into()), ..Outgoing::default() };
    queue.sink().send(outgoing.clone()).await.unwrap();
    queue.sink().send(outgoing).await.unwrap();
    let mut source = source_of(&queue).await;
    assert_eq!(finish(&mut source).await, "a");
    assert!(is_empty(&bench, "orders", &mut source).await);
}

#[tokio::test]
async fn an_id_that_is_too_long_is_refused() {
    let bench = Bench::new();
    let error = bench.store.submit("orders", vec![job(&"x".repeat(301))]).await.unwrap_err().to_string();
    assert!(error.contains("301 bytes"), "{error}");
    assert!(bench.store.submit("orders", vec![job("")]).await.is_err());
}

#[tokio::test]
async fn higher_priorities_go_first_and_equals_in_the_order_they_came() {
    for loaded_from_file in [false, true] {
        let mut bench = Bench::new();
        let mut source = bench.source("orders").await;
        for (id, priority) in [("low", 0), ("first", 4), ("second", 4), ("high", 9)] {
            bench.submit_job("orders", NewJob { priority, ..job(id) }).await;
        }
        if loaded_from_file {
            bench.reopen().await;
            source = bench.source("orders").await;
        }
        let mut order = Vec::new();
        for _ in 0..4 {
            order.push(finish(&mut source).await);
        }
        assert_eq!(order, ["high", "first", "second", "low"]);
    }
}

#[tokio::test]
async fn a_delayed_job_comes_when_its_time_has_come() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    let due = after(Timestamp::now(), Duration::from_secs(3600));
    bench.submit_job("orders", NewJob { due: Some(due), ..job("later") }).await;
    assert!(is_empty(&bench, "orders", &mut source).await);
    bench.advance(Duration::from_secs(3601)).await;
    assert_eq!(finish(&mut source).await, "later");
}

#[tokio::test]
async fn a_delay_survives_a_restart_and_a_past_due_time_is_now() {
    let mut bench = Bench::new();
    let due = after(Timestamp::now(), Duration::from_secs(60));
    bench.submit_job("orders", NewJob { due: Some(due), ..job("later") }).await;
    bench.submit_job("orders", NewJob { due: Some(Timestamp::UNIX_EPOCH), ..job("now") }).await;
    bench.reopen().await;
    let mut source = bench.source("orders").await;
    assert_eq!(finish(&mut source).await, "now");
    bench.advance(Duration::from_secs(61)).await;
    assert_eq!(finish(&mut source).await, "later");
}

#[tokio::test]
async fn a_clock_that_went_back_delays_a_job_but_does_not_lose_it() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    let due = after(Timestamp::now(), Duration::from_millis(20));
    bench.options.clock.offset.store(-3_600_000, Ordering::SeqCst);
    bench.submit_job("orders", NewJob { due: Some(due), ..job("later") }).await;
    assert!(is_empty(&bench, "orders", &mut source).await);
    bench.options.clock.offset.store(0, Ordering::SeqCst);
    assert_eq!(finish(&mut source).await, "later");
}

#[tokio::test]
async fn a_clock_that_goes_back_by_a_day_before_a_restart_forgets_neither_jobs_nor_ends() {
    let mut bench = Bench::new();
    bench.submit("orders", "ended").await;
    assert_eq!(finish(&mut bench.source("orders").await).await, "ended");
    bench.submit("orders", "waits").await;
    let due = after(Timestamp::now(), Duration::from_secs(60));
    bench.submit_job("orders", NewJob { due: Some(due), ..job("later") }).await;
    bench.options.clock.offset.store(-86_400_000, Ordering::SeqCst);
    bench.reopen().await;
    let mut source = bench.source("orders").await;
    assert_eq!(finish(&mut source).await, "waits");
    assert!(bench.submit("orders", "ended").await.existing);
    assert!(is_empty(&bench, "orders", &mut source).await);
    bench.options.clock.offset.store(120_000, Ordering::SeqCst);
    bench.submit("orders", "next").await;
    let mut last = [finish(&mut source).await, finish(&mut source).await];
    last.sort();
    assert_eq!(last, ["later", "next"]);
    bench.balances().await;
}

#[tokio::test]
async fn a_backlog_larger_than_the_window_is_delivered_once_and_in_order() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    let total = 10_000;
    for start in (0..total).step_by(1000) {
        let jobs = (start..start + 1000).map(|number| job(&format!("{number:05}"))).collect();
        bench.store.submit("orders", jobs).await.unwrap();
    }
    let mut taken = Vec::new();
    while taken.len() < total {
        let deliveries = source.next(room(700)).await.unwrap();
        taken.extend(deliveries.iter().map(|delivery| id_of(delivery).to_owned()));
        futures_util::future::join_all(deliveries.into_iter().map(ack)).await;
    }
    assert!(taken.is_sorted());
    assert_eq!(taken.iter().collect::<HashSet<_>>().len(), total);
    assert!(is_empty(&bench, "orders", &mut source).await);
}

#[tokio::test]
async fn large_messages_pass_one_by_one_through_a_window_of_bytes() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    let body = vec![b'x'; 3 << 20];
    for id in ["a", "b", "c"] {
        bench.submit_job("orders", NewJob { message: Message::of(body.clone()), ..job(id) }).await;
    }
    for id in ["a", "b", "c"] {
        let mut deliveries = source.next(room(10)).await.unwrap();
        assert_eq!(deliveries.len(), 1, "the first may exceed the room, a second may not");
        assert_eq!(id_of(&deliveries[0]), id);
        ack(deliveries.remove(0)).await;
    }
}

#[tokio::test]
async fn a_dropped_next_takes_nothing() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    {
        let next = source.next(room(1));
        tokio::pin!(next);
        let waiting = futures_util::FutureExt::now_or_never(next.as_mut());
        assert!(waiting.is_none());
        bench.submit("orders", "a").await;
    }
    assert_eq!(finish(&mut source).await, "a");
}

#[tokio::test]
async fn a_second_source_on_a_queue_is_refused_until_the_first_is_dropped() {
    let bench = Bench::new();
    let queue = bench.store.queue("orders", "orders");
    let first = source_of(&queue).await;
    assert!(queue.source(sort(&Decoding::Envelope)).await.err().unwrap().to_string().contains("source already"));
    drop(first);
    bench.submit("orders", "a").await;
    let mut second = source_of(&queue).await;
    assert_eq!(finish(&mut second).await, "a");
}

#[tokio::test]
async fn the_life_of_a_job_that_comes_from_another_queue_is_kept() {
    let mut bench = Bench::new();
    let mut message = Message::of("{}");
    message.set_header(JOB_HEADER, r#"{"attempt":3}"#);
    message.headers.push(Header::new("x", "y"));
    bench.submit_job("orders", NewJob { message, ..job("a") }).await;
    bench.reopen().await;
    let mut source = bench.source("orders").await;
    let delivery = take(&mut source).await;
    assert_eq!(delivery.message.header(JOB_HEADER).unwrap(), r#"{"attempt":3}"#);
    assert_eq!(delivery.message.header("x").unwrap(), "y");
}

#[tokio::test]
async fn a_small_submit_waits_for_one_huge_one_at_most() {
    let bench = Bench::new();
    let huge = |name: usize| {
        let jobs = (0..2000).map(|number| job(&format!("huge-{name}-{number}"))).collect();
        bench.store.submit("orders", jobs)
    };
    // all stand in line before the small one does
    let (submitted, small) = tokio::join!(futures_util::future::join_all((0..4).map(huge)), bench.submit("orders", "small"));
    assert!(submitted.iter().all(Result::is_ok) && !small.existing);
    let cursor = crate::ports::Cursor { after: None, limit: 2001 };
    let page = bench.store.browse(&crate::ports::Filter::default(), &cursor).await.unwrap();
    assert!(page.entries.iter().any(|entry| &*entry.id == "small"), "only one stands before it");
    bench.balances().await;
}
