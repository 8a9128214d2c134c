//! Clients of librdkafka: their options, and its errors as sentences.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::config::{KafkaConfig, Mechanism, Protocol, Security};
use crate::ports::QueueError;

/// How long a question to the cluster may take: a wrong address is told within seconds.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The longest that a group waits for a member that does not poll; ours polls always, but for the drain of a rebalance.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// What is ours in a message beside its producer's bytes: a life, or a failure document.
pub const OURS: u64 = 64 << 10;

/// What all clients of a queue are made from.
#[derive(Clone)]
pub struct Options {
    shared: ClientConfig,
    brokers: Arc<str>,
    pub max_message: u64,
    session: Duration,
    protocol: Protocol,
    instance: Option<String>,
}

impl Options {
    /// # Errors
    /// A secret that cannot be read, or what this build cannot do.
    pub fn new(config: &KafkaConfig, base: &Path) -> Result<Self, String> {
        let mut shared = ClientConfig::new();
        shared.set("bootstrap.servers", &config.brokers).set("client.id", "windlass");
        // a topic that was deleted, or made, is noticed within seconds
        shared.set("topic.metadata.propagation.max.ms", "1000").set("topic.metadata.refresh.interval.ms", "5000");
        shared.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "2000");
        shared.set("message.max.bytes", (config.max_message.0 + OURS).to_string());
        let tls = config.security == Security::Tls;
        let scram = config.sasl.as_ref().is_some_and(|sasl| sasl.mechanism != Mechanism::Plain);
        for (wanted, key) in [(tls, "kafka.security: tls"), (scram, "kafka.sasl.mechanism: SCRAM")] {
            if wanted && !tls_is_built() {
                return Err(format!("{key} needs OpenSSL: use a build of windlass with --features kafka-tls"));
            }
        }
        let protocol = match (tls, config.sasl.is_some()) {
            (false, false) => "plaintext",
            (false, true) => "sasl_plaintext",
            (true, false) => "ssl",
            (true, true) => "sasl_ssl",
        };
        shared.set("security.protocol", protocol);
        if let Some(ca) = &config.ca {
            shared.set("ssl.ca.location", base.join(ca).display().to_string());
        }
        if let Some(sasl) = &config.sasl {
            let password = sasl.password.read(base).map_err(|why| format!("kafka.sasl.password: {why}"))?;
            shared.set("sasl.mechanism", sasl.mechanism.name());
            shared.set("sasl.username", &sasl.username).set("sasl.password", password);
        }
        shared.set_log_level(RDKafkaLogLevel::Warning);
        Ok(Options {
            shared,
            brokers: config.brokers.as_str().into(),
            max_message: config.max_message.0,
            session: config.session.0,
            protocol: config.protocol,
            instance: config.instance.clone(),
        })
    }

    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// For questions.
    pub fn plain(&self) -> ClientConfig {
        self.shared.clone()
    }

    pub fn producer(&self) -> ClientConfig {
        let mut config = self.shared.clone();
        config.set("enable.idempotence", "true").set("acks", "all");
        // as Java's clients do, so that a key is in the same partition whoever sends it
        config.set("partitioner", "murmur2_random");
        config.set("linger.ms", "2").set("message.timeout.ms", "10000").set("queue.buffering.max.kbytes", "65536");
        config
    }

    /// For a member of a group that shares its partitions. Queues of one worker may be in one group, each as a member of its
    /// own: `topic` tells them apart.
    pub fn member(&self, group: &str, topic: &str) -> ClientConfig {
        let mut config = self.consumer(group);
        if let Some(instance) = &self.instance {
            config.set("group.instance.id", format!("{instance}.{topic}"));
        }
        config
    }

    pub fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.shared.clone();
        let largest = self.max_message + 2 * OURS;
        config.set("group.id", group).set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "earliest");
        match self.protocol {
            Protocol::Classic => {
                config.set("partition.assignment.strategy", "cooperative-sticky");
                config.set("session.timeout.ms", self.session.as_millis().to_string());
                config.set("heartbeat.interval.ms", (self.session.as_millis() / 10).clamp(100, 3000).to_string());
            }
            Protocol::Consumer => drop(config.set("group.protocol", "consumer")),
        }
        config.set("max.poll.interval.ms", LONGEST_PAUSE.max(self.session).as_millis().to_string());
        config.set("queued.max.messages.kbytes", "16384").set("queued.min.messages", "10000");
        config.set("fetch.queue.backoff.ms", "10").set("fetch.wait.max.ms", "100").set("fetch.error.backoff.ms", "100");
        config.set("fetch.max.bytes", largest.max(16 << 20).to_string());
        config.set("fetch.message.max.bytes", largest.clamp(1 << 20, 1_000_000_000).to_string());
        config.set("receive.message.max.bytes", (largest.max(16 << 20) + (1 << 20)).max(100_000_000).to_string());
        config
    }
}

/// Whether librdkafka was built with TLS, and with it SCRAM.
fn tls_is_built() -> bool {
    let mut probe = ClientConfig::new();
    probe.set("security.protocol", "ssl");
    probe.create_native_config().is_ok()
}

/// Keeps what a client last complained of: many an error of a call is a bare time-out without it.
#[derive(Default)]
pub struct Complaints {
    last: Mutex<Option<(Code, String)>>,
}

impl Complaints {
    pub fn note(&self, error: &KafkaError, reason: &str) {
        let KafkaError::Global(code) = *error else { return };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // that all brokers are down says less than why the last one is
        if code != Code::AllBrokersDown || last.is_none() {
            *last = Some((code, reason.to_owned()));
        }
    }

    pub fn take(&self) -> Option<(Code, String)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The context of clients that do no more than ask or send.
#[derive(Default)]
pub struct Plain {
    pub complaints: Arc<Complaints>,
}

impl ClientContext for Plain {
    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.note(&error, reason);
        tracing::debug!("kafka: {error}: {reason}");
    }

    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, message: &str) {
        tracing::debug!("kafka: {message}");
    }
}

/// Why a question was not answered, as a sentence; `complaint` is what the client said meanwhile.
pub fn unavailable(brokers: &str, error: &KafkaError, complaint: Option<(Code, String)>) -> QueueError {
    let code = error.rdkafka_error_code();
    QueueError::Unavailable(match (code, complaint) {
        (_, Some((Code::Authentication, reason))) => {
            format!("kafka at {brokers} refuses the user or the password (kafka.sasl): {reason}")
        }
        (_, Some((Code::SSL, reason))) => format!("no TLS with kafka at {brokers} (kafka.security, kafka.ca): {reason}"),
        (_, Some((Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve, reason))) => {
            format!("kafka at {brokers} cannot be reached (kafka.brokers): {reason}")
        }
        (Some(Code::OperationTimedOut | Code::BrokerTransportFailure), _) => {
            format!("kafka at {brokers} does not answer (kafka.brokers; a cluster that wants a password may not say so)")
        }
        (Some(Code::FencedInstanceId | Code::UnreleasedInstanceId), _) => {
            format!("kafka at {brokers}: another worker has the same name in the group (kafka.instance): give each its own")
        }
        (Some(Code::UnsupportedVersion), _) => {
            format!("kafka at {brokers} is too old for this (kafka.protocol: consumer needs Kafka 4.0): {error}")
        }
        (Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed), _) => {
            format!("kafka at {brokers} does not allow it: {error}; grant the user the topics and the group")
        }
        _ => format!("kafka at {brokers}: {error}"),
    })
}

/// Why a message was not kept.
pub fn unsent(topic: &str, error: &KafkaError) -> QueueError {
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => QueueError::Refused(format!(
            "{topic}: the message is too large (kafka.max_message, and the topic's max.message.bytes)"
        )),
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            QueueError::Unavailable(format!("there is no topic {topic}: make it with \"windlass queues create\""))
        }
        Some(Code::MessageTimedOut) => QueueError::Unavailable(format!("{topic}: not confirmed within ten seconds")),
        _ => QueueError::Unavailable(format!("{topic}: {error}")),
    }
}
