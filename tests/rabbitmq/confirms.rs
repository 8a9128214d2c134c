//! What a confirm says of its own message, with others on their way.

use futures_util::future::{join, join_all};
use windlass::job::{Header, Message};
use windlass::ports::QueueError;
use windlass::queues::rabbitmq::config::{RabbitmqConfig, Topology};

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};

use crate::server::{LONG, Server, message, open};

async fn connected(server: &Server) -> (Connection, Channel) {
    let runtime = lapin::runtime::default_runtime().unwrap();
    let connection = Connection::connect_with_runtime(&server.url, ConnectionProperties::default(), runtime).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn a_message_that_reaches_no_queue_of_rabbitmq_is_never_reported_as_sent_nor_is_another_in_its_place() {
    let server = Server::up();
    let (_connection, channel) = connected(&server).await;
    // it lives in memory: its confirms are as quick as returns, and come together with theirs
    channel.queue_declare("q".into(), QueueDeclareOptions::default(), FieldTable::default()).await.unwrap();
    let nowhere = Some("nowhere".into());
    let queue = open("q", &RabbitmqConfig { topology: Topology::Use, dead_letters: nowhere, ..server.config("q") });
    let (held, lost) = (queue.sink(), queue.dead_letters());
    for round in 0..100 {
        let pair = async |number: usize| join(held.send(message(&format!("{round}-{number}"))), lost.send(message("x"))).await;
        let sent = tokio::time::timeout(LONG, join_all((0..8).map(pair))).await.expect("no confirm");
        for (held, lost) in sent {
            assert!(held.is_ok(), "{held:?}");
            assert!(matches!(lost, Err(QueueError::Unavailable(_))), "round {round}: {lost:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn a_reply_queue_of_rabbitmq_that_is_full_refuses_the_result() {
    let server = Server::up();
    let (_connection, channel) = connected(&server).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    channel.queue_declare("full".into(), QueueDeclareOptions::default(), arguments).await.unwrap();
    let asking = Message { headers: vec![Header::new("amqp-reply-to", "full")], ..Message::of("{}") };
    let reply = server.queue("q").reply_to(&asking).unwrap();
    reply.send(message("first")).await.unwrap();
    let second = tokio::time::timeout(LONG, reply.send(message("second"))).await.expect("no confirm");
    assert!(matches!(&second, Err(QueueError::Refused(why)) if why.contains("it is full")), "{second:?}");
}
