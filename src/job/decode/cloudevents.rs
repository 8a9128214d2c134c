//! The binary mode of CloudEvents: attributes in headers, the data as the body.

use base64::Engine as _;
use serde_json::value::RawValue;

use super::Malformed;
use super::envelope::{Envelope, Text};
use crate::job::Message;

/// The prefixes of the Kafka, HTTP and AMQP bindings.
const PREFIXES: [&str; 4] = ["ce_", "ce-", "cloudEvents_", "cloudEvents:"];

/// Reads a message whose headers say that it is a CloudEvent in binary mode; `None` when they do not.
pub(super) fn binary(message: &Message) -> Result<Option<Envelope<'_>>, Malformed> {
    if !message.headers.iter().any(|header| attribute(&header.name) == Some("specversion")) {
        return Ok(None);
    }
    let mut envelope = Envelope::default();
    for header in &message.headers {
        let Some(name) = attribute(&header.name) else { continue };
        let text = std::str::from_utf8(&header.value).map_err(|_| Malformed(format!("header {:?} is not UTF-8", header.name)))?;
        read(&mut envelope, name, text)?;
    }
    match serde_json::from_slice::<&RawValue>(&message.body) {
        Ok(json) => envelope.data = Some(json),
        Err(_) if message.body.is_empty() => {}
        Err(_) => {
            let text = base64::engine::general_purpose::STANDARD.encode(&message.body);
            envelope.data_base64 = Some(Text(text.into()));
        }
    }
    Ok(Some(envelope))
}

fn attribute(header: &str) -> Option<&str> {
    PREFIXES.iter().find_map(|prefix| header.strip_prefix(prefix))
}

fn read<'a>(envelope: &mut Envelope<'a>, name: &str, text: &'a str) -> Result<(), Malformed> {
    let number = || text.parse().map_err(|_| Malformed(format!("{name}: {text:?} is not a number")));
    let value = Some(Text(text.into()));
    match name {
        "specversion" if !text.starts_with("1.") => {
            return Err(Malformed(format!("specversion: {text:?}; CloudEvents 1.0 is understood")));
        }
        "id" => envelope.id = value,
        "type" => envelope.kind = value,
        "partitionkey" => envelope.key = value,
        "notbefore" => envelope.not_before = value,
        "deadline" => envelope.deadline = value,
        "tenant" => envelope.tenant = value,
        "jobversion" => envelope.version = value,
        "batchid" => envelope.batch_id = value,
        "batchsize" => envelope.batch_size = Some(number()?),
        "priority" => envelope.priority = Some(number()?),
        "traceparent" => envelope.traceparent = value,
        "tracestate" => envelope.tracestate = value,
        _ => {}
    }
    Ok(())
}
