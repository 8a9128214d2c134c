//! A request to the API: method, path, parameters, body.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, header};
use serde::Serialize;

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    method: Method,
    path: String,
    query: String,
    content_type: &'static str,
    body: Bytes,
}

impl Ask {
    #[must_use]
    pub fn get(path: &str) -> Self {
        Ask {
            method: Method::GET,
            path: path.to_owned(),
            query: String::new(),
            content_type: "application/json",
            body: Bytes::new(),
        }
    }

    #[must_use]
    pub fn post(path: &str) -> Self {
        Ask { method: Method::POST, ..Ask::get(path) }
    }

    /// Adds a part to the path; whatever stands in it, it stays one part.
    #[must_use]
    pub fn part(mut self, part: &str) -> Self {
        self.path.push('/');
        self.path.push_str(&escape(part));
        self
    }

    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        self.query.push_str(&format!("{name}={}", escape(value)));
        self
    }

    /// Adds a parameter where there is a value.
    #[must_use]
    pub fn with_any(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    #[must_use]
    pub fn json(self, document: &impl Serialize) -> Self {
        // documents of plain values cannot fail to serialise
        Ask { body: serde_json::to_vec(document).unwrap_or_default().into(), ..self }
    }

    /// A body as it is.
    #[must_use]
    pub fn body(self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Ask { content_type, body: body.into(), ..self }
    }

    pub(super) fn request(self) -> Result<Request<Full<Bytes>>, axum::http::Error> {
        Request::builder()
            .method(self.method)
            .uri(format!("{}{}", self.path, self.query))
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, self.content_type)
            .body(Full::new(self.body))
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_part_of_the_path_whatever_stands_in_it() {
        let request = Ask::get("/jobs").part("a/b?c#ü %").with("queue", "x&y=z").request().unwrap();
        assert_eq!(request.uri().path(), "/jobs/a%2Fb%3Fc%23%C3%BC%20%25");
        assert_eq!(request.uri().query(), Some("queue=x%26y%3Dz"));
    }
}
