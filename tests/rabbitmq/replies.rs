//! Results for the senders of jobs that asked for them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use windlass::clock::Clock;
use windlass::engine::budget::Budget;
use windlass::engine::{Engine, Shared};
use windlass::job::{Header, Message};
use windlass::outcome::{Class, Failure};
use windlass::ports::{Outgoing, Queue};
use windlass::retry::Policy;

use crate::server::{LONG, Server};
use crate::support::{done, executor, pool, route};

/// A job whose sender wants its result in a queue.
async fn ask(queue: &Arc<dyn Queue>, id: &str, reply_to: &str) {
    let headers =
        vec![Header::new("amqp-reply-to", reply_to.to_owned()), Header::new("amqp-correlation-id", format!("call-{id}"))];
    let message = Message { headers, ..Message::of(format!(r#"{{"id":"{id}","type":"t"}}"#)) };
    queue.sink().send(Outgoing { message, ..Outgoing::default() }).await.unwrap();
}

/// The next answer: the call it belongs to, and its event.
async fn answer(channel: &Channel, queue: &str) -> (String, serde_json::Value) {
    let get = async {
        loop {
            if let Some(got) = channel.basic_get(queue.into(), Default::default()).await.unwrap() {
                let call = got.properties.correlation_id().as_ref().map(ToString::to_string).unwrap_or_default();
                let event = serde_json::from_slice(&got.data).unwrap();
                got.ack(Default::default()).await.unwrap();
                return (call, event);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, get).await.expect("no answer came")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn a_sender_to_rabbitmq_that_asked_gets_its_result_and_one_that_is_gone_keeps_no_job() {
    let server = Server::up();
    let runtime = lapin::runtime::default_runtime().unwrap();
    let connection = Connection::connect_with_runtime(&server.url, ConnectionProperties::default(), runtime).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.queue_declare("callers".into(), QueueDeclareOptions::default(), FieldTable::default()).await.unwrap();
    let queue = server.queue("q");
    let run = executor(|job, _| {
        let fails = job.id.starts_with("bad");
        async move { if fails { Failure::new(Class::Rejected, "no").into() } else { done() } }.boxed()
    });
    for (id, reply_to) in [("gone", "nowhere"), ("good", "callers"), ("bad", "callers")] {
        ask(&queue, id, reply_to).await;
    }
    let shared = Arc::new(Shared::new("test", Clock::System, Budget::new(64 << 20)));
    let pool = Arc::new(pool(&shared, std::slice::from_ref(&queue), 1, vec![route("t", run, Policy::default())]));
    let engine = Engine::start(shared, &[pool]);
    let (call, event) = answer(&channel, "callers").await;
    assert_eq!((&*call, &event["type"], &event["subject"]), ("call-good", &"windlass.job.completed".into(), &"good".into()));
    let (call, event) = answer(&channel, "callers").await;
    assert_eq!((&*call, &event["type"], &event["data"]["message"]), ("call-bad", &"windlass.job.failed".into(), &"no".into()));
    let stats = async {
        loop {
            let stats = queue.admin().unwrap().stats().await.unwrap().remove(0);
            if (stats.waiting, stats.dead) == (0, 1) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LONG, stats).await.expect("a job is kept by a sender that is gone");
    engine.stop(Duration::from_secs(5)).await;
    let left = queue.admin().unwrap().stats().await.unwrap().remove(0);
    assert_eq!((left.waiting, left.dead), (0, 1), "given back by the stop: it was not acknowledged");
}
