//! Who may call: holders of the token, or who is on this machine and no web page.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::Refusal;

/// What a request must show.
#[derive(Clone)]
pub enum Access {
    /// Nothing: the caller is in this process, or the mode of the socket's file was the guard.
    Trusted,
    /// That it was addressed to this machine by name: without a token the API listens on loopback only, and a web page
    /// whose own name was made to point here (DNS rebinding) is told by the `Host` it sends.
    Loopback,
    /// `Authorization: Bearer <token>`.
    Token(Token),
}

/// The digest of a token, so that a comparison tells nothing of the token by its time.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Access {
    #[must_use]
    pub fn token(token: &str) -> Self {
        Access::Token(Token(digest(token)))
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if matches!(self, Access::Trusted) {
            return Ok(());
        }
        if headers.contains_key(header::ORIGIN) {
            let message = "requests from web pages are refused: this API is for programs";
            return Err(Refusal::new(StatusCode::FORBIDDEN, message));
        }
        match self {
            Access::Token(token) if !token.is(bearer(headers)) => {
                let message =
                    "the token is missing or wrong: send \"Authorization: Bearer <token>\" with the one that api.token names";
                Err(Refusal::new(StatusCode::UNAUTHORIZED, message))
            }
            Access::Loopback if !names_this_machine(headers) => {
                let message = "without api.token only requests to localhost are answered: address them to 127.0.0.1 or localhost";
                Err(Refusal::new(StatusCode::FORBIDDEN, message))
            }
            _ => Ok(()),
        }
    }
}

impl Token {
    fn is(&self, given: &str) -> bool {
        let difference = self.0.iter().zip(digest(given)).fold(0, |sum, (ours, theirs)| sum | (ours ^ theirs));
        std::hint::black_box(difference) == 0
    }
}

pub(super) async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    match access.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The token sent; empty when there is none, which no token is.
fn bearer(headers: &HeaderMap) -> &str {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "",
    }
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(authority) = host.to_str().unwrap_or_default().parse::<axum::http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap()));
        pairs.collect()
    }

    #[test]
    fn only_the_token_opens_what_a_token_guards() {
        let access = Access::token("s3cret");
        assert!(access.check(&headers(&[("authorization", "Bearer s3cret")])).is_ok());
        assert!(access.check(&headers(&[("authorization", "bearer s3cret")])).is_ok());
        for wrong in ["Bearer s3cre", "Bearer s3cretX", "Bearer ", "s3cret", "Basic s3cret"] {
            let refusal = access.check(&headers(&[("authorization", wrong)])).unwrap_err();
            assert_eq!(refusal.status, StatusCode::UNAUTHORIZED, "{wrong}");
        }
        assert_eq!(access.check(&headers(&[])).unwrap_err().status, StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn without_a_token_a_rebound_name_is_refused() {
        for host in ["localhost", "LOCALHOST:7780", "127.0.0.1:7780", "127.1.2.3", "[::1]:7780"] {
            assert!(Access::Loopback.check(&headers(&[("host", host)])).is_ok(), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:7780", "10.0.0.1", "127.0.0.1.nip.io", ""] {
            assert!(Access::Loopback.check(&headers(&[("host", host)])).is_err(), "{host}");
        }
        assert!(Access::Loopback.check(&headers(&[])).is_err(), "no host at all");
        assert!(Access::Loopback.check(&headers(&[("host", "localhost"), ("host", "evil.example")])).is_err());
    }

    #[test]
    fn web_pages_are_refused_even_with_the_token() {
        let page = headers(&[("origin", "http://localhost:7780"), ("host", "localhost"), ("authorization", "Bearer s3cret")]);
        assert_eq!(Access::Loopback.check(&page).unwrap_err().status, StatusCode::FORBIDDEN);
        assert_eq!(Access::token("s3cret").check(&page).unwrap_err().status, StatusCode::FORBIDDEN);
        assert!(Access::Trusted.check(&page).is_ok());
    }
}
