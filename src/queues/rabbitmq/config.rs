//! The block `rabbitmq:` of a queue.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::secret::Secret;
use crate::units::{Size, Span};

/// `{ rabbitmq: { url: "amqp://localhost", queue: orders } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RabbitmqConfig {
    /// Where the server is: `amqp://` or `amqps://`, several nodes of a cluster with commas between.
    pub url: Address,
    /// Who we are; otherwise the one in the URL.
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub password: Option<Secret>,
    /// The certificates that are trusted, as PEM; those of the system when absent.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The queue; the name of the block when absent.
    #[serde(default)]
    pub queue: Option<String>,
    /// The queue of its dead letters; `<queue>.dead` when absent.
    #[serde(default)]
    pub dead_letters: Option<String>,
    /// What is done about queues and exchanges that should be there.
    #[serde(default)]
    pub topology: Topology,
    /// Where a message's key stands, when its producer does not say it in the job itself.
    #[serde(default)]
    pub key: Option<Key>,
    /// One consumer at a time (`x-single-active-consumer`), so that the order of the queue is the order of the jobs.
    #[serde(default)]
    pub single_active_consumer: bool,
    /// The most messages that are taken ahead of their acknowledgement.
    #[serde(default = "prefetch")]
    pub prefetch: u16,
    /// The `consumer_timeout` of the server: it takes back what is not acknowledged for so long.
    #[serde(default = "consumer_timeout")]
    pub consumer_timeout: Span,
    /// The largest message, in bytes; the server's `max_message_size` must allow it.
    #[serde(default = "max_message")]
    pub max_message: Size,
    /// What the names of the delay queues begin with, shared by all queues of a virtual host.
    #[serde(default = "delays")]
    pub delays: String,
}

/// What is done about queues and exchanges that should be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topology {
    /// They are looked for, and what is missing is told; `windlass queues create` makes them.
    #[default]
    Check,
    /// What is missing is made when it is first needed.
    Declare,
    /// They are used without a look: for accounts that may not even ask.
    Use,
}

/// Where a message's key stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    RoutingKey,
    Header(String),
}

/// One or more AMQP URLs. It may hold a password, and shows none.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    #[must_use]
    pub fn new(text: &str) -> Self {
        Address(text.to_owned())
    }

    /// The URLs, one after another.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.0.split(',').map(str::trim).filter(|url| !url.is_empty())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, url) in self.urls().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            match (url.split_once("://"), url.rsplit_once('@')) {
                (Some((scheme, _)), Some((before, after))) => {
                    let user = before[scheme.len() + 3..].split(':').next().unwrap_or_default();
                    write!(f, "{comma}{scheme}://{user}:...@{after}")?;
                }
                _ => write!(f, "{comma}{url}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Address)
    }
}

fn prefetch() -> u16 {
    1000
}

fn consumer_timeout() -> Span {
    Span(Duration::from_secs(30 * 60))
}

fn max_message() -> Size {
    Size(16 << 20)
}

fn delays() -> String {
    "windlass.delay".into()
}

/// The longest queue name: with what is put around it, it must fit into a routing key of 255 bytes.
const LONGEST_NAME: usize = 180;

impl RabbitmqConfig {
    /// With the defaults for everything but where it is.
    #[must_use]
    pub fn at(url: &str, queue: &str) -> Self {
        RabbitmqConfig {
            url: Address::new(url),
            username: None,
            password: None,
            ca: None,
            queue: Some(queue.into()),
            dead_letters: None,
            topology: Topology::default(),
            key: None,
            single_active_consumer: false,
            prefetch: prefetch(),
            consumer_timeout: consumer_timeout(),
            max_message: max_message(),
            delays: delays(),
        }
    }

    /// What is wrong although each value can be read.
    ///
    /// # Errors
    /// The key, and a sentence with the fix.
    pub fn fault(&self) -> Result<(), (&'static str, String)> {
        if self.url.urls().next().is_none() {
            return Err(("url", "empty: write amqp://host:5672/vhost, several with commas between".into()));
        }
        if self.url.urls().any(|url| !url.starts_with("amqp://") && !url.starts_with("amqps://")) {
            return Err(("url", format!("{} begins with neither amqp:// nor amqps://", self.url)));
        }
        if self.password.is_some() != self.username.is_some() {
            return Err(("username", "username and password come together, or not at all".into()));
        }
        let queue = self.queue.as_deref().unwrap_or("queue");
        let dead_letters = self.dead_letters.as_deref().unwrap_or("dead");
        for (key, name) in [("queue", queue), ("dead_letters", dead_letters), ("delays", &self.delays)] {
            // as delays write it: these characters take three bytes
            let length = name.len() + 2 * name.matches(['.', '*', '#', '%']).count();
            if name.is_empty() || length > LONGEST_NAME || name.starts_with("amq.") {
                let why = format!("{name:?} cannot be a queue here: 1 to {LONGEST_NAME} bytes (a dot counts three), not amq.…");
                return Err((key, why));
            }
        }
        if dead_letters == queue {
            return Err(("dead_letters", format!("{queue:?} is the queue itself: what dies would come again at once")));
        }
        if self.prefetch == 0 {
            return Err(("prefetch", "0 means without a limit to the server: write 1 or more".into()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        let address = Address::new("amqps://user:hunter2@one/v, amqp://two:5672");
        assert_eq!(address.to_string(), "amqps://user:...@one/v,amqp://two:5672");
        for shown in [format!("{address:?}"), serde_json::to_string(&address).unwrap()] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn what_cannot_work_is_told_with_its_key() {
        let fault = |change: &dyn Fn(&mut RabbitmqConfig)| {
            let mut config = RabbitmqConfig::at("amqp://localhost", "q");
            change(&mut config);
            config.fault().err().map(|(key, _)| key)
        };
        assert_eq!(fault(&|_| {}), None);
        assert_eq!(fault(&|config| config.url = Address::new("http://localhost")), Some("url"));
        assert_eq!(fault(&|config| config.queue = Some("amq.gen".into())), Some("queue"));
        assert_eq!(fault(&|config| config.username = Some("u".into())), Some("username"));
        assert_eq!(fault(&|config| config.prefetch = 0), Some("prefetch"));
        assert_eq!(fault(&|config| config.dead_letters = Some("q".into())), Some("dead_letters"));
    }
}
