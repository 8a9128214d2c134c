//! From delivery to the end: leases, fencing, retries, dead letters.

use super::*;
use crate::job::decode::life_of;
use crate::job::life::Parked;
use crate::job::{FAILURE_HEADER, JOB_HEADER};
use crate::ports::QueueError;

fn short_room() -> Room {
    Room { lease: Duration::from_millis(5), ..room(1) }
}

#[tokio::test]
async fn a_job_that_is_given_back_comes_again_uncounted_and_in_its_place() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    for id in ["a", "b", "c"] {
        bench.submit("orders", id).await;
    }
    let mut first_two = source.next(room(2)).await.unwrap();
    let last = take(&mut source).await;
    drop(first_two.remove(0));
    drop(last);
    drop(first_two);
    let again = source.next(room(3)).await.unwrap();
    assert_eq!(again.iter().map(id_of).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(again.iter().all(|delivery| delivery.unsettled == 0));
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_ends_and_its_holder_is_fenced() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.submit("orders", "a").await;
    let zombie = source.next(short_room()).await.unwrap().remove(0);
    let second = take(&mut source).await;
    assert_eq!((id_of(&second), second.unsettled), ("a", 1));
    assert!(matches!(zombie.receipt.extend(Duration::from_secs(9)).await, Err(QueueError::LeaseLost)));
    assert!(matches!(zombie.receipt.mark(&Life::default()).await, Err(QueueError::LeaseLost)));
    assert_eq!(ack(zombie).await, Settled::Fenced);
    assert_eq!(ack(second).await, Settled::Done);
    assert!(is_empty(&bench, "orders", &mut source).await);
}

#[tokio::test]
async fn a_late_transfer_changes_nothing_and_a_late_drop_gives_nothing_back() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.submit("orders", "a").await;
    let mut zombies = Vec::new();
    for _ in 0..2 {
        zombies.push(source.next(short_room()).await.unwrap().remove(0));
    }
    let holder = take(&mut source).await;
    assert_eq!(holder.unsettled, 2);
    let late = Transfer::Later { at: Timestamp::now(), life: Life::default() };
    assert_eq!(zombies.remove(0).receipt.transfer(late).await.ok().unwrap(), Settled::Fenced);
    drop(zombies);
    assert!(is_empty(&bench, "orders", &mut source).await);
    assert_eq!(ack(holder).await, Settled::Done);
}

#[tokio::test]
async fn a_renewed_lease_outlives_its_first_length() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.submit("orders", "kept").await;
    bench.submit("orders", "lost").await;
    let kept = source.next(short_room()).await.unwrap().remove(0);
    kept.receipt.extend(Duration::from_secs(60)).await.unwrap();
    let lost = source.next(short_room()).await.unwrap().remove(0);
    assert_eq!(finish(&mut source).await, "lost", "only the other lease has ended by now");
    assert_eq!(ack(lost).await, Settled::Fenced);
    assert_eq!(ack(kept).await, Settled::Done);
}

#[tokio::test]
async fn a_retry_comes_at_its_time_with_its_new_life() {
    let mut bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.submit("orders", "a").await;
    let delivery = take(&mut source).await;
    let at = crate::clock::after(Timestamp::now(), Duration::from_secs(600));
    let life = Life { attempt: 1, due: Some(at), ..Life::default() };
    delivery.receipt.transfer(Transfer::Later { at, life }).await.ok().unwrap();
    assert!(is_empty(&bench, "orders", &mut source).await);
    bench.reopen().await;
    let mut source = bench.source("orders").await;
    bench.advance(Duration::from_secs(601)).await;
    let again = take(&mut source).await;
    assert_eq!((id_of(&again), life_of(&again.message).unwrap().attempt), ("a", 1));
}

#[tokio::test]
async fn a_retry_that_is_due_goes_to_the_end_of_its_lane_at_once() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.submit("orders", "a").await;
    bench.submit("orders", "b").await;
    let delivery = take(&mut source).await;
    let life = Life { attempt: 1, ..Life::default() };
    delivery.receipt.transfer(Transfer::Later { at: Timestamp::now(), life }).await.ok().unwrap();
    let next = source.next(room(2)).await.unwrap();
    assert_eq!(next.iter().map(id_of).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(life_of(&next[1].message).unwrap().attempt, 1);
}

#[tokio::test]
async fn a_parked_job_comes_back_too() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.submit("orders", "a").await;
    let at = crate::clock::after(Timestamp::now(), Duration::from_secs(60));
    let park = Some(Parked { reason: Class::Unavailable, since: Timestamp::now(), count: 1, round: None });
    let parked = Transfer::Later { at, life: Life { park, ..Life::default() } };
    take(&mut source).await.receipt.transfer(parked).await.ok().unwrap();
    bench.advance(Duration::from_secs(61)).await;
    assert!(life_of(&take(&mut source).await.message).unwrap().park.is_some());
}

#[tokio::test]
async fn a_dead_letter_keeps_its_message_and_lies_in_the_dead_queue() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.submit("orders", "a").await;
    let delivery = take(&mut source).await;
    let original = delivery.message.clone();
    let life = Life { attempt: 20, ..Life::default() };
    let event = Some(Bytes::from_static(b"{\"type\":\"windlass.job.failed\"}"));
    let dead = Transfer::Dead { life, document: Bytes::from_static(b"{\"v\":1}"), event };
    assert_eq!(delivery.receipt.transfer(dead).await.ok().unwrap(), Settled::Done);
    let entry = bench.store.find(Some("orders"), "a").await.unwrap().unwrap();
    assert!(entry.event.unwrap().get().contains("windlass.job.failed"), "its event is kept as long as the dead letter");
    assert!(is_empty(&bench, "orders", &mut source).await);
    assert!(bench.submit("orders", "a").await.existing, "a dead job's id is still its own");
    let mut dead = bench.source("orders.dead").await;
    let letter = take(&mut dead).await;
    assert_eq!((&letter.message.body, &letter.message.key), (&original.body, &original.key));
    assert_eq!(letter.message.header(FAILURE_HEADER).unwrap(), "{\"v\":1}");
    assert_eq!(letter.message.header(JOB_HEADER), None, "its life is in the failure");
    let found = bench.store.find(Some("orders"), "a").await.unwrap().unwrap();
    assert_eq!(found.life.attempt, 20, "and is kept for operators");
}

#[tokio::test]
async fn a_start_mark_is_on_disk_and_on_the_next_delivery() {
    let mut bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.submit("orders", "a").await;
    let delivery = take(&mut source).await;
    delivery.receipt.mark(&Life { suspect: true, ..Life::default() }).await.unwrap();
    drop(delivery);
    let again = take(&mut source).await;
    assert!(life_of(&again.message).unwrap().suspect);
    drop((again, source));
    bench.crash().await.unwrap();
    let mut source = bench.source("orders").await;
    assert!(life_of(&take(&mut source).await.message).unwrap().suspect);
}

#[tokio::test]
async fn a_settlement_whose_waiter_has_gone_still_happens() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    bench.submit("orders", "a").await;
    let delivery = take(&mut source).await;
    let ack = delivery.receipt.ack(completed());
    drop(futures_util::FutureExt::now_or_never(ack));
    assert!(is_empty(&bench, "orders", &mut source).await);
}

#[tokio::test]
async fn a_job_that_moves_in_the_same_commit_as_an_arrival_is_not_overtaken_and_lost() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    let due = crate::clock::after(bench.now(), Duration::from_secs(3600));
    let action = crate::ports::Action::RunNow;
    for number in 0..50 {
        let (retried, delayed, new) = (format!("retried-{number}"), format!("delayed-{number}"), format!("new-{number}"));
        bench.submit("orders", &retried).await;
        let delivery = take(&mut source).await;
        bench.submit_job("orders", NewJob { due: Some(due), ..job(&delayed) }).await;
        let again = delivery.receipt.transfer(Transfer::Later { at: bench.now(), life: Life::default() });
        let act = bench.store.act("orders", &delayed, &action);
        let (settled, acted, _) = futures_util::join!(again, act, bench.submit("orders", &new));
        assert_eq!((settled.ok().unwrap(), acted.unwrap()), (Settled::Done, crate::ports::Acted::Done));
        let mut ids = Vec::new();
        while ids.len() < 3 {
            let finish = tokio::time::timeout(Duration::from_secs(10), finish(&mut source));
            ids.push(finish.await.expect("a job is lost"));
        }
        ids.sort();
        assert_eq!(ids, [delayed, new, retried]);
    }
}
