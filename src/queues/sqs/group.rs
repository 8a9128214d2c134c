//! Message groups and deduplication ids: what FIFO queues ask of every message, and what makes standard queues fair.

use std::borrow::Cow;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::wire::GROUP;
use crate::job::decode::life_of;
use crate::job::{JOB_HEADER, Message};
use crate::ports::Outgoing;

/// The longest group and the longest deduplication id.
const LONGEST: usize = 128;

/// What groups that we make up begin with: they are no keys.
const OURS: &str = "windlass.";

/// The group of a message. In a FIFO queue what has one key comes in order, and what has none waits for nobody. In a
/// standard queue a group is a tenant: the service shares its attention among them.
pub(super) fn of(message: &Message, fifo: bool) -> Option<String> {
    if fifo {
        return Some(match message.key.as_ref().map(|key| std::str::from_utf8(key)) {
            Some(Ok(key)) if fits(key) && !is_ours(key) => key.to_owned(),
            Some(_) => format!("{OURS}{}", digest(message.key.as_deref().unwrap_or_default())),
            None => format!("{OURS}{}", uuid::Uuid::now_v7()),
        });
    }
    let set = message.header(GROUP).and_then(|group| std::str::from_utf8(group).ok()).filter(|group| fits(group));
    set.map(str::to_owned).or_else(|| of_tenant(&message.body))
}

/// Whether we made it up.
pub(super) fn is_ours(group: &str) -> bool {
    group.starts_with(OURS)
}

/// The group of the tenant that a job names, where its body is one.
pub(super) fn of_tenant(body: &[u8]) -> Option<String> {
    let tenant = tenant(body)?;
    Some(if fits(&tenant) { tenant.into_owned() } else { digest(tenant.as_bytes()) })
}

fn tenant(body: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(default, borrow)]
        tenant: Option<Cow<'a, str>>,
    }
    serde_json::from_slice::<Named>(body).ok()?.tenant.filter(|tenant| !tenant.is_empty())
}

/// Names a message, so that sent again it is held once: a copy of a job by where the job came from and how many copies there
/// were, anything else by the id that it is sent under. What has neither is another message each time.
pub(super) fn deduplication(outgoing: &Outgoing) -> String {
    let life = outgoing.message.header(JOB_HEADER).and_then(|_| life_of(&outgoing.message).ok());
    let origin = life.as_ref().and_then(|life| life.origin.as_ref());
    let first = origin.and_then(|origin| Some(format!("{}/{}", origin.queue, origin.id.as_ref()?)));
    let id = match (life, first.or_else(|| outgoing.id.as_deref().map(str::to_owned))) {
        (Some(life), Some(first)) => format!("{first}:{}:{}", life.replay, life.generation),
        (None, Some(id)) => dated(&id, &outgoing.message),
        (_, None) => uuid::Uuid::now_v7().to_string(),
    };
    if fits(&id) { id } else { digest(id.as_bytes()) }
}

/// A dead letter has the id of its job, which may die more than once: each death has another document.
fn dated(id: &str, message: &Message) -> String {
    match message.header(crate::job::FAILURE_HEADER) {
        Some(document) => format!("{id}:{}", digest(document)),
        None => id.to_string(),
    }
}

fn fits(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
