//! A start mark outlives the worker that wrote it.

use windlass::job::Life;

use crate::server::{Server, ack, one, sent, source_of};

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
