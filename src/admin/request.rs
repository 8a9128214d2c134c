//! What a request says: its query parameters, none of them ignored, and its body, bounded in size and time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Desk, Refusal};
use crate::engine::budget::Reserved;
use crate::ports::Filter;
use crate::units::{parse_duration, spell_size};

/// For the whole body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// The most of a refused body that is still taken off the wire, in bytes.
const PASSED_OVER: usize = 256 << 20;
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
pub(super) async fn body(desk: &Desk, mut body: Body, limit: usize) -> Result<(Bytes, Reserved), Refusal> {
    let announced = usize::try_from(body.size_hint().upper().unwrap_or(limit as u64)).unwrap_or(usize::MAX);
    if announced > limit {
        pass_over(body).await;
        return Err(too_large(desk, limit));
    }
    let read = async {
        let reserved = desk.bodies.reserve(announced).await;
        Limited::new(&mut body, limit).collect().await.map(|read| (read.to_bytes(), reserved))
    };
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            pass_over(body).await;
            Err(too_large(desk, limit))
        }
        Ok(Err(error)) => Err(Refusal::bad(format!("the body broke off: {error}"))),
        Err(_) => {
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, format!("the body took over {} s to arrive", BODY_TIMEOUT.as_secs())))
        }
    }
}

/// Drops the rest of a refused body as it comes: many a caller reads no answer before it has sent everything.
async fn pass_over(mut body: Body) {
    let mut left = PASSED_OVER;
    let pass = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // whoever is too slow or sends too much finds the connection closed
    drop(tokio::time::timeout(BODY_TIMEOUT, pass).await);
}

/// Reads a small JSON body; an empty one is the default.
pub(super) async fn instructions<T: Default + DeserializeOwned>(desk: &Desk, sent: Body) -> Result<T, Refusal> {
    let (bytes, _reserved) = body(desk, sent, LARGEST_INSTRUCTIONS).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| Refusal::bad(format!("the body: {error}")))
}

fn too_large(desk: &Desk, limit: usize) -> Refusal {
    let [limit, one, many] = [limit, desk.body_limit, desk.largest_body()].map(|size| spell_size(size as u64));
    let message = format!("the body is over {limit}: one job has at most {one} (worker.body_limit), many together {many}");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}
