//! What is wrong is told in a sentence with the fix, and soon.

use windlass::ports::Found;
use windlass::queues::rabbitmq::config::{Address, RabbitmqConfig, Topology};

use crate::server::{LONG, ROOM, Server, message, open, sent, source_of};

/// What the first call to take and the first to send say.
async fn told(config: &RabbitmqConfig) -> [String; 2] {
    let queue = open("q", config);
    let mut source = source_of(&queue).await;
    let taking = tokio::time::timeout(LONG, source.next(ROOM)).await.expect("no word").err().expect("it cannot work");
    let sending =
        tokio::time::timeout(LONG, queue.sink().send(message("a"))).await.expect("no word").expect_err("it cannot work");
    [taking.to_string(), sending.to_string()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn what_cannot_work_with_rabbitmq_is_told_with_the_fix() {
    let server = Server::up();
    let with = |from: &str, to: &str| RabbitmqConfig { url: Address::new(&server.url.replace(from, to)), ..server.config("q") };
    for (config, words) in [
        (with("guest:guest", "guest:hunter2"), "the user or the password is wrong"),
        (with("%2f", "nowhere"), "the virtual host cannot be used"),
        (
            RabbitmqConfig { url: Address::new("amqp://127.0.0.1:1"), ..server.config("q") },
            "cannot connect to amqp://127.0.0.1:1",
        ),
        (RabbitmqConfig { topology: Topology::Check, ..server.config("q") }, "\"windlass queues create\" makes it"),
        (RabbitmqConfig { topology: Topology::Use, ..server.config("q") }, "\"windlass queues create\" makes it"),
    ] {
        for told in told(&config).await {
            assert!(told.contains(words) && !told.contains("hunter2"), "{told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn the_parts_of_a_queue_of_rabbitmq_are_looked_for_made_and_compared() {
    let server = Server::up();
    let queue = open("q", &RabbitmqConfig { topology: Topology::Check, ..server.config("q") });
    let missing = |parts: &[windlass::ports::Part]| parts.iter().filter(|part| part.found == Found::Missing).count();
    let parts = queue.parts(Some(&["no-route".into()])).await.unwrap();
    assert_eq!((parts.len(), missing(&parts)), (32, 32), "the queue, its dead letters, its place, an exchange and 28 delays");
    queue.create(Some(&["no-route".into()])).await.unwrap();
    queue.create(Some(&["no-route".into()])).await.unwrap();
    let parts = queue.parts(Some(&["no-route".into()])).await.unwrap();
    assert!(parts.iter().all(|part| part.found == Found::AsWanted), "{parts:?}");
    let other = open("q", &RabbitmqConfig { single_active_consumer: true, ..server.config("q") });
    let parts = other.parts(Some(&["no-route".into()])).await.unwrap();
    assert!(matches!(&parts[0].found, Found::Differs(why) if why.contains("x-single-active-consumer")), "{:?}", parts[0]);
    let refused = other.sink().send(message("a")).await.unwrap_err();
    assert!(refused.to_string().contains("made otherwise"), "{refused}");
    sent(&queue, "a").await;
}
