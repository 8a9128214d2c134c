//! Dead letters that can only be received and put back, as operators see them.

use std::sync::Arc;

use lapin::options::{BasicPublishOptions, BasicRejectOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use windlass::ports::{Acted, Action, Admin, Cursor, Entry, Filter, Outgoing, Page, Queue};
use windlass::queues::rabbitmq::config::{RabbitmqConfig, Topology};

use crate::server::{LONG, Server, ack, one, open, source_of};

async fn page(queue: &Arc<dyn Queue>, limit: usize) -> Page {
    let look = async { desk(queue).browse(&Filter::default(), &Cursor { after: None, limit }).await.unwrap() };
    tokio::time::timeout(LONG, look).await.expect("no page came")
}

fn desk(queue: &Arc<dyn Queue>) -> Arc<dyn Admin> {
    queue.admin().unwrap()
}

fn ids(page: &Page) -> Vec<&str> {
    page.entries.iter().map(|entry| &*entry.id).collect()
}

async fn found(queue: &Arc<dyn Queue>, id: &str) -> Entry {
    desk(queue).find(None, id).await.unwrap().unwrap_or_else(|| panic!("no letter {id}"))
}

async fn bury(queue: &Arc<dyn Queue>, id: &str) {
    let message = windlass::job::Message::of(format!(r#"{{"id":"{id}","type":"t"}}"#));
    let outgoing = Outgoing { message, id: Some(id.into()), ..Outgoing::default() };
    queue.dead_letters().send(outgoing).await.unwrap();
}

/// A program that is not ours.
async fn channel(server: &Server) -> (Connection, Channel) {
    let runtime = lapin::runtime::default_runtime().unwrap();
    let connection = Connection::connect_with_runtime(&server.url, ConnectionProperties::default(), runtime).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    (connection, channel)
}

async fn declare(channel: &Channel, name: &str, arguments: &[(&str, AMQPValue)]) {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), options, table).await.unwrap();
}

async fn publish(channel: &Channel, queue: &str, body: &str, id: Option<&str>) {
    let mut properties = BasicProperties::default().with_delivery_mode(2);
    if let Some(id) = id {
        properties = properties.with_message_id(id.into());
    }
    let options = BasicPublishOptions::default();
    channel.basic_publish("".into(), queue.into(), options, body.as_bytes(), properties).await.unwrap().await.unwrap();
}

/// Takes one from a queue and rejects it, as programs do that use RabbitMQ's own dead-lettering.
async fn reject_one(channel: &Channel, queue: &str) {
    let came = channel.basic_get(queue.into(), Default::default()).await.unwrap().expect("one waits there");
    came.reject(BasicRejectOptions { requeue: false }).await.unwrap();
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn a_window_over_dead_letters_of_rabbitmq_is_given_back_in_order_and_says_what_it_held() {
    let server = Server::up();
    let (queue, other) = (server.queue("q"), server.queue("q"));
    let all: Vec<String> = (0..40).map(|number| format!("job-{number:02}")).collect();
    for id in &all {
        bury(&queue, id).await;
    }
    let first = page(&queue, 100).await;
    assert_eq!(ids(&first), all);
    let looked = first.looked.unwrap();
    assert_eq!((looked.at, looked.of, looked.others), (40, 40, false));
    let meanwhile = page(&other, 100).await;
    let looked = meanwhile.looked.as_ref().unwrap();
    assert_eq!((ids(&meanwhile).len(), looked.others), (0, true), "the first desk holds them, and the second says so");
    assert_eq!(desk(&queue).stats().await.unwrap()[0].dead, 40, "those that are held are dead too");
    // nobody looks any more: they are given back in a moment, and come in their order
    for number in [7, 8] {
        assert_eq!(desk(&queue).act("q", &all[number], &Action::Replay).await.unwrap(), Acted::Done);
    }
    let rest: Vec<&str> = all.iter().map(|id| &**id).filter(|id| !["job-07", "job-08"].contains(id)).collect();
    let back = async {
        loop {
            let seen = page(&other, 100).await;
            if !seen.entries.is_empty() {
                return seen;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let seen = tokio::time::timeout(LONG, back).await.expect("never given back");
    assert_eq!(ids(&seen), rest);
    let mut source = source_of(&queue).await;
    for id in ["job-07", "job-08"] {
        let delivery = one(&mut source).await;
        assert_eq!(delivery.origin.id.as_deref(), Some(id));
        ack(delivery).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn looking_at_dead_letters_of_rabbitmq_for_ever_never_reaches_a_delivery_limit() {
    let server = Server::up();
    let (_connection, channel) = channel(&server).await;
    // as RabbitMQ 4 makes them where nothing is set
    let limit = [("x-queue-type", text("quorum")), ("x-delivery-limit", AMQPValue::LongLongInt(20))];
    declare(&channel, "orders.dlq", &limit).await;
    let config = RabbitmqConfig { dead_letters: Some("orders.dlq".into()), topology: Topology::Use, ..server.config("q") };
    publish(&channel, "orders.dlq", "of another program", Some("m-1")).await;
    bury(&open("q", &config), "job-1").await;
    for look in 0..30 {
        let queue = open("q", &config);
        let seen = page(&queue, 10).await;
        let mut names = ids(&seen);
        names.sort_unstable();
        assert_eq!(names, ["job-1", "m-1"], "look {look}");
        queue.close().await;
    }
    let entry = found(&open("q", &config), "m-1").await;
    assert!(entry.failure.unwrap().message.contains("another program"), "what was known of it is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn what_rabbitmq_dead_lettered_itself_is_understood_and_replayed_to_where_it_died() {
    let server = Server::up();
    let (_connection, channel) = channel(&server).await;
    let dying = [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("q.dead"))];
    declare(&channel, "legacy", &dying).await;
    let queue = server.queue("q");
    bury(&queue, "job-1").await;
    publish(&channel, "legacy", r#"{"id":"job-2","type":"t"}"#, None).await;
    publish(&channel, "legacy", "no job at all", Some("m-3")).await;
    for _ in 0..2 {
        reject_one(&channel, "legacy").await;
    }
    let all = async {
        while page(&queue, 10).await.entries.len() < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LONG, all).await.expect("not all are seen");
    let seen = page(&queue, 10).await;
    let mut names = ids(&seen);
    names.sort_unstable();
    assert_eq!(names, ["job-1", "job-2", "m-3"]);
    let failure = found(&queue, "job-2").await.failure.unwrap();
    assert_eq!((failure.reason.as_str(), failure.class.as_str(), failure.kind.as_deref()), ("foreign", "rejected", Some("t")));
    assert!(failure.message.contains("out of \"legacy\" once because its consumer rejected it"), "{}", failure.message);
    assert_eq!(desk(&queue).act("q", "m-3", &Action::Replay).await.unwrap(), Acted::Done);
    let got = channel.basic_get("legacy".into(), Default::default()).await.unwrap().expect("it is back where it died");
    assert_eq!(
        (&*got.data, got.properties.headers().as_ref().map(|table| table.inner().len())),
        (&b"no job at all"[..], Some(0))
    );
    // where it died is gone: it stays
    got.ack(Default::default()).await.unwrap();
    channel.queue_delete("legacy".into(), Default::default()).await.unwrap();
    let refused = desk(&queue).act("q", "job-2", &Action::Replay).await.unwrap_err();
    assert!(refused.to_string().contains("\"legacy\" cannot be reached"), "{refused}");
    assert_eq!(page(&queue, 10).await.entries.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn a_dead_letter_of_rabbitmq_that_was_replayed_while_the_connection_was_cut_is_not_replayed_again() {
    let server = Server::up();
    let queue = server.queue("q");
    for id in ["job-1", "job-2"] {
        bury(&queue, id).await;
    }
    assert_eq!(page(&queue, 10).await.entries.len(), 2);
    server.ctl(&["close_all_connections", "between the look and the replay"]);
    let done = async {
        while !matches!(desk(&queue).act("q", "job-1", &Action::Replay).await, Ok(Acted::Done)) {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LONG, done).await.expect("never replayed");
    let gone = async {
        loop {
            // between two connections there is nothing to see, or an error to be told
            match desk(&queue).browse(&Filter::default(), &Cursor { after: None, limit: 10 }).await {
                Ok(page) if ids(&page) == ["job-2"] => return,
                _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    };
    tokio::time::timeout(LONG, gone).await.expect("what was replayed came back");
    let mut source = source_of(&queue).await;
    assert_eq!(one(&mut source).await.origin.id.as_deref(), Some("job-1"));
}
