//! What the API answers instead of doing what it was asked: always a JSON document with one sentence.

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::ports::QueueError;

/// Seconds after which a caller may try again what is unavailable now.
const RETRY_AFTER: &str = "5";

/// `{"error": {"message": …, "line": …}}` with its status.
#[derive(Debug, Serialize)]
pub struct Refusal {
    #[serde(skip)]
    pub status: StatusCode,
    pub message: String,
    /// Of the request's body, from 1, where one of many jobs is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Refusal { status, message: message.into(), line: None }
    }

    pub fn bad(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::NOT_FOUND, message)
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::CONFLICT, message)
    }

    #[must_use]
    pub fn at_line(self, line: Option<usize>) -> Self {
        Refusal { line, ..self }
    }
}

impl From<QueueError> for Refusal {
    fn from(error: QueueError) -> Self {
        let status = match &error {
            QueueError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            QueueError::Refused(_) => StatusCode::BAD_REQUEST,
            QueueError::LeaseLost => StatusCode::CONFLICT,
        };
        Refusal::new(status, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Document<'a> {
            error: &'a Refusal,
        }
        let mut response = (self.status, Json(Document { error: &self })).into_response();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
            }
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

pub(super) async fn no_such_path(uri: Uri) -> Refusal {
    Refusal::not_found(format!("there is nothing at {}: docs/http-api.md lists the paths", uri.path()))
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} does not take {method}: docs/http-api.md lists what it does", uri.path()),
    )
}
