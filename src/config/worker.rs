//! The blocks of the process itself: its limits, its API, its telemetry.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::memory;
use crate::secret::Secret;
use crate::telemetry::logs::LogFormat;
use crate::units::{Size, Span};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Worker {
    /// In logs and failure documents; host name and process id when absent.
    pub name: Option<String>,
    /// How long running jobs may take to end once the worker stops.
    pub grace: Span,
    /// How long a job is leased; renewed at a third of it.
    pub lease: Span,
    /// Of all deliveries in memory; a quarter of the memory limit when absent.
    pub memory: Option<Size>,
    /// Of one message.
    pub body_limit: Size,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Jobs in, and the admin API; `null` turns it off.
    pub listen: Option<Listen>,
    /// Required unless it listens on a loopback address.
    pub token: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// `/metrics`, `/health` and `/ready`, without a token; `null` turns it off.
    pub listen: Option<Listen>,
    pub log: LogFormat,
    /// A level, or directives such as `info,windlass::queues=debug`.
    pub level: String,
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl Default for Worker {
    fn default() -> Self {
        Worker {
            name: None,
            grace: Span(Duration::from_secs(25)),
            lease: Span(Duration::from_secs(30)),
            memory: None,
            body_limit: Size(1 << 20),
        }
    }
}

impl Worker {
    /// The name, or one made of the host's name and the process id.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "worker".into());
            format!("{}-{}", host.trim(), std::process::id())
        })
    }

    /// The byte budget for deliveries in memory.
    #[must_use]
    pub fn budget(&self) -> Size {
        self.memory.unwrap_or_else(|| Size(memory::limit() / 4))
    }
}

impl Default for Api {
    fn default() -> Self {
        Api { listen: Some(Listen(([127, 0, 0, 1], 7780).into())), token: None }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Telemetry { listen: Some(Listen(([127, 0, 0, 1], 7781).into())), log: LogFormat::Human, level: "info".into() }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Listen).map_err(|_| {
            de::Error::custom(format_args!("{text:?} is not an address with a port: write \"127.0.0.1:7780\" or \"[::]:7780\""))
        })
    }
}
