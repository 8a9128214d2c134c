//! The block `kafka:` of a queue.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::units::{Size, Span};

/// `{ kafka: { brokers: "localhost:9092", topic: orders } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Where the cluster is met first: `host:port`, several with commas between.
    pub brokers: String,
    /// The topic; the name of the queue's block when absent.
    #[serde(default)]
    pub topic: Option<String>,
    /// Further topics that are taken from, `*` for anything without a dot. What comes of their jobs lies beside `topic`.
    #[serde(default)]
    pub also: Vec<String>,
    /// The consumer group. Retries, parked jobs and dead letters lie in `<topic>.<group>.…`.
    #[serde(default = "group")]
    pub group: String,
    /// Where a group that has committed nothing yet starts.
    #[serde(default)]
    pub start: Start,
    /// What the names of the delay topics begin with, shared by all queues of a cluster.
    #[serde(default = "delays")]
    pub delays: String,
    #[serde(default)]
    pub security: Security,
    /// Who we are, where the cluster asks.
    #[serde(default)]
    pub sasl: Option<Sasl>,
    /// The certificates that are trusted, as PEM; those of the system when absent.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The largest message, in bytes; the topic must take as much.
    #[serde(default = "max_message")]
    pub max_message: Size,
    /// How long a worker that is gone without a word holds its partitions. By the protocol `consumer` the cluster says it.
    #[serde(default = "session")]
    pub session: Span,
    /// How the members of the group share its partitions; the same for all of them.
    #[serde(default)]
    pub protocol: Protocol,
    /// A name of this worker in its group that outlasts restarts: within `session` it finds its partitions as they were.
    #[serde(default)]
    pub instance: Option<String>,
    /// How long a rebalance waits for what runs.
    #[serde(default = "drain")]
    pub drain: Span,
    /// The topics that `windlass queues create` makes.
    #[serde(default)]
    pub create: Create,
}

/// Where a new group starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the oldest message there is.
    #[default]
    Earliest,
    /// With what comes from now on.
    Latest,
    /// With the first message of this time or later.
    At(Timestamp),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// A member of the group shares them out.
    #[default]
    Classic,
    /// The cluster does: KIP-848, from Kafka 4.0 on.
    Consumer,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    #[default]
    Plaintext,
    Tls,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    #[serde(default)]
    pub mechanism: Mechanism,
    pub username: String,
    pub password: Secret,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mechanism {
    #[default]
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// How topics are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Create {
    /// Of the topic and of those beside it.
    pub partitions: u16,
    /// Copies of each partition; the cluster's default when absent.
    pub copies: Option<u16>,
    /// How long the topic itself keeps messages; the cluster's default when absent. Those beside it keep theirs for ever.
    pub retention: Option<Span>,
}

impl Default for Create {
    fn default() -> Self {
        Create { partitions: 4, copies: None, retention: None }
    }
}

/// The block `kafka:` of `state:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaStateConfig {
    /// As of a queue.
    pub brokers: String,
    /// Of one partition, kept for ever; all workers that share what they remember name the same.
    #[serde(default = "state_topic")]
    pub topic: String,
    #[serde(default)]
    pub security: Security,
    #[serde(default)]
    pub sasl: Option<Sasl>,
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Copies of the topic that `windlass queues create` makes; the cluster's default when absent.
    #[serde(default)]
    pub copies: Option<u16>,
}

impl KafkaStateConfig {
    /// With the defaults for everything but where it is.
    #[must_use]
    pub fn at(brokers: &str) -> Self {
        let (security, topic) = (Security::default(), state_topic());
        KafkaStateConfig { brokers: brokers.into(), topic, security, sasl: None, ca: None, copies: None }
    }

    /// As of a queue that holds it.
    #[must_use]
    pub fn client(&self) -> KafkaConfig {
        KafkaConfig {
            security: self.security,
            sasl: self.sasl.clone(),
            ca: self.ca.clone(),
            max_message: Size(STATE_RECORD),
            create: Create { partitions: 1, copies: self.copies, retention: Some(Span(std::time::Duration::MAX)) },
            ..KafkaConfig::at(&self.brokers, &self.topic)
        }
    }
}

/// The largest record of a state store, in bytes: its largest value, written as text, and more.
const STATE_RECORD: u64 = 4 << 20;

fn state_topic() -> String {
    "windlass.state".into()
}

fn group() -> String {
    "windlass".into()
}

fn delays() -> String {
    "windlass.delay".into()
}

fn max_message() -> Size {
    Size(1 << 20)
}

fn session() -> Span {
    Span(std::time::Duration::from_secs(45))
}

fn drain() -> Span {
    Span(std::time::Duration::from_secs(30))
}

impl KafkaConfig {
    /// With the defaults for everything but where it is.
    #[must_use]
    pub fn at(brokers: &str, topic: &str) -> Self {
        KafkaConfig {
            brokers: brokers.into(),
            topic: Some(topic.into()),
            also: Vec::new(),
            group: group(),
            start: Start::default(),
            delays: delays(),
            security: Security::default(),
            sasl: None,
            ca: None,
            max_message: max_message(),
            session: session(),
            protocol: Protocol::default(),
            instance: None,
            drain: drain(),
            create: Create::default(),
        }
    }

    /// What is wrong although each value can be read.
    ///
    /// # Errors
    /// The key, and a sentence with the fix.
    pub fn fault(&self) -> Result<(), (&'static str, String)> {
        let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if self.brokers.trim().is_empty() {
            return Err(("brokers", "empty: write host:port, several with commas between".into()));
        }
        for (key, name) in [("topic", self.topic.as_deref().unwrap_or("topic")), ("delays", &self.delays)] {
            if name.is_empty() || name.len() > 200 || !plain(name) {
                return Err((
                    key,
                    format!("{name:?} cannot be a topic: letters, digits, dots, dashes, underscores, 200 at most"),
                ));
            }
        }
        if self.group.is_empty() || !plain(&self.group) {
            return Err((
                "group",
                format!("{:?} becomes a part of topics: letters, digits, dots, dashes, underscores", self.group),
            ));
        }
        if let Some(instance) = self.instance.as_ref().filter(|name| name.is_empty() || name.len() > 100 || !plain(name)) {
            return Err(("instance", format!("{instance:?}: letters, digits, dots, dashes, underscores, 1 to 100")));
        }
        if let Some(other) = self.also.iter().find(|name| name.is_empty() || !plain(&name.replace('*', ""))) {
            return Err(("also", format!("{other:?} is no topic, nor a pattern of topics: \"orders-*\"")));
        }
        if self.create.partitions == 0 {
            return Err(("create", "partitions: 0: a topic has at least one".into()));
        }
        Ok(())
    }
}
