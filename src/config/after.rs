//! What a route says about other jobs: which are the same as one of its own, and which comes after.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Deserialize as Derive, Serialize};

use crate::units::Span;

/// `{ key: data.order, for: 1h }`: of jobs with the same key only one runs.
#[derive(Clone, Debug, PartialEq, Serialize, Derive)]
#[serde(deny_unknown_fields)]
pub struct UniqueJobs {
    /// An expression; where it is null the job is like no other.
    pub key: String,
    /// How long after the job was done others are discarded too.
    #[serde(rename = "for")]
    pub span: Span,
}

/// A job type, or `{ type: invoice.mail, queue: mails, key: result.customer }`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NextJob {
    #[serde(rename = "type")]
    pub kind: String,
    /// The queue of the job that was done, when absent.
    pub queue: Option<String>,
    /// An expression over `job`, `data` and `result`; the key of the job that was done when absent.
    pub key: Option<String>,
}

#[derive(Derive)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    queue: Option<String>,
    #[serde(default)]
    key: Option<String>,
}

impl<'de> Deserialize<'de> for NextJob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Spelled;
        impl<'de> Visitor<'de> for Spelled {
            type Value = NextJob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a job type, or a block with a type")
            }

            fn visit_str<E: de::Error>(self, kind: &str) -> Result<NextJob, E> {
                Ok(NextJob { kind: kind.to_owned(), queue: None, key: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NextJob, A::Error> {
                let Written { kind, queue, key } = Written::deserialize(MapAccessDeserializer::new(map))?;
                Ok(NextJob { kind, queue, key })
            }
        }
        deserializer.deserialize_any(Spelled)
    }
}
