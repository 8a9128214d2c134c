//! A start mark outlives the worker that wrote it.

use windlass::job::Life;
use windlass::queues::rabbitmq::config::{Address, RabbitmqConfig, Topology};

use crate::server::{Server, ack, one, open, sent, source_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn a_mark_in_rabbitmq_is_seen_by_the_next_worker_and_gone_once_the_job_is_settled() {
    let server = Server::up();
    let (queue, other) = (server.queue("q"), server.queue("q"));
    for body in ["a", "b"] {
        sent(&queue, body).await;
    }
    let mut source = source_of(&queue).await;
    let (marked, _innocent) = (one(&mut source).await, one(&mut source).await);
    marked.receipt.mark(&Life { suspect: true, attempt: 2, ..Life::default() }).await.unwrap();
    server.ctl(&["close_all_connections", "as if the worker had died"]);
    drop(source);
    let mut source = source_of(&other).await;
    let life = |delivery: &windlass::ports::Delivery| {
        delivery.message.header("windlass-job").map(|json| serde_json::from_slice::<Life>(json).unwrap())
    };
    let (again, innocent) = (one(&mut source).await, one(&mut source).await);
    assert!(life(&again).is_some_and(|life| life.suspect && life.attempt == 2));
    assert_eq!((again.unsettled, innocent.unsettled, life(&innocent)), (1, 1, None));
    // the run was lived through: what lies before it is held against the job no more
    again.receipt.mark(&Life { attempt: 3, ..Life::default() }).await.unwrap();
    server.ctl(&["close_all_connections", "once more"]);
    let again = one(&mut source).await;
    assert_eq!((life(&again).map(|life| (life.suspect, life.attempt)), again.unsettled), (Some((false, 3)), 1));
    ack(again).await;
    // the same bytes again are another job
    sent(&queue, "a").await;
    drop(innocent);
    server.ctl(&["close_all_connections", "and again"]);
    for _ in 0..2 {
        let delivery = one(&mut source).await;
        assert_eq!(life(&delivery), None);
        ack(delivery).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn a_user_of_rabbitmq_who_may_not_make_marks_is_told_with_the_fix() {
    let server = Server::up();
    sent(&server.queue("q"), "a").await;
    server.ctl(&["add_user", "limited", "secret"]);
    server.ctl(&["set_permissions", "limited", "^$", ".*", ".*"]);
    let url = Address::new(&server.url.replace("guest:guest", "limited:secret"));
    let queue = open("q", &RabbitmqConfig { url, topology: Topology::Use, ..server.config("q") });
    let delivery = one(&mut source_of(&queue).await).await;
    let refused = delivery.receipt.mark(&Life { suspect: true, ..Life::default() }).await.unwrap_err().to_string();
    assert!(refused.contains("may not make the queues q.mark.…") && refused.contains("set_permissions"), "{refused}");
    assert_eq!(ack(delivery).await, windlass::ports::Settled::Done, "what needs no mark goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn after_a_crash_the_marks_of_many_messages_of_rabbitmq_are_all_seen() {
    let server = Server::up();
    let (queue, other) = (server.queue("q"), server.queue("q"));
    for number in 0..100 {
        sent(&queue, &number.to_string()).await;
    }
    let mut source = source_of(&queue).await;
    let mut held = Vec::new();
    for number in 0..100 {
        let delivery = one(&mut source).await;
        if number % 10 == 0 {
            delivery.receipt.mark(&Life { attempt: 1, ..Life::default() }).await.unwrap();
        }
        held.push(delivery);
    }
    drop(source); // or it would take some again in between
    server.ctl(&["close_all_connections", "as if the worker had died"]);
    drop(held);
    let mut source = source_of(&other).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let delivery = one(&mut source).await;
        // what several consumers held comes back consumer by consumer
        let number: u32 = std::str::from_utf8(&delivery.message.body).unwrap().parse().unwrap();
        let marked = delivery.message.header("windlass-job").is_some();
        assert_eq!(marked, number.is_multiple_of(10), "message {number}");
        assert!(marked || delivery.unsettled > 0, "message {number} counts as never delivered");
        assert!(seen.insert(number), "message {number} came twice");
        ack(delivery).await;
    }
}
