//! The block of one queue: its kind, and how the bodies it holds are read.

use serde::{Deserialize, Serialize};

use crate::engine::screen::Screen;
use crate::expression::{Expression, Scope, Wrong};
use crate::job::decode::{Decoding, RawType};
use crate::ports::Order;
use crate::queues::embedded::config::EmbeddedConfig;
use crate::queues::kafka::config::KafkaConfig;
use crate::queues::rabbitmq::config::RabbitmqConfig;
use crate::queues::sqs::config::SqsConfig;
use crate::units::Span;

/// `{ embedded: {...} }`, `{ memory: {} }`, `{ kafka: {...} }`, `{ rabbitmq: {...} }` or `{ sqs: {...} }`, and beside the kind what
/// holds for every kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Queue {
    pub kind: QueueKind,
    pub decode: Decode,
    /// An expression that is true of the jobs that are wanted; the others are discarded.
    pub wanted: Option<String>,
    /// Older jobs are dead-lettered as `expired`.
    pub max_age: Option<Span>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum QueueKind {
    Embedded(EmbeddedConfig),
    Memory(MemoryConfig),
    Kafka(Box<KafkaConfig>),
    Rabbitmq(Box<RabbitmqConfig>),
    Sqs(Box<SqsConfig>),
}

impl QueueKind {
    /// The key inside the braces.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            QueueKind::Embedded(_) => "embedded",
            QueueKind::Memory(_) => "memory",
            QueueKind::Kafka(_) => "kafka",
            QueueKind::Rabbitmq(_) => "rabbitmq",
            QueueKind::Sqs(_) => "sqs",
        }
    }
}

/// A queue in memory has nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfig {}

/// How a queue's bodies become jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decode {
    /// Windlass JSON or CloudEvents 1.0.
    #[default]
    Envelope,
    Raw(Raw),
}

/// Where the type of a raw job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Raw {
    /// Every body is a job of this type.
    Type(String),
    Header(String),
    /// A JSON pointer (RFC 6901) into the body.
    Pointer(String),
}

/// The keys as written: a kind per key, as each kind checks its own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    embedded: Option<EmbeddedConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kafka: Option<Box<KafkaConfig>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rabbitmq: Option<Box<RabbitmqConfig>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sqs: Option<Box<SqsConfig>>,
    #[serde(default)]
    decode: Decode,
    #[serde(default, rename = "where")]
    wanted: Option<String>,
    #[serde(default)]
    max_age: Option<Span>,
}

impl TryFrom<Written> for Queue {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let kinds = [
            written.embedded.map(QueueKind::Embedded),
            written.memory.map(QueueKind::Memory),
            written.kafka.map(QueueKind::Kafka),
            written.rabbitmq.map(QueueKind::Rabbitmq),
            written.sqs.map(QueueKind::Sqs),
        ];
        let mut kinds = kinds.into_iter().flatten();
        let (Some(kind), None) = (kinds.next(), kinds.next()) else {
            return Err("a queue has exactly one kind: write \"embedded: { path: windlass.db }\" or \"memory: {}\"");
        };
        Ok(Queue { kind, decode: written.decode, wanted: written.wanted, max_age: written.max_age })
    }
}

impl From<Queue> for Written {
    fn from(queue: Queue) -> Self {
        let rest = Written { decode: queue.decode, wanted: queue.wanted, max_age: queue.max_age, ..Written::default() };
        match queue.kind {
            QueueKind::Embedded(embedded) => Written { embedded: Some(embedded), ..rest },
            QueueKind::Memory(memory) => Written { memory: Some(memory), ..rest },
            QueueKind::Kafka(kafka) => Written { kafka: Some(kafka), ..rest },
            QueueKind::Rabbitmq(rabbitmq) => Written { rabbitmq: Some(rabbitmq), ..rest },
            QueueKind::Sqs(sqs) => Written { sqs: Some(sqs), ..rest },
        }
    }
}

impl QueueKind {
    /// How far it keeps the jobs of a key in order, as it is configured. The opened queue says so, too.
    #[must_use]
    pub fn order(&self) -> Order {
        match self {
            QueueKind::Embedded(_) | QueueKind::Memory(_) | QueueKind::Kafka(_) => Order::Key,
            QueueKind::Rabbitmq(rabbitmq) if rabbitmq.single_active_consumer => Order::Key,
            QueueKind::Rabbitmq(_) => Order::Worker,
            QueueKind::Sqs(sqs) if sqs.is_fifo() => Order::Key,
            QueueKind::Sqs(_) => Order::None,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Queue { kind: QueueKind::Embedded(EmbeddedConfig::default()), decode: Decode::Envelope, wanted: None, max_age: None }
    }
}

impl Queue {
    /// What is asked of its jobs.
    ///
    /// # Errors
    /// What is wrong with `where`.
    pub fn screen(&self) -> Result<Screen, Wrong> {
        let wanted = self.wanted.as_ref().map(|wanted| Expression::compile(wanted, Scope::Job)).transpose()?;
        Ok(Screen { wanted, max_age: self.max_age.map(|span| span.0) })
    }
}

impl Decode {
    #[must_use]
    pub fn decoding(&self) -> Decoding {
        match self {
            Decode::Envelope => Decoding::Envelope,
            Decode::Raw(Raw::Type(kind)) => Decoding::Raw(RawType::Constant(kind.as_str().into())),
            Decode::Raw(Raw::Header(name)) => Decoding::Raw(RawType::Header(name.clone())),
            Decode::Raw(Raw::Pointer(pointer)) => Decoding::Raw(RawType::Pointer(pointer.clone())),
        }
    }
}
