//! Delays through several queues, again and again for one message.

use std::time::Duration;

use jiff::Timestamp;
use windlass::clock::{after, between};
use windlass::ports::Outgoing;

use crate::server::{Server, ack, one, sent, source_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn a_retry_through_several_delay_queues_of_rabbitmq_comes_back_each_time_and_in_time() {
    let server = Server::up();
    let queue = server.queue("orders.of-a#shop");
    sent(&queue, "a").await;
    let mut source = source_of(&queue).await;
    for _ in 0..4 {
        let delivery = one(&mut source).await;
        let due = after(Timestamp::now(), Duration::from_millis(3400));
        let outgoing = Outgoing { message: delivery.message.clone(), due: Some(due), ..Outgoing::default() };
        queue.sink().send(outgoing).await.unwrap();
        ack(delivery).await;
        let back = one(&mut source).await;
        let came = Timestamp::now();
        assert!(came >= due && between(due, came) < Duration::from_secs(1), "due {due}, came {came}");
        assert!(back.message.headers.is_empty(), "{:?}", back.message.headers);
        drop(back);
    }
}
