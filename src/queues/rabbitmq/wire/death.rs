//! What RabbitMQ notes of a message that it dead-letters (`x-death`), told to operators and never sent again.

use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::types::AMQPValue;
use serde::{Deserialize, Serialize};

use crate::job::Message;
use crate::outcome::Class;
use crate::queues::letters::Foreign;

const HEADER: &str = "x-death";
/// Deaths that are told: a message may have gone through many queues.
const TOLD: usize = 5;

/// One death, the latest first.
#[derive(Debug, Serialize, Deserialize)]
struct Death {
    queue: String,
    reason: String,
    count: i64,
    /// Seconds since 1970.
    time: Option<i64>,
    /// The first of its keys.
    key: Option<String>,
}

/// Puts what the server noted among the headers, for [`take`]; the key under which the message came to the queue where it died.
pub(in super::super) fn note(message: &mut Message, properties: &BasicProperties) -> Option<String> {
    let AMQPValue::FieldArray(noted) = properties.headers().as_ref()?.inner().get(HEADER)? else { return None };
    let deaths: Vec<Death> = noted.as_slice().iter().filter_map(read).collect();
    // values of plain types cannot fail to be written
    message.set_header(HEADER, serde_json::to_vec(&deaths).unwrap_or_default());
    deaths.into_iter().next()?.key
}

fn read(value: &AMQPValue) -> Option<Death> {
    let AMQPValue::FieldTable(death) = value else { return None };
    let of = |name: &str| death.inner().get(name);
    let text = |name: &str| of(name).map(|value| String::from_utf8_lossy(&super::values::bytes(value)).into_owned());
    let first = |value: &AMQPValue| match value {
        AMQPValue::FieldArray(keys) => keys.as_slice().first().map(super::values::bytes),
        _ => None,
    };
    Some(Death {
        queue: text("queue")?,
        reason: text("reason").unwrap_or_default(),
        count: of("count").and_then(super::values::number).unwrap_or(1),
        time: of("time").and_then(super::values::number),
        key: of("routing-keys").and_then(first).map(|key| String::from_utf8_lossy(&key).into_owned()),
    })
}

/// What was noted of a message that lies in `queue`, as a sentence; its headers are its producer's again.
pub(in super::super) fn take(message: &mut Message, queue: &str) -> Foreign {
    let noted = message.header(HEADER).and_then(|json| serde_json::from_slice::<Vec<Death>>(json).ok()).unwrap_or_default();
    message.remove_header(HEADER);
    let Some(last) = noted.first() else {
        let message = format!("it was put into {queue:?} by another program, which has noted nothing of why");
        return Foreign { class: Class::Failed, message, at: None, queue: "".into() };
    };
    let told: Vec<String> = noted.iter().take(TOLD).map(Death::tell).collect();
    let class = match last.reason.as_str() {
        "rejected" => Class::Rejected,
        "expired" => Class::Expired,
        _ => Class::Failed,
    };
    let at = last.time.and_then(|seconds| Timestamp::from_second(seconds).ok());
    Foreign {
        class,
        message: format!("RabbitMQ took it out of {}", told.join("; before that, out of ")),
        at,
        queue: last.queue.as_str().into(),
    }
}

impl Death {
    fn tell(&self) -> String {
        let why = match self.reason.as_str() {
            "rejected" => "its consumer rejected it",
            "expired" => "its time was over",
            "maxlen" => "the queue was full",
            "delivery_limit" => "it was delivered too often",
            other => other,
        };
        let times = if self.count == 1 { "once".to_owned() } else { format!("{} times", self.count) };
        let first = self.time.and_then(|seconds| Timestamp::from_second(seconds).ok());
        let first = first.map_or_else(String::new, |at| format!(", first at {at}"));
        format!("{:?} {times} because {why} ({}){first}", self.queue, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::{FieldArray, FieldTable, LongString};

    use super::*;

    fn table(pairs: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in pairs {
            table.insert((*name).into(), value.clone());
        }
        table
    }

    fn text(text: &str) -> AMQPValue {
        AMQPValue::LongString(LongString::from(text.as_bytes()))
    }

    fn death(queue: &str, reason: &str, count: i64) -> AMQPValue {
        let keys = AMQPValue::FieldArray(FieldArray::from(vec![text("key-1")]));
        AMQPValue::FieldTable(table(&[
            ("queue", text(queue)),
            ("reason", text(reason)),
            ("count", AMQPValue::LongLongInt(count)),
            ("time", AMQPValue::Timestamp(1_700_000_000)),
            ("routing-keys", keys),
        ]))
    }

    #[test]
    fn deaths_are_told_in_a_sentence_with_the_queue_the_reason_the_count_and_the_time() {
        let deaths = vec![death("orders", "rejected", 3), death("orders.wait", "expired", 1)];
        let headers = table(&[(HEADER, AMQPValue::FieldArray(FieldArray::from(deaths)))]);
        let mut message = Message::of("x");
        let key = note(&mut message, &BasicProperties::default().with_headers(headers));
        assert_eq!(key.as_deref(), Some("key-1"));
        let told = take(&mut message, "orders.dlq");
        assert_eq!(message, Message::of("x"), "its headers are its producer's");
        assert_eq!((told.class, &*told.queue), (Class::Rejected, "orders"));
        assert_eq!(
            told.message,
            "RabbitMQ took it out of \"orders\" 3 times because its consumer rejected it (rejected), first at \
             2023-11-14T22:13:20Z; before that, out of \"orders.wait\" once because its time was over (expired), first at \
             2023-11-14T22:13:20Z"
        );
    }

    #[test]
    fn a_letter_without_a_note_says_so() {
        let headers = table(&[("x-other", text("y"))]);
        assert_eq!(note(&mut Message::of("x"), &BasicProperties::default().with_headers(headers)), None);
        let told = take(&mut Message::of("x"), "orders.dlq");
        assert!(told.message.contains("another program") && told.queue.is_empty(), "{told:?}");
    }
}
