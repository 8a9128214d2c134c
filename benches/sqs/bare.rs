//! The least that any worker would pay: the SDK alone, receive, send, delete, ten at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, SendMessageBatchRequestEntry};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;

pub fn client(endpoint: &str) -> Client {
    let credentials = Credentials::new("test", "test", None, None, "bench");
    let config = aws_sdk_sqs::Config::builder().behavior_version(BehaviorVersion::latest()).endpoint_url(endpoint);
    Client::from_conf(config.region(Region::new("us-east-1")).credentials_provider(credentials).build())
}

/// The URL of a new queue.
pub async fn make(client: &Client, name: &str) -> String {
    client.create_queue().queue_name(name).send().await.unwrap().queue_url.unwrap()
}

async fn send(client: &Client, url: &str, bodies: Vec<String>) {
    let entry = |(number, body): (usize, String)| {
        SendMessageBatchRequestEntry::builder().id(number.to_string()).message_body(body).build().unwrap()
    };
    let entries = bodies.into_iter().enumerate().map(entry).collect();
    let sent = client.send_message_batch().queue_url(url).set_entries(Some(entries)).send().await.unwrap();
    assert!(sent.failed.is_empty(), "{:?}", sent.failed);
}

/// Jobs of 1 KiB.
pub async fn fill(client: &Client, url: &str, jobs: u64) {
    let data = "x".repeat(960);
    let bodies: Vec<String> = (0..jobs).map(|number| format!(r#"{{"id":"{number}","type":"bench","data":"{data}"}}"#)).collect();
    let sends = bodies.chunks(10).map(|ten| send(client, url, ten.to_vec()));
    futures_util::stream::iter(sends).buffer_unordered(8).for_each(async |()| {}).await;
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

pub async fn pass(client: &Client, [from, to]: [String; 2], jobs: u64, pollers: usize) {
    let left = Arc::new(AtomicU64::new(jobs));
    let poller = |_| {
        let (client, from, to, left) = (client.clone(), from.clone(), to.clone(), left.clone());
        tokio::spawn(async move {
            while left.load(Ordering::Relaxed) > 0 {
                let request = client.receive_message().queue_url(&from).max_number_of_messages(10).wait_time_seconds(1);
                let messages = request.send().await.unwrap().messages.unwrap_or_default();
                if !messages.is_empty() {
                    send(&client, &to, messages.iter().map(event).collect()).await;
                    delete(&client, &from, &messages).await;
                    left.fetch_sub(messages.len() as u64, Ordering::Relaxed);
                }
            }
        })
    };
    futures_util::future::join_all((0..pollers).map(poller)).await;
}

fn event(message: &Message) -> String {
    let job: Job = serde_json::from_str(message.body.as_ref().unwrap()).unwrap();
    assert!(!job.data.get().is_empty());
    let (id, kind, now) = (job.id, job.kind, jiff::Timestamp::now());
    format!(
        r#"{{"specversion":"1.0","id":"{id}:0:completed","source":"/windlass/default","type":"windlass.job.completed","subject":"{id}","time":"{now}","datacontenttype":"application/json","jobtype":"{kind}","attempt":1,"tenant":"default","data":"done"}}"#
    )
}

async fn delete(client: &Client, url: &str, messages: &[Message]) {
    let entry = |(number, message): (usize, &Message)| {
        let handle = message.receipt_handle.clone().unwrap();
        DeleteMessageBatchRequestEntry::builder().id(number.to_string()).receipt_handle(handle).build().unwrap()
    };
    let entries = messages.iter().enumerate().map(entry).collect();
    let deleted = client.delete_message_batch().queue_url(url).set_entries(Some(entries)).send().await.unwrap();
    assert!(deleted.failed.is_empty(), "{:?}", deleted.failed);
}
