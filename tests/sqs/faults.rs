//! A server that stops answering, and one that is killed: nothing that was confirmed is lost, and what was held too long is
//! nobody's.

use std::time::Duration;

use windlass::ports::{QueueError, Settled};

use crate::world::{LONG, Private, World, ack, message, one, source_of, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts an ElasticMQ"]
async fn a_lease_that_runs_out_while_elasticmq_is_frozen_is_lost_and_its_message_comes_again() {
    let server = Private::up();
    let queue = World::at(&server.endpoint).queue("q");
    queue.create(Some(&[])).await.unwrap();
    queue.sink().send(message("a")).await.unwrap();
    let mut source = source_of(&queue).await;
    let late = within(&mut source, LONG, Duration::from_secs(2)).await;
    server.tell("pause");
    let lost = async {
        while !matches!(late.receipt.extend(LONG).await, Err(QueueError::LeaseLost)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, lost).await.expect("it is held although nobody has renewed it");
    server.tell("resume");
    let again = one(&mut source).await;
    assert_eq!(again.message.body, "a");
    assert_eq!(ack(late).await, Settled::Fenced);
    assert!(again.unsettled >= 1);
    assert_eq!(ack(again).await, Settled::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts an ElasticMQ"]
async fn what_elasticmq_has_confirmed_comes_after_it_was_killed_and_started_again() {
    let server = Private::up();
    let queue = World::at(&server.endpoint).queue("q");
    queue.create(Some(&[])).await.unwrap();
    let mut source = source_of(&queue).await;
    for round in 0..2 {
        for number in 0..50 {
            queue.sink().send(message(&format!("{round}-{number}"))).await.unwrap();
        }
        server.tell(["kill", "stop"][round]);
        let told = tokio::time::timeout(LONG, source.next(crate::world::ROOM)).await.expect("nobody notices");
        drop(told); // an error, or what had come before
        server.tell("start");
    }
    let mut seen = std::collections::HashSet::new();
    while seen.len() < 100 {
        let delivery = one(&mut source).await;
        seen.insert(delivery.message.body.clone());
        ack(delivery).await;
    }
}
