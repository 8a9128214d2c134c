//! The least that any worker would pay: lapin alone, consume, publish with a confirm, acknowledge.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde::Deserialize;
use serde_json::value::RawValue;

async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    (connection, channel)
}

async fn publish(channel: &Channel, queue: &str, body: &[u8]) {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_delivery_mode(2);
    let confirm = channel.basic_publish("".into(), queue.into(), options, body, properties).await.unwrap();
    assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None));
}

/// Jobs of 1 KiB.
pub async fn fill(url: &str, queue: &str, jobs: u64) {
    let (_connection, channel) = channel(url).await;
    let data = "x".repeat(960);
    let bodies = (0..jobs).map(|number| format!(r#"{{"id":"{number}","type":"bench","data":"{data}"}}"#));
    let sends = futures_util::stream::iter(bodies).map(async |body: String| publish(&channel, queue, body.as_bytes()).await);
    sends.buffer_unordered(500).for_each(async |()| {}).await;
}

/// What must be known of a job for its result.
#[derive(Deserialize)]
struct Job<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

pub async fn pass(url: &str, prefix: &str, jobs: u64, together: usize) {
    let ((_taking, from), (_sending, to)) = (channel(url).await, channel(url).await);
    let (source, target) = (format!("{prefix}.in"), format!("{prefix}.out"));
    from.basic_qos(u16::try_from(together).unwrap(), BasicQosOptions::default()).await.unwrap();
    let options = BasicConsumeOptions::default();
    let mut consumer = from.basic_consume(source.as_str().into(), "".into(), options, FieldTable::default()).await.unwrap();
    let (mut flying, mut left) = (FuturesUnordered::new(), jobs);
    while left > 0 {
        tokio::select! {
            Some(delivery) = consumer.next() => flying.push(one(&to, &target, delivery.unwrap())),
            Some(()) = flying.next(), if !flying.is_empty() => left -= 1,
        }
    }
}

async fn one(to: &Channel, target: &str, delivery: Delivery) {
    let job: Job = serde_json::from_slice(&delivery.data).unwrap();
    assert!(!job.data.get().is_empty());
    let (id, kind, now) = (job.id, job.kind, jiff::Timestamp::now());
    let event = format!(
        r#"{{"specversion":"1.0","id":"{id}:0:completed","source":"/windlass/default","type":"windlass.job.completed","subject":"{id}","time":"{now}","datacontenttype":"application/json","jobtype":"{kind}","attempt":1,"tenant":"default","data":"done"}}"#
    );
    publish(to, target, event.as_bytes()).await;
    assert!(delivery.ack(BasicAckOptions::default()).await.unwrap());
}

pub async fn delete(url: &str, prefix: &str) {
    let (_connection, channel) = channel(url).await;
    for name in ["in", "out", "in.dead", "out.dead"] {
        channel.queue_delete(format!("{prefix}.{name}").into(), QueueDeleteOptions::default()).await.unwrap();
    }
}
