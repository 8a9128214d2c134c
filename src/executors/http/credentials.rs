//! Who we are to the endpoint: a header with a secret, or a token that is fetched, kept and renewed.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::utf8_percent_encode;
use reqwest::header::{self, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::answer::retry_after;
use super::call::innermost;
use super::config::{Auth, CredentialsIn, OAuth2};
use crate::executors::template::RESERVED;
use crate::job::life::shorten;
use crate::outcome::{Class, Failure};

/// How long a token endpoint may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nobody asks again after it has failed: those who waited for the same token share the failure.
const REST: Duration = Duration::from_secs(1);
/// The largest answer of a token endpoint, in bytes.
const LARGEST: usize = 1 << 20;
/// Of a token whose life is not told, as the endpoint may know shorter ones.
const UNTOLD: Duration = Duration::from_secs(300);
/// A token is renewed so long before its end, or a tenth of its life before.
const MARGIN: Duration = Duration::from_secs(30);

pub type Header = (HeaderName, HeaderValue);

/// What says who we are.
#[derive(Debug)]
pub enum Credentials {
    None,
    Fixed(Header),
    Tokens(Box<Tokens>),
}

/// Tokens of OAuth 2.0 client credentials.
#[derive(Debug)]
pub struct Tokens {
    client: Client,
    url: Url,
    form: String,
    /// Where the client is told in a header.
    basic: Option<HeaderValue>,
    /// Held while one is fetched, so that it is fetched once.
    kept: Mutex<Option<Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    token: Result<HeaderValue, Failure>,
    until: Instant,
}

impl Credentials {
    /// # Errors
    /// The secret that cannot be read, by its reference.
    pub fn new(auth: Option<&Auth>, client: &Client, base: &Path) -> Result<Self, String> {
        Ok(match auth {
            None => Credentials::None,
            Some(Auth::Bearer(token)) => {
                let token = token.read(base).map_err(|why| format!("auth.bearer: {why}"))?;
                Credentials::Fixed((header::AUTHORIZATION, secret(&format!("Bearer {token}"), "auth.bearer")?))
            }
            Some(Auth::Basic { username, password }) => {
                let password = password.read(base).map_err(|why| format!("auth.basic.password: {why}"))?;
                Credentials::Fixed((header::AUTHORIZATION, basic(username, &password)?))
            }
            Some(Auth::Header { name, value }) => {
                let value = value.read(base).map_err(|why| format!("auth.header.value: {why}"))?;
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("auth.header.name: {name:?} is none"))?;
                Credentials::Fixed((name, secret(&value, "auth.header.value")?))
            }
            Some(Auth::Oauth2(oauth2)) => Credentials::Tokens(Box::new(Tokens::new(oauth2, client, base)?)),
        })
    }

    /// The header to send.
    ///
    /// # Errors
    /// Why there is no token.
    pub async fn header(&self) -> Result<Option<Header>, Failure> {
        match self {
            Credentials::None => Ok(None),
            Credentials::Fixed(header) => Ok(Some(header.clone())),
            Credentials::Tokens(tokens) => tokens.token().await.map(|token| Some((header::AUTHORIZATION, token))),
        }
    }

    /// The endpoint does not take this header: whether the next one is another.
    pub async fn refused(&self, refused: Option<&Header>) -> bool {
        let (Credentials::Tokens(tokens), Some((_, refused))) = (self, refused) else { return false };
        let mut kept = tokens.kept.lock().await;
        if kept.as_ref().is_some_and(|kept| kept.token.as_ref().is_ok_and(|token| token == refused)) {
            *kept = None;
        }
        true
    }
}

impl Tokens {
    fn new(config: &OAuth2, client: &Client, base: &Path) -> Result<Self, String> {
        let key = config.client_secret.read(base).map_err(|why| format!("auth.oauth2.client_secret: {why}"))?;
        let mut fields = vec![("grant_type", "client_credentials")];
        fields.extend(config.scope.as_deref().map(|scope| ("scope", scope)));
        fields.extend(config.audience.as_deref().map(|audience| ("audience", audience)));
        let in_header = config.credentials_in == CredentialsIn::Header;
        if !in_header {
            fields.extend([("client_id", config.client_id.as_str()), ("client_secret", key.as_str())]);
        }
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", form(value))).collect();
        // RFC 6749, 2.3.1: encoded as in a form before they are joined
        let basic = in_header.then(|| basic(&form(&config.client_id), &form(&key))).transpose()?;
        let url = Url::parse(&config.token_url).map_err(|error| format!("auth.oauth2.token_url: {error}"))?;
        Ok(Tokens { client: client.clone(), url, form: fields.join("&"), basic, kept: Mutex::new(None) })
    }

    async fn token(&self) -> Result<HeaderValue, Failure> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.until > Instant::now()) {
            return kept.token.clone();
        }
        let fresh = match self.fetch().await {
            Ok((token, life)) => Kept { token: Ok(token), until: Instant::now() + life.saturating_sub(MARGIN.min(life / 10)) },
            Err(failure) => Kept { token: Err(failure), until: Instant::now() + REST },
        };
        *kept = Some(fresh.clone());
        fresh.token
    }

    async fn fetch(&self) -> Result<(HeaderValue, Duration), Failure> {
        let mut request = reqwest::Request::new(Method::POST, self.url.clone());
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(basic) = &self.basic {
            request.headers_mut().insert(header::AUTHORIZATION, basic.clone());
        }
        *request.body_mut() = Some(self.form.clone().into());
        *request.timeout_mut() = Some(PATIENCE);
        let unavailable = |error: reqwest::Error| {
            Failure::new(Class::Unavailable, format!("no token: {} does not answer: {}", self.place(), innermost(&error)))
        };
        let mut response = self.client.execute(request).await.map_err(unavailable)?;
        let (status, wait) = (response.status(), retry_after(response.headers()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST {
                let why = format!(
                    "no token: {} answers with more than a megabyte; auth.oauth2.token_url says who is asked",
                    self.place()
                );
                return Err(Failure::new(Class::Misconfigured, why));
            }
        }
        self.read(status, &body).map_err(|mut failure| {
            failure.retry_after = wait;
            failure
        })
    }

    fn read(&self, status: StatusCode, body: &[u8]) -> Result<(HeaderValue, Duration), Failure> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Told {
            access_token: Option<String>,
            expires_in: Option<f64>,
            error: Option<String>,
            error_description: Option<String>,
        }
        let told: Told = serde_json::from_slice(body).unwrap_or_default();
        if let (true, Some(token)) = (status.is_success(), &told.access_token) {
            let life = told.expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let value = secret(&format!("Bearer {token}"), "the token").map_err(|why| Failure::new(Class::Misconfigured, why))?;
            return Ok((value, life.unwrap_or(UNTOLD)));
        }
        let class = match status.as_u16() {
            429 => Class::Throttled,
            500.. => Class::Unavailable,
            _ => Class::Misconfigured,
        };
        let why = [told.error, told.error_description].into_iter().flatten().collect::<Vec<_>>().join(": ");
        let why = if why.is_empty() { "it holds no access_token" } else { shorten(&why, 300) };
        let fix = if class == Class::Misconfigured { "; auth.oauth2 says who asks for it" } else { "" };
        Err(Failure::new(class, format!("no token: {} answered {status}: {why}{fix}", self.place())))
    }

    /// The address, without what may be secret in it.
    fn place(&self) -> String {
        format!("{}{}", self.url.origin().ascii_serialization(), self.url.path())
    }
}

fn form(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

fn basic(username: &str, password: &str) -> Result<HeaderValue, String> {
    secret(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))), "auth")
}

fn secret(text: &str, named: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|_| format!("{named}: it cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}
