//! What operators do to single jobs, and what they see of it.

use super::*;
use crate::job::decode::life_of;
use crate::job::{FAILURE_HEADER, Header};
use crate::ports::{Acted, Action, Admin, Outgoing, State};

fn cancel(discard: bool) -> Action {
    Action::Cancel { by: "ann".into(), discard }
}

async fn state(bench: &Bench, id: &str) -> Option<State> {
    bench.store.find(Some("orders"), id).await.unwrap().map(|entry| entry.state)
}

async fn act(bench: &Bench, id: &str, action: &Action) -> Acted {
    bench.store.act("orders", id, action).await.unwrap()
}

/// A job due in an hour.
async fn delayed(bench: &Bench, id: &str) {
    let due = crate::clock::after(bench.now(), Duration::from_secs(3600));
    bench.submit_job("orders", NewJob { due: Some(due), ..job(id) }).await;
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_into_the_dead_letters() {
    for in_memory in [true, false] {
        let bench = Bench::new();
        let mut source = if in_memory { Some(bench.source("orders").await) } else { None };
        bench.submit("orders", "a").await;
        assert_eq!(act(&bench, "a", &cancel(false)).await, Acted::Done);
        let entry = bench.store.find(None, "a").await.unwrap().unwrap();
        assert_eq!((entry.state, &*entry.queue), (State::Dead, "orders"));
        let failure = entry.failure.unwrap();
        assert_eq!((failure.reason, &*failure.message), (Reason::Class(Class::Aborted), "cancelled by ann"));
        assert_eq!(failure.kind.as_deref(), Some("test"));
        if source.is_none() {
            source = Some(bench.source("orders").await);
        }
        assert!(is_empty(&bench, "orders", source.as_mut().unwrap()).await);
        bench.balances().await;
    }
}

#[tokio::test]
async fn a_delayed_job_is_discarded_for_good() {
    let bench = Bench::new();
    delayed(&bench, "a").await;
    assert_eq!(act(&bench, "a", &cancel(true)).await, Acted::Done);
    let entry = bench.store.find(Some("orders"), "a").await.unwrap().unwrap();
    assert_eq!(entry.state, State::Discarded);
    bench.advance(Duration::from_secs(7200)).await;
    let mut source = bench.source("orders").await;
    assert!(is_empty(&bench, "orders", &mut source).await);
    bench.balances().await;
}

#[tokio::test]
async fn a_running_job_is_not_for_the_store_to_cancel() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.submit("orders", "a").await;
    let running = take(&mut source).await;
    assert_eq!(act(&bench, "a", &cancel(true)).await, Acted::NotNow(State::Running));
    assert_eq!(state(&bench, "a").await, Some(State::Running));
    assert_eq!(ack(running).await, Settled::Done);
    assert_eq!(act(&bench, "a", &cancel(true)).await, Acted::NotNow(State::Completed));
    assert_eq!(act(&bench, "b", &cancel(true)).await, Acted::NotFound);
}

#[tokio::test]
async fn a_job_deep_in_the_backlog_is_cancelled_before_it_is_read() {
    let bench = Bench::new();
    let jobs = (0..6000).map(|number| job(&format!("{number}"))).collect();
    bench.store.submit("orders", jobs).await.unwrap();
    let mut source = bench.source("orders").await;
    let first = take(&mut source).await;
    assert_eq!(act(&bench, "5999", &cancel(true)).await, Acted::Done);
    drop(first);
    let mut ids = Vec::new();
    while ids.len() < 5999 {
        let deliveries = source.next(room(1000)).await.unwrap();
        ids.extend(deliveries.iter().map(|delivery| id_of(delivery).to_owned()));
        futures_util::future::join_all(deliveries.into_iter().map(ack)).await;
    }
    assert!(!ids.contains(&"5999".to_owned()));
    assert!(is_empty(&bench, "orders", &mut source).await);
    bench.balances().await;
}

#[tokio::test]
async fn a_delayed_and_a_parked_job_run_now_when_asked() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    delayed(&bench, "delayed").await;
    bench.submit("orders", "parked").await;
    let at = crate::clock::after(bench.now(), Duration::from_secs(3600));
    let park = Some(crate::job::life::Parked { reason: Class::Throttled, since: bench.now(), count: 1, round: None });
    let later = Transfer::Later { at, life: Life { park, ..Life::default() } };
    take(&mut source).await.receipt.transfer(later).await.ok().unwrap();
    assert_eq!(state(&bench, "parked").await, Some(State::Parked));
    for id in ["parked", "delayed"] {
        assert_eq!(act(&bench, id, &Action::RunNow).await, Acted::Done);
        let delivery = take(&mut source).await;
        assert_eq!(id_of(&delivery), id);
        assert!(life_of(&delivery.message).unwrap().park.is_none());
        ack(delivery).await;
    }
    bench.submit("orders", "waiting").await;
    assert_eq!(act(&bench, "waiting", &Action::RunNow).await, Acted::NotNow(State::Waiting));
    assert_eq!(finish(&mut source).await, "waiting", "it was not taken away");
    bench.balances().await;
}

#[tokio::test]
async fn a_replayed_dead_letter_starts_a_new_life_and_keeps_its_priority() {
    let mut bench = Bench::new();
    let mut source = bench.source("orders").await;
    let message = Message { key: Some("k".into()), ..job("a").message };
    bench.submit_job("orders", NewJob { priority: 7, message: message.clone(), ..job("a") }).await;
    let life = Life { attempt: 20, crashes: 1, generation: 20, first_seen: Some(bench.now()), ..Life::default() };
    let document = Bytes::from_static(b"{}");
    take(&mut source).await.receipt.transfer(Transfer::Dead { life, document, event: None }).await.ok().unwrap();
    bench.reopen().await;
    assert_eq!(act(&bench, "a", &Action::RunNow).await, Acted::NotNow(State::Dead));
    assert_eq!(bench.store.act("orders.dead", "a", &Action::Replay).await.unwrap(), Acted::Done);
    let mut source = bench.source("orders").await;
    let again = take(&mut source).await;
    let life = life_of(&again.message).unwrap();
    assert_eq!((life.attempt, life.crashes, life.replay, life.generation), (0, 0, 1, 21));
    assert!(life.first_seen.is_some());
    assert!(again.message.header(FAILURE_HEADER).is_none());
    assert_eq!((&again.message.body, &again.message.key), (&message.body, &message.key));
    assert_eq!(bench.store.find(None, "a").await.unwrap().unwrap().priority, 7);
    assert_eq!(act(&bench, "a", &Action::Replay).await, Acted::NotNow(State::Running));
    ack(again).await;
    bench.balances().await;
}

#[tokio::test]
async fn a_dead_letter_is_discarded() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.bury(&mut source, "a", "no").await;
    let discard = Action::Discard { by: "ann".into() };
    assert_eq!(act(&bench, "a", &discard).await, Acted::Done);
    assert_eq!(state(&bench, "a").await, Some(State::Discarded));
    bench.submit("orders", "b").await;
    assert_eq!(act(&bench, "b", &discard).await, Acted::NotNow(State::Waiting));
    bench.balances().await;
}

#[tokio::test]
async fn a_dead_letter_that_another_system_sent_is_replayed_into_the_queue_it_belongs_to() {
    let bench = Bench::new();
    let mut message = job("a").message;
    message.headers.push(Header::new(FAILURE_HEADER, "{}"));
    let queue = bench.store.queue("orders", "orders");
    let outgoing = Outgoing { message, id: Some("a".into()), ..Outgoing::default() };
    queue.dead_letters().send(outgoing).await.unwrap();
    assert_eq!(bench.store.act("orders.dead", "a", &Action::Replay).await.unwrap(), Acted::Done);
    let mut source = source_of(&queue).await;
    assert_eq!(finish(&mut source).await, "a");
    assert_eq!(state(&bench, "a").await, Some(State::Completed));
    bench.balances().await;
}

#[tokio::test]
async fn a_paused_queue_hands_out_nothing_until_it_is_resumed_even_after_a_restart() {
    let mut bench = Bench::new();
    bench.submit("orders", "a").await;
    bench.store.pause("orders", true).await.unwrap();
    bench.reopen().await;
    let mut source = bench.source("orders").await;
    bench.submit("orders", "b").await;
    {
        let next = source.next(room(1));
        tokio::pin!(next);
        assert!(futures_util::FutureExt::now_or_never(next.as_mut()).is_none());
        assert!(bench.store.stats().await.unwrap()[0].paused);
        assert!(futures_util::FutureExt::now_or_never(next.as_mut()).is_none());
        bench.store.pause("orders", false).await.unwrap();
    }
    assert_eq!(finish(&mut source).await, "a");
    assert_eq!(finish(&mut source).await, "b");
}

#[tokio::test]
async fn whoever_waits_for_the_end_of_a_job_is_told() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.submit("orders", "a").await;
    let wait = Duration::from_secs(60);
    let (entry, _) = tokio::join!(bench.store.ended("orders", "a", wait), finish(&mut source));
    let entry = entry.unwrap().unwrap();
    assert_eq!(entry.state, State::Completed);
    assert!(entry.event.unwrap().get().contains("windlass.job.completed"));
    let (entry, ()) = tokio::join!(bench.store.ended("orders", "b", wait), async {});
    assert!(entry.unwrap().is_none(), "an unknown job is not waited for");
    bench.submit("orders", "c").await;
    let standing = bench.store.ended("orders", "c", Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(standing.state, State::Waiting);
    let cancel = cancel(false);
    let (entry, acted) = tokio::join!(bench.store.ended("orders", "c", wait), bench.store.act("orders", "c", &cancel));
    assert_eq!((entry.unwrap().unwrap().state, acted.unwrap()), (State::Dead, Acted::Done));
}
