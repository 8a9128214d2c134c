//! What a request says: its query parameters, none of them ignored, and its body, bounded in size and time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::Bytes;
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Desk, Refusal};
use crate::engine::budget::Reserved;
use crate::ports::Filter;
use crate::units::parse_duration;

/// For the whole body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest body with instructions, in bytes.
const LARGEST_INSTRUCTIONS: usize = 64 * 1024;

/// The id or the name that stands in the path.
pub(super) struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Path(name) = Path::from_request_parts(parts, state).await.map_err(|error| Refusal::bad(error.body_text()))?;
        Ok(Named(name))
    }
}

/// The query parameters; each is taken by name, and what nobody took is refused.
pub(super) struct Asked(BTreeMap<String, String>);

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let pairs = Query::try_from_uri(&parts.uri).map(|Query(pairs)| pairs);
        Ok(Asked(pairs.unwrap_or_default())) // pairs of text can always be read
    }
}

impl Asked {
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    pub fn duration(&mut self, name: &str) -> Result<Option<Duration>, Refusal> {
        let text = self.take(name);
        text.map(|text| parse_duration(&text).map_err(|why| Refusal::bad(format!("{name}: {why}")))).transpose()
    }

    pub fn number(&mut self, name: &str) -> Result<Option<usize>, Refusal> {
        let text = self.take(name);
        text.map(|text| text.parse().map_err(|_| Refusal::bad(format!("{name}: {text:?} is not a number")))).transpose()
    }

    pub fn flag(&mut self, name: &str) -> Result<bool, Refusal> {
        match self.take(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(other) => Err(Refusal::bad(format!("{name}: {other:?} is neither true nor false"))),
        }
    }

    /// Takes the rest as a filter.
    pub fn filter(self) -> Result<Filter, Refusal> {
        filter(self.0.into_iter().map(|(key, value)| (key, Value::String(value))).collect())
    }

    /// Refuses what is left.
    pub fn end(self) -> Result<(), Refusal> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(Refusal::bad(format!("{name}: this path has no such parameter; docs/http-api.md lists them"))),
        }
    }
}

/// Reads a filter; a key that is none of its own is an error, never a filter that matches too much.
pub(super) fn filter(keys: Map<String, Value>) -> Result<Filter, Refusal> {
    serde_json::from_value(Value::Object(keys)).map_err(|error| Refusal::bad(format!("filter: {error}")))
}

/// Reads a body of at most `limit` bytes; its memory is taken from the desk's budget before, and is held with it.
pub(super) async fn body(desk: &Desk, body: Body, limit: usize) -> Result<(Bytes, Reserved), Refusal> {
    let announced = usize::try_from(body.size_hint().upper().unwrap_or(limit as u64)).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(too_large(limit));
    }
    let read = async {
        let reserved = desk.bodies.reserve(announced).await;
        to_bytes(body, limit).await.map(|bytes| (bytes, reserved))
    };
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) if is_length_limit(&error) => Err(too_large(limit)),
        Ok(Err(error)) => Err(Refusal::bad(format!("the body broke off: {error}"))),
        Err(_) => {
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, format!("the body took over {} s to arrive", BODY_TIMEOUT.as_secs())))
        }
    }
}

/// Reads a small JSON body; an empty one is the default.
pub(super) async fn instructions<T: Default + DeserializeOwned>(desk: &Desk, sent: Body) -> Result<T, Refusal> {
    let (bytes, _reserved) = body(desk, sent, LARGEST_INSTRUCTIONS).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| Refusal::bad(format!("the body: {error}")))
}

fn too_large(limit: usize) -> Refusal {
    let limit = crate::units::spell_size(limit as u64);
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is over {limit}: send fewer jobs at once"))
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}
