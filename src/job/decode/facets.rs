//! What tells jobs apart before they are read whole: a look at three keys of the message.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::envelope::Text;
use super::{Decoding, cloudevents, raw};
use crate::job::Message;

/// What tells jobs apart for fairness and order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facets {
    pub tenant: Arc<str>,
    pub kind: Arc<str>,
    pub key: Option<Arc<str>>,
}

/// Looks at a message; one that cannot be decoded is told apart as far as it can be read.
pub type Sort = Arc<dyn Fn(&Message) -> Facets + Send + Sync>;

/// The tenant of a job that names none.
pub(super) const NO_TENANT: &str = "default";

/// Sorts the messages of a source whose bodies are read in this way, as [`super::decode`] would.
#[must_use]
pub fn sort(decoding: &Decoding) -> Sort {
    let decoding = decoding.clone();
    Arc::new(move |message| facets(message, &decoding))
}

fn facets(message: &Message, decoding: &Decoding) -> Facets {
    let envelope = match decoding {
        Decoding::Envelope => cloudevents::binary(message).ok().flatten(),
        Decoding::Raw(rule) => raw(message, rule).ok(),
    };
    let named = match envelope {
        Some(envelope) => Named { kind: envelope.kind, tenant: envelope.tenant, key: envelope.key },
        None if *decoding == Decoding::Envelope => Named::read(&message.body),
        None => Named::default(),
    };
    let Named { kind, tenant, key } = named;
    Facets {
        tenant: tenant.map_or_else(|| NO_TENANT.into(), |text| text.shared()),
        kind: kind.map_or_else(|| "".into(), |text| text.shared()),
        key: match key {
            Some(key) => Some(key.shared()),
            None => message.key.as_ref().map(|key| String::from_utf8_lossy(key).into()),
        },
    }
}

#[derive(Default)]
struct Named<'a> {
    kind: Option<Text<'a>>,
    tenant: Option<Text<'a>>,
    key: Option<Text<'a>>,
}

impl<'a> Named<'a> {
    /// Nothing of a body that is no JSON object.
    fn read(body: &'a [u8]) -> Self {
        serde_json::Deserializer::from_slice(body).deserialize_map(Keys).unwrap_or_default()
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Named<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object with the keys of a job")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<'de>, A::Error> {
        let mut named = Named::default();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &*key {
                "type" => named.kind = map.next_value()?,
                "tenant" => named.tenant = map.next_value()?,
                "key" | "partitionkey" => named.key = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(named)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RawType, Received, decode};
    use super::*;
    use crate::job::{Header, Origin};
    use jiff::Timestamp;

    fn read(message: &Message, decoding: &Decoding) -> Facets {
        let received = Received { origin: Origin::default(), published: None, now: Timestamp::UNIX_EPOCH };
        let job = decode(message, decoding, &received).unwrap();
        Facets { tenant: job.tenant, kind: job.kind, key: job.key }
    }

    #[test]
    fn a_look_sees_what_the_whole_decoder_reads() {
        let keyed = |body: &str| Message { key: Some("of the message".into()), ..Message::of(body.to_owned()) };
        let mut binary = keyed("not json");
        for (name, value) in [("ce_specversion", "1.0"), ("ce_type", "t"), ("ce_tenant", "acme"), ("ce_partitionkey", "k")] {
            binary.headers.push(Header::new(name, value));
        }
        let messages = [
            keyed(r#"{"type":"t"}"#),
            keyed(r#"{"type":"t","key":null,"tenant":null}"#),
            keyed(r#"{"data":{"type":"no","key":"no"},"type":"caf\u00e9","key":"k\n","tenant":"acme"}"#),
            keyed(r#"{"type":"t","type":"u","tenant":"a","tenant":"b"}"#),
            Message::of(r#"{"specversion":"1.0","id":"e","type":"t","partitionkey":"k"}"#),
            binary,
        ];
        for message in messages {
            let look = sort(&Decoding::Envelope);
            assert_eq!(look(&message), read(&message, &Decoding::Envelope), "{message:?}");
        }
        let raw = Decoding::Raw(RawType::Constant("scan".into()));
        let message = keyed("any bytes");
        assert_eq!(sort(&raw)(&message), read(&message, &raw));
    }

    #[test]
    fn what_is_no_job_has_no_type_and_the_tenant_of_all() {
        for body in ["", "[1]", "\u{0}", r#"{"type":7}"#, r#"{"type":"t""#] {
            let facets = sort(&Decoding::Envelope)(&Message::of(body));
            assert_eq!((&*facets.tenant, &*facets.kind, facets.key), ("default", "", None), "{body}");
        }
    }
}
