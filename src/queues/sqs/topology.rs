//! The queues that must be there: what each is, how it is looked at, and how it is made.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aws_sdk_sqs::types::QueueAttributeName;
use serde::Deserialize;

use super::config::{FIFO, PARKED, Topology as Policy, beside};
use super::system::System;
use super::trouble;
use crate::ports::{Found, Part, QueueError};

/// How long our queues keep messages, in seconds: the longest that SQS knows, 14 days.
const RETENTION: &str = "1209600";

/// A queue to be there.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub name: Arc<str>,
    pub role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Jobs,
    Dead,
    /// Jobs that wait for something, and go back into their queue when their time is over.
    Parked,
}

impl Wanted {
    fn what(&self) -> String {
        let kind = if self.name.ends_with(FIFO) { "FIFO" } else { "standard" };
        let more = match self.role {
            Role::Jobs => "",
            Role::Dead => ", dead letters",
            Role::Parked => ", jobs that wait for something",
        };
        format!("{kind} queue, kept for 14 days{more}")
    }
}

pub(super) fn dead(home: &str) -> Wanted {
    Wanted { name: beside(home, "dead").into(), role: Role::Dead }
}

pub(super) fn place(home: &str, place: &str) -> Wanted {
    Wanted { name: beside(home, &format!("{}{place}", &PARKED[1..])).into(), role: Role::Parked }
}

/// Which place of a queue this is the queue of.
pub(super) fn place_of<'a>(home: &str, queue: &'a str) -> Option<&'a str> {
    let (home, queue) = (home.strip_suffix(FIFO).unwrap_or(home), queue.strip_suffix(FIFO).unwrap_or(queue));
    queue.strip_prefix(home)?.strip_prefix(PARKED)
}

/// Makes a queue.
///
/// # Errors
/// Why it cannot be made.
pub(super) async fn make(system: &System, wanted: &Wanted) -> Result<(), QueueError> {
    let mut request = system.client().await.create_queue().queue_name(&*wanted.name);
    request = request.attributes(QueueAttributeName::MessageRetentionPeriod, RETENTION);
    if wanted.name.ends_with(FIFO) {
        request = request.attributes(QueueAttributeName::FifoQueue, "true");
    }
    match request.send().await {
        Ok(_) => Ok(()),
        // it is there, with other attributes
        Err(error) if ["QueueNameExists", "QueueAlreadyExists"].contains(&trouble::code(&error)) => Ok(()),
        Err(error) => Err(trouble::doing(&format!("making queue {:?}", wanted.name), &system.place, &error)),
    }
}

/// Looks at each queue, and compares it with what it should be.
///
/// # Errors
/// When the service cannot be asked.
pub(super) async fn look(system: &System, queues: &[Wanted]) -> Result<Vec<Part>, QueueError> {
    let mut parts = Vec::new();
    for wanted in queues {
        let attributes = attributes(system, &wanted.name).await?;
        let policy = attributes.as_ref().and_then(redrive);
        let found = match attributes {
            None => Found::Missing,
            Some(attributes) => differs(wanted, &attributes).map_or(Found::AsWanted, Found::Differs),
        };
        let mut what = wanted.what();
        if let (Role::Jobs, Some(policy)) = (wanted.role, &policy) {
            let _infallible = write!(what, ", with a redrive policy of its own after {} deliveries", policy.max_receive_count);
            system.redriven.store(true, Ordering::Relaxed);
        }
        parts.push(Part { name: wanted.name.clone(), what, found });
    }
    Ok(parts)
}

/// Looks at what the jobs of a queue will need, where that is the policy, and tells what is missing or otherwise.
///
/// # Errors
/// When the queue itself is missing, or the service cannot be asked.
pub(super) async fn check(system: &System, wanted: &Wanted) -> Result<(), QueueError> {
    if system.config.topology != Policy::Check || wanted.role != Role::Jobs {
        return Ok(());
    }
    system.url(wanted).await?;
    for part in look(system, &[wanted.clone(), dead(&system.home)]).await? {
        match part.found {
            Found::AsWanted => {}
            Found::Missing => tracing::warn!(
                "{:?} does not exist, and jobs that need it will wait: \"windlass queues create\" makes it",
                part.name
            ),
            Found::Differs(why) => tracing::warn!("{:?}: {why}", part.name),
        }
    }
    if system.fifo && system.redriven.load(Ordering::Relaxed) {
        tracing::warn!(
            "{:?} has a redrive policy: when workers die, SQS moves the first job of a key away and hands out the next: routes \
             with order_by need a queue without one",
            wanted.name
        );
    }
    Ok(())
}

/// What is known of a queue; none when it does not exist.
///
/// # Errors
/// When the service cannot be asked.
pub(super) async fn attributes(
    system: &System,
    queue: &Arc<str>,
) -> Result<Option<HashMap<QueueAttributeName, String>>, QueueError> {
    let Some(url) = system.find(queue).await? else { return Ok(None) };
    let asked = system.client().await.get_queue_attributes().queue_url(&*url).attribute_names(QueueAttributeName::All).send();
    match asked.await {
        Ok(answer) => Ok(Some(answer.attributes.unwrap_or_default())),
        Err(error) if trouble::is_missing(&error) => {
            system.forget(queue);
            Ok(None)
        }
        Err(error) => Err(trouble::doing(&format!("looking at queue {queue:?}"), &system.place, &error)),
    }
}

/// Messages that wait in a queue, as far as the service knows at the moment.
///
/// # Errors
/// When the service cannot be asked.
pub(super) async fn waiting(system: &System, queue: &Arc<str>) -> Result<usize, QueueError> {
    let attributes = attributes(system, queue).await?.unwrap_or_default();
    let count = attributes.get(&QueueAttributeName::ApproximateNumberOfMessages).and_then(|count| count.parse().ok());
    Ok(count.unwrap_or(0))
}

/// The user's own policy on a queue.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Redrive {
    #[serde(deserialize_with = "number")]
    max_receive_count: u64,
    dead_letter_target_arn: String,
}

/// Servers write it as a number or as text.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| serde::de::Error::custom("no number"))
}

fn redrive(attributes: &HashMap<QueueAttributeName, String>) -> Option<Redrive> {
    serde_json::from_str(attributes.get(&QueueAttributeName::RedrivePolicy)?).ok()
}

/// What is otherwise than it should be, as a sentence with the fix.
fn differs(wanted: &Wanted, attributes: &HashMap<QueueAttributeName, String>) -> Option<String> {
    let seconds = |name| attributes.get(&name).and_then(|text| text.parse::<u64>().ok());
    let policy = redrive(attributes);
    match (wanted.role, policy) {
        (Role::Jobs, Some(Redrive { max_receive_count: 1, .. })) => {
            return Some(
                "its redrive policy has a maxReceiveCount of 1: SQS moves a job away as soon as it was delivered once and not \
                 settled, so that every stop and every death of a worker takes jobs out of the queue: raise it to 10 or more, \
                 or remove the policy (retries and dead letters are Windlass's own)"
                    .into(),
            );
        }
        (Role::Dead | Role::Parked, Some(policy)) => {
            return Some(format!(
                "its redrive policy moves what is looked at {} times to {}: remove it, or jobs disappear from here",
                policy.max_receive_count, policy.dead_letter_target_arn
            ));
        }
        _ => {}
    }
    if wanted.role != Role::Jobs
        && let Some(kept) = seconds(QueueAttributeName::MessageRetentionPeriod).filter(|kept| kept.to_string() != RETENTION)
    {
        return Some(format!("SQS drops what has been in it for {kept} seconds: set MessageRetentionPeriod to {RETENTION}"));
    }
    None
}
