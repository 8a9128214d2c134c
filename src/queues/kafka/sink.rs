//! Sends records and waits until every copy in sync holds them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::client::{Complaints, Options, Plain, unavailable, unsent};
use super::names::Names;
use super::wire::{Beside, write};
use crate::clock::between;
use crate::job::Message;
use crate::ports::{Outgoing, QueueError, Sink};

/// How soon a full buffer is tried again.
const FULL: Duration = Duration::from_millis(5);

/// The producer of a queue, made when it is first needed, and anew when it has failed for good.
pub struct Producers {
    options: Options,
    complaints: Arc<Complaints>,
    made: Mutex<Option<FutureProducer<Plain>>>,
}

impl Producers {
    pub fn new(options: Options) -> Self {
        Producers { options, complaints: Arc::default(), made: Mutex::default() }
    }

    fn get(&self) -> Result<FutureProducer<Plain>, QueueError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = made.as_ref().filter(|producer| producer.client().fatal_error().is_none()) {
            return Ok(producer.clone());
        }
        let failed = |error: KafkaError| unavailable(self.options.brokers(), &error, None);
        let producer: FutureProducer<Plain> =
            self.options.producer().create_with_context(Plain { complaints: self.complaints.clone() }).map_err(failed)?;
        Ok(made.insert(producer).clone())
    }

    /// Resolves when the record is confirmed.
    pub async fn send(&self, topic: &str, message: &Message, beside: &Beside) -> Result<(), QueueError> {
        let producer = self.get()?;
        let (headers, body) = write(message, beside);
        let mut record = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
        record.key = message.key.as_deref();
        record.payload = body;
        let delivery = loop {
            match producer.send_result(record) {
                Ok(delivery) => break delivery,
                Err((KafkaError::MessageProduction(Code::QueueFull), again)) => {
                    record = again;
                    tokio::time::sleep(FULL).await;
                }
                Err((error, _)) => return Err(unsent(topic, &error)),
            }
        };
        let failed = |error: &KafkaError| match self.complaints.take() {
            Some(complaint) if error.rdkafka_error_code() == Some(Code::MessageTimedOut) => {
                unavailable(self.options.brokers(), error, Some(complaint))
            }
            _ => unsent(topic, error),
        };
        match delivery.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(failed(&error)),
            Err(_) => Err(QueueError::Unavailable(format!("{topic}: the producer ended before it was confirmed"))),
        }
    }

    /// Lets the producer go.
    pub fn close(&self) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Where a sink's messages go.
pub enum Target {
    /// The queue's own topic; what is due later, and whatever has a due time, comes back by the topic of retries.
    Queue,
    /// A topic beside it: a due time is noted there.
    Beside,
}

pub struct KafkaSink {
    pub producers: Arc<Producers>,
    pub names: Names,
    pub topic: String,
    pub target: Target,
}

#[async_trait]
impl Sink for KafkaSink {
    fn address(&self) -> &str {
        &self.topic
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), QueueError> {
        let Outgoing { message, due, .. } = outgoing;
        match (&self.target, due) {
            (Target::Queue, Some(due)) => self.later(&message, due).await,
            _ => self.producers.send(&self.topic, &message, &Beside { due, to: None }).await,
        }
    }
}

impl KafkaSink {
    async fn later(&self, message: &Message, due: Timestamp) -> Result<(), QueueError> {
        let now = Timestamp::now();
        if due <= now {
            return self.producers.send(&self.names.retry(), message, &Beside::default()).await;
        }
        let beside = Beside { due: Some(due), to: Some(self.names.retry().into()) };
        self.producers.send(&self.names.tier(between(now, due)), message, &beside).await
    }
}
