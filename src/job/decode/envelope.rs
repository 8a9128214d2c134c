//! The keys of Windlass JSON and structured CloudEvents, read in one pass over the body.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Text borrowed from the body where it holds no escapes.
#[derive(Clone, Debug)]
pub(super) struct Text<'a>(pub Cow<'a, str>);

impl Text<'_> {
    pub fn shared(&self) -> Arc<str> {
        Arc::from(&*self.0)
    }
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

/// The keys as written, before their values are understood.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    pub id: Option<Text<'a>>,
    pub kind: Option<Text<'a>>,
    pub version: Option<Text<'a>>,
    pub data: Option<&'a RawValue>,
    pub data_base64: Option<Text<'a>>,
    pub key: Option<Text<'a>>,
    pub tenant: Option<Text<'a>>,
    pub priority: Option<u64>,
    pub not_before: Option<Text<'a>>,
    pub delay: Option<Text<'a>>,
    pub deadline: Option<Text<'a>>,
    pub batch_id: Option<Text<'a>>,
    pub batch_size: Option<u64>,
    pub batch_member: Option<Text<'a>>,
    pub traceparent: Option<Text<'a>>,
    pub tracestate: Option<Text<'a>>,
    pub extensions: Vec<(Text<'a>, &'a RawValue)>,
    pub specversion: Option<Text<'a>>,
    pub envelope_version: Option<u64>,
}

#[derive(serde::Deserialize)]
struct BatchKey {
    id: String,
    size: Option<u64>,
    member: Option<String>,
}

impl<'a> Envelope<'a> {
    /// Reads a JSON body.
    ///
    /// # Errors
    /// A sentence that names the key, or the place where the body stops being JSON.
    pub fn parse(body: &'a [u8]) -> Result<Self, String> {
        let text =
            std::str::from_utf8(body).map_err(|error| format!("the body is not UTF-8 from byte {}", error.valid_up_to()))?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let envelope = reader.deserialize_map(Keys).map_err(|error| explain(&error))?;
        reader.end().map_err(|error| explain(&error))?;
        envelope.checked()
    }

    fn checked(self) -> Result<Self, String> {
        if let Some(version) = &self.specversion
            && !version.starts_with("1.")
        {
            return Err(format!("specversion: {:?}; CloudEvents 1.0 is understood", &**version));
        }
        Ok(self)
    }

    fn read<A: MapAccess<'a>>(&mut self, key: Text<'a>, map: &mut A) -> Result<(), A::Error> {
        match &*key {
            "v" => self.envelope_version = value(&key, map)?,
            "id" => self.id = value(&key, map)?,
            "type" => self.kind = value(&key, map)?,
            "version" | "jobversion" => self.version = value(&key, map)?,
            "data" => self.data = Some(map.next_value()?),
            "data_base64" => self.data_base64 = value(&key, map)?,
            "key" | "partitionkey" => self.key = value(&key, map)?,
            "tenant" => self.tenant = value(&key, map)?,
            "priority" => self.priority = value(&key, map)?,
            "not_before" | "notbefore" => self.not_before = value(&key, map)?,
            "delay" => self.delay = value(&key, map)?,
            "deadline" => self.deadline = value(&key, map)?,
            "batch" => {
                if let Some(batch) = value::<BatchKey, A>(&key, map)? {
                    (self.batch_id, self.batch_size) = (Some(Text(batch.id.into())), batch.size);
                    self.batch_member = batch.member.map(|member| Text(member.into()));
                }
            }
            "batchid" => self.batch_id = value(&key, map)?,
            "batchmember" => self.batch_member = value(&key, map)?,
            "batchsize" => self.batch_size = value(&key, map)?,
            "traceparent" => self.traceparent = value(&key, map)?,
            "tracestate" => self.tracestate = value(&key, map)?,
            "specversion" => self.specversion = value(&key, map)?,
            _ => self.extensions.push((key, map.next_value()?)),
        }
        Ok(())
    }
}

/// The value of one key, its errors named after the key; JSON `null` is the same as absent.
fn value<'a, T: Deserialize<'a>, A: MapAccess<'a>>(key: &Text<'_>, map: &mut A) -> Result<Option<T>, A::Error> {
    let raw: &'a RawValue = map.next_value()?;
    serde_json::from_str(raw.get()).map_err(|error| de::Error::custom(format_args!("{}: {}", &**key, bare(&error))))
}

/// The error without the position, which counts from the start of the value.
fn bare(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn explain(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => error.to_string(),
        _ => format!("the body is not JSON: {error}"),
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object with the keys of a job")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            envelope.read(key, &mut map)?;
        }
        Ok(envelope)
    }
}
