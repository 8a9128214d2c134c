//! The block `sqs:` of a queue.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::Span;

/// What stands at the end of a FIFO queue's name.
pub const FIFO: &str = ".fifo";
/// What stands between a queue's name and that of a place where its messages are parked.
pub const PARKED: &str = "-parked-";
/// The longest name of a queue that SQS takes.
const LONGEST: usize = 80;

/// `{ sqs: { queue: orders, region: eu-west-1 } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqsConfig {
    /// The queue, by its name or its URL; the name of the block when absent. One that ends with `.fifo` is a FIFO queue.
    #[serde(default)]
    pub queue: Option<String>,
    /// The region; what the environment or the profile says when absent.
    #[serde(default)]
    pub region: Option<String>,
    /// The profile in the files of the AWS command line.
    #[serde(default)]
    pub profile: Option<String>,
    /// The role to take on, by its ARN.
    #[serde(default)]
    pub role: Option<String>,
    /// Another address than that of the region: a VPC endpoint, or a server for tests.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// What is done about queues that should be there.
    #[serde(default)]
    pub topology: Topology,
    /// How long a request waits at the server for messages.
    #[serde(default = "wait")]
    pub wait: Span,
}

/// What is done about queues that should be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topology {
    /// They are looked at, and what is missing is told; `windlass queues create` makes them.
    #[default]
    Check,
    /// What is missing is made when it is first needed.
    Declare,
    /// They are used without a look: for accounts that may not even ask.
    Use,
}

fn wait() -> Span {
    Span(Duration::from_secs(20))
}

impl SqsConfig {
    /// With the defaults for everything but where it is.
    #[must_use]
    pub fn at(endpoint: &str, queue: &str) -> Self {
        SqsConfig {
            queue: Some(queue.into()),
            region: None,
            profile: None,
            role: None,
            endpoint: Some(endpoint.into()),
            topology: Topology::default(),
            wait: wait(),
        }
    }

    #[must_use]
    pub fn is_fifo(&self) -> bool {
        self.queue.as_deref().is_some_and(|queue| queue.ends_with(FIFO))
    }

    /// The queue's name on the server; `block` is that of its block.
    #[must_use]
    pub fn name<'a>(&'a self, block: &'a str) -> &'a str {
        let queue = self.queue.as_deref().unwrap_or(block);
        queue.rsplit('/').next().unwrap_or(queue)
    }

    /// What is wrong although each value can be read.
    ///
    /// # Errors
    /// The key, and a sentence with the fix.
    pub fn fault(&self, block: &str) -> Result<(), (&'static str, String)> {
        let name = self.name(block);
        if !named(name) || beside(name, "parked-no-route").len() > LONGEST {
            let most = LONGEST - "-parked-no-route".len();
            let why =
                format!("{name:?} cannot be a queue of SQS: letters, digits, dashes, underscores, {most} at most with .fifo");
            return Err(("queue", why));
        }
        if self.queue.is_none() && block.ends_with(FIFO) {
            return Err(("queue", format!("write \"queue: {block}\" to say that it is a FIFO queue")));
        }
        for (key, address) in [("endpoint", &self.endpoint), ("queue", &self.queue.clone().filter(|queue| queue.contains('/')))] {
            if let Some(address) =
                address.as_ref().filter(|address| !address.starts_with("http://") && !address.starts_with("https://"))
            {
                return Err((key, format!("{address:?} begins with neither http:// nor https://")));
            }
        }
        if self.topology == Topology::Declare && self.queue.as_ref().is_some_and(|queue| queue.contains('/')) {
            return Err(("topology", "declare makes no queue that is named by its address: write its name, or check".into()));
        }
        if self.role.as_ref().is_some_and(|role| !role.starts_with("arn:")) {
            return Err(("role", "not an ARN: write arn:aws:iam::123456789012:role/name".into()));
        }
        if self.wait.0 > Duration::from_secs(20) || self.wait.0.subsec_nanos() > 0 {
            return Err(("wait", format!("{:?}: SQS waits for whole seconds, 20 at most", self.wait.0)));
        }
        Ok(())
    }

    /// Whether the jobs of an executor can be parked beside it.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn takes_place(&self, block: &str, executor: &str) -> Result<(), String> {
        let place = beside(self.name(block), &format!("parked-{executor}"));
        if named(&place) && place.len() <= LONGEST {
            return Ok(());
        }
        Err(format!(
            "jobs of {executor:?} are parked in {place:?}, which cannot be a queue of SQS: letters, digits, dashes, underscores, {LONGEST} at most"
        ))
    }
}

/// The name of a queue beside another one.
#[must_use]
pub fn beside(name: &str, what: &str) -> String {
    match name.strip_suffix(FIFO) {
        Some(stem) => format!("{stem}-{what}{FIFO}"),
        None => format!("{name}-{what}"),
    }
}

fn named(name: &str) -> bool {
    let stem = name.strip_suffix(FIFO).unwrap_or(name);
    !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_told_with_its_key() {
        let fault = |change: &dyn Fn(&mut SqsConfig)| {
            let mut config = SqsConfig::at("http://localhost", "q");
            change(&mut config);
            config.fault("block").err().map(|(key, _)| key)
        };
        assert_eq!(fault(&|_| {}), None);
        assert_eq!(fault(&|config| config.queue = Some("https://sqs.eu-west-1.amazonaws.com/1/q.fifo".into())), None);
        assert_eq!(fault(&|config| config.queue = Some("a.b".into())), Some("queue"));
        assert_eq!(fault(&|config| config.queue = Some("q/".into())), Some("queue"));
        assert_eq!(fault(&|config| config.queue = Some("x".repeat(65))), Some("queue"));
        assert_eq!(fault(&|config| config.endpoint = Some("localhost:1".into())), Some("endpoint"));
        assert_eq!(fault(&|config| config.role = Some("admin".into())), Some("role"));
        assert_eq!(fault(&|config| config.wait = Span(Duration::from_secs(21))), Some("wait"));
    }

    #[test]
    fn what_lies_beside_a_fifo_queue_is_one_too() {
        assert_eq!((beside("q", "dead"), beside("q.fifo", "dead")), ("q-dead".into(), "q-dead.fifo".into()));
        let config = SqsConfig::at("http://localhost", "q");
        assert!(config.takes_place("q", "thumbs").is_ok());
        assert!(config.takes_place("q", "thumbs.small").is_err());
        assert!(config.takes_place("q", &"x".repeat(80)).is_err());
    }
}
