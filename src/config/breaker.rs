//! The key `breaker` of an executor: when it opens, and how it looks whether it may close.

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::engine::breaker::Settings;
use crate::units::Span;

/// A block of keys, or `off`.
#[derive(Clone, Debug, PartialEq)]
pub enum Breaker {
    On(BreakerKeys),
    Off,
}

/// `{ jobs: 5, ratio: 0.5, window: 30s, probe: 5s, longest_probe: 60s }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerKeys {
    /// Distinct jobs that must have found the target dead.
    pub jobs: u64,
    /// Their part of all runs.
    pub ratio: f64,
    /// Within which both are counted.
    pub window: Span,
    /// The wait before the first probe; it doubles with each that fails.
    pub probe: Span,
    pub longest_probe: Span,
}

impl Default for BreakerKeys {
    fn default() -> Self {
        let Settings { jobs, ratio, window, probe, longest_probe } = Settings::default();
        BreakerKeys { jobs, ratio, window: Span(window), probe: Span(probe), longest_probe: Span(longest_probe) }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker::On(BreakerKeys::default())
    }
}

impl Breaker {
    /// None when it is off.
    #[must_use]
    pub fn settings(&self) -> Option<Settings> {
        let Breaker::On(BreakerKeys { jobs, ratio, window, probe, longest_probe }) = self else { return None };
        Some(Settings { jobs: *jobs, ratio: *ratio, window: window.0, probe: probe.0, longest_probe: longest_probe.0 })
    }
}

impl Serialize for Breaker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Breaker::On(keys) => keys.serialize(serializer),
            Breaker::Off => serializer.serialize_str("off"),
        }
    }
}

impl<'de> Deserialize<'de> for Breaker {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl<'de> Visitor<'de> for Written {
            type Value = Breaker;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("off, or a block such as { jobs: 5, ratio: 0.5, window: 30s }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Breaker, E> {
                match text {
                    "off" => Ok(Breaker::Off),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Breaker, E> {
                if on { Err(E::invalid_value(de::Unexpected::Bool(on), &self)) } else { Ok(Breaker::Off) }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Breaker, A::Error> {
                BreakerKeys::deserialize(MapAccessDeserializer::new(map)).map(Breaker::On)
            }
        }

        deserializer.deserialize_any(Written)
    }
}
