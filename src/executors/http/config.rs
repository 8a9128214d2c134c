//! The block `http:` of an executor.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::executors::limits::one_mebibyte;
use crate::executors::payload::Format;
use crate::executors::template::{Escape, Template, is_template};
use crate::expression::{Expression, Scope};
use crate::outcome::Class;
use crate::secret::Secret;
use crate::units::{Size, Span};

/// `{ http: { url: "https://example.org/invoices" } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where jobs are sent; a template.
    pub url: String,
    #[serde(default = "post")]
    pub method: String,
    /// Templates; a value may be a secret by reference.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub format: Format,
    /// A template, in the place of `format`.
    #[serde(default)]
    pub body: Option<String>,
    /// The endpoint is a function platform after the custom platform specification 1.0.
    #[serde(default)]
    pub platform: Option<PlatformConfig>,
    /// The header that tells the job's id, so that the endpoint can recognise a repetition.
    #[serde(default = "idempotency_key")]
    pub idempotency_header: Option<String>,
    /// An expression over the answer that is true of success.
    #[serde(default)]
    pub success: Option<String>,
    /// What a status means, beside the defaults of `docs/http.md`: `404`, or `4xx` for all that begin so.
    #[serde(default)]
    pub statuses: BTreeMap<String, Meaning>,
    #[serde(default)]
    pub auth: Option<Auth>,
    #[serde(default)]
    pub tls: Tls,
    /// The address of an HTTP proxy.
    #[serde(default)]
    pub proxy: Option<String>,
    /// How many times an answer that sends us on within the same server is followed.
    #[serde(default)]
    pub redirects: u32,
    /// Calls at once; `slots` bounds them too.
    #[serde(default)]
    pub concurrency: Option<usize>,
    /// Until there is a connection, TLS included.
    #[serde(default = "ten_seconds")]
    pub connect_timeout: Span,
    /// The largest answer, unpacked.
    #[serde(default = "one_mebibyte")]
    pub output: Size,
}

/// A function on a platform after the custom platform specification 1.0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformConfig {
    /// Its name there.
    pub function: String,
    /// The number that it is called with; by default the one at the end of its name.
    #[serde(default)]
    pub job_id: Option<u32>,
}

/// Who we are to the endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    Bearer(Secret),
    Basic { username: String, password: Secret },
    Header { name: String, value: Secret },
    Oauth2(OAuth2),
}

/// Client credentials (RFC 6749, 4.4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth2 {
    pub token_url: String,
    pub client_id: String,
    pub client_secret: Secret,
    #[serde(default)]
    pub scope: Option<String>,
    #[serde(default)]
    pub audience: Option<String>,
    /// Where the token endpoint reads who asks.
    #[serde(default)]
    pub credentials_in: CredentialsIn,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialsIn {
    #[default]
    Header,
    Body,
}

/// Certificates, as PEM files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Trusted certificates; those of the system when absent.
    pub ca: Option<PathBuf>,
    /// Ours, with the chain behind it.
    pub certificate: Option<PathBuf>,
    pub key: Option<Secret>,
}

/// What a status means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    Success,
    Failure(Class),
}

const SUCCESS: &str = "success";

impl Serialize for Meaning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Meaning::Success => serializer.serialize_str(SUCCESS),
            Meaning::Failure(class) => class.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Meaning {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == SUCCESS {
            return Ok(Meaning::Success);
        }
        let read: Result<Class, de::value::Error> = Class::deserialize(text.as_str().into_deserializer());
        read.map(Meaning::Failure).map_err(|_| {
            let classes = Class::ALL.map(Class::as_str).join(", ");
            de::Error::custom(format!("{text:?} is no meaning of a status: write {SUCCESS}, or a failure class: {classes}"))
        })
    }
}

/// What is wrong with a block: the key, why, and the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub key: &'static str,
    pub why: String,
    pub fix: &'static str,
}

/// Headers that say who we are: their values are secrets.
const SECRET_HEADERS: [&str; 6] = ["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-functions-key"];
/// Headers that the body and the connection decide.
const OWN_HEADERS: [&str; 5] = ["content-length", "transfer-encoding", "host", "connection", "accept-encoding"];

impl HttpConfig {
    /// What cannot work whatever the world is like.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut add = |key, why: Result<(), String>, fix| {
            if let Err(why) = why {
                faults.push(Fault { key, why, fix });
            }
        };
        add("url", address(&self.url), "write https://host/path; who we are goes into auth");
        add("url", Template::compile(&self.url, Escape::Url).map(drop), "docs/http.md has the language of templates");
        let method = !self.method.is_empty() && self.method.bytes().all(|byte| byte.is_ascii_uppercase());
        add("method", method.then_some(()).ok_or_else(|| format!("{:?} is no method", self.method)), "write POST, for example");
        let body = self.body.as_ref().map_or(Ok(()), |body| Template::compile(body, Escape::Json).map(drop));
        add("body", body, "docs/http.md has the language of templates");
        for (name, value) in &self.headers {
            add("headers", header(name, value), "write the value as a template, or as env:NAME or file:PATH");
        }
        let name = self.idempotency_header.as_deref().map_or(Ok(()), header_name);
        add("idempotency_header", name, "write the name of a header, or null");
        let success = self.success.as_deref().map_or(Ok(()), |rule| {
            Expression::compile(rule, Scope::Result)
                .map(drop)
                .map_err(|wrong| format!("column {}: {}", wrong.column, wrong.message))
        });
        add("success", success, "write an expression over result, such as result.ok == true");
        for status in self.statuses.keys() {
            let known = statuses(status).map(drop);
            add(
                "statuses",
                known.ok_or_else(|| format!("{status:?} is no status")),
                "write one such as 404, or 4xx for all that begin so",
            );
        }
        if let Some(Auth::Oauth2(oauth2)) = &self.auth {
            add("auth", address(&oauth2.token_url).map_err(|why| format!("token_url: {why}")), "write https://host/path");
        }
        if let Some(Auth::Header { name, .. }) = &self.auth {
            add("auth", header_name(name), "write the name of a header");
        }
        let proxy = self.proxy.as_deref().map_or(Ok(()), address);
        add("proxy", proxy, "write http://host:port");
        let pair = self.tls.certificate.is_some() == self.tls.key.is_some();
        add("tls", pair.then_some(()).ok_or_else(|| "certificate and key belong together".into()), "write both, or none");
        let some = self.concurrency != Some(0);
        add("concurrency", some.then_some(()).ok_or_else(|| "no job would ever be let in".into()), "write 1 or more, or null");
        self.combined(&mut faults);
        faults
    }

    /// Every secret that the block names, with its key.
    #[must_use]
    pub fn secrets(&self) -> Vec<(&'static str, Secret)> {
        let headers = self.headers.values().filter_map(|value| Some(("headers", Secret::parse(value).ok()?)));
        let auth = self.auth.as_ref().map(|auth| match auth {
            Auth::Bearer(secret) | Auth::Basic { password: secret, .. } | Auth::Header { value: secret, .. } => secret,
            Auth::Oauth2(oauth2) => &oauth2.client_secret,
        });
        let auth = auth.map(|secret| ("auth", secret.clone()));
        headers.chain(auth).chain(self.tls.key.clone().map(|key| ("tls", key))).collect()
    }

    /// Keys that do not go together.
    fn combined(&self, faults: &mut Vec<Fault>) {
        let mut add = |key, why: &str, fix| faults.push(Fault { key, why: why.into(), fix });
        if self.body.is_some() && self.format != Format::Raw {
            add("body", "the body is that of format already", "leave out one of body and format");
        }
        let Some(platform) = &self.platform else { return };
        if self.body.is_some() || self.format != Format::Raw || self.method != post() {
            add("platform", "a function platform has a method and a body of its own", "leave out method, format and body");
        }
        if self.success.is_some() {
            add("success", "a platform says itself whether it succeeded", "leave it out");
        }
        if platform.number().is_none() {
            add("platform", "the function's name does not end in its number", "add job_id, such as job_id: 0");
        }
        if is_template(&self.url) {
            add("url", "the address of a platform is the same for every job", "write it without a template");
        }
    }
}

impl PlatformConfig {
    /// The number that the function is called with.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        let at_the_end = self.function.rsplit(|character: char| !character.is_ascii_digit()).next();
        self.job_id.or_else(|| at_the_end?.parse().ok())
    }
}

/// The first and the last status that a key of `statuses` names.
#[must_use]
pub fn statuses(key: &str) -> Option<(u16, u16)> {
    let range = match key.strip_suffix("xx") {
        Some(hundreds) => hundreds.parse::<u16>().ok().map(|hundreds| (hundreds * 100, hundreds * 100 + 99)),
        None => key.parse().ok().map(|status| (status, status)),
    };
    range.filter(|(first, last)| (100..600).contains(first) && *last < 600)
}

fn address(url: &str) -> Result<(), String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest else {
        return if url.starts_with("{{") { Ok(()) } else { Err(format!("{url:?} does not start with https:// or http://")) };
    };
    match rest.split(['/', '?', '#']).next().unwrap_or_default() {
        "" => Err(format!("{url:?} names no host")),
        host if host.contains('@') => Err("there are credentials in the address".into()),
        _ => Ok(()),
    }
}

fn header_name(name: &str) -> Result<(), String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("{name:?} is not the name of a header"));
    }
    match OWN_HEADERS.iter().find(|own| own.eq_ignore_ascii_case(name)) {
        Some(own) => Err(format!("{own} is told by the connection itself")),
        None => Ok(()),
    }
}

fn header(name: &str, value: &str) -> Result<(), String> {
    header_name(name)?;
    let secret = SECRET_HEADERS.iter().any(|secret| secret.eq_ignore_ascii_case(name));
    if Secret::parse(value).is_ok() {
        return Ok(());
    }
    if secret {
        return Err(format!("{name}: a secret does not stand here itself"));
    }
    Template::compile(value, Escape::Nothing).map(drop).map_err(|why| format!("{name}: {why}"))
}

fn post() -> String {
    "POST".into()
}

#[expect(clippy::unnecessary_wraps, reason = "the default of a key that may be null")]
fn idempotency_key() -> Option<String> {
    Some("idempotency-key".into())
}

fn ten_seconds() -> Span {
    Span(Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(keys: serde_json::Value) -> Vec<(&'static str, String)> {
        let mut block = serde_json::json!({ "url": "https://example.org/x" });
        block.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let config: HttpConfig = serde_json::from_value(block).unwrap();
        config.faults().into_iter().map(|fault| (fault.key, fault.why)).collect()
    }

    #[test]
    fn each_mistake_names_its_key() {
        assert_eq!(faults(serde_json::json!({})), []);
        for (keys, key, part) in [
            (serde_json::json!({"url": "example.org"}), "url", "https://"),
            (serde_json::json!({"url": "https://u:hunter2@example.org"}), "url", "credentials"),
            (serde_json::json!({"url": "https://example.org/{{ data."}), "url", "line 1"),
            (serde_json::json!({"method": "post"}), "method", "post"),
            (serde_json::json!({"body": "{% if %}"}), "body", "line 1"),
            (serde_json::json!({"body": "x", "format": "windlass"}), "body", "format"),
            (serde_json::json!({"headers": {"X-Api-Key": "hunter2"}}), "headers", "secret"),
            (serde_json::json!({"headers": {"a b": "c"}}), "headers", "a b"),
            (serde_json::json!({"headers": {"Host": "c"}}), "headers", "host"),
            (serde_json::json!({"success": "result.ok =="}), "success", "column"),
            (serde_json::json!({"statuses": {"6xx": "failed"}}), "statuses", "6xx"),
            (
                serde_json::json!({"auth": {"oauth2": {"token_url": "x", "client_id": "c", "client_secret": "env:S"}}}),
                "auth",
                "token_url",
            ),
            (serde_json::json!({"tls": {"certificate": "c.pem"}}), "tls", "together"),
            (serde_json::json!({"concurrency": 0}), "concurrency", "let in"),
            (serde_json::json!({"platform": {"function": "resize"}}), "platform", "number"),
            (serde_json::json!({"platform": {"function": "job0"}, "body": "x"}), "platform", "of its own"),
            (serde_json::json!({"platform": {"function": "job0"}, "success": "result.ok"}), "success", "says itself"),
        ] {
            let found = faults(keys.clone());
            assert!(matches!(&found[..], [(found, why)] if *found == key && why.contains(part)), "{keys}: {found:?}");
            assert!(!format!("{found:?}").contains("hunter2"));
        }
    }

    #[test]
    fn the_number_of_a_function_stands_at_the_end_of_its_name() {
        let number = |function: &str| PlatformConfig { function: function.into(), job_id: None }.number();
        assert_eq!((number("job0"), number("v2-job-17"), number("resize")), (Some(0), Some(17), None));
    }

    #[test]
    fn a_status_means_success_or_a_class() {
        let read = |text: &str| serde_json::from_value::<Meaning>(text.into());
        assert_eq!(read("success").unwrap(), Meaning::Success);
        assert_eq!(read("rejected").unwrap(), Meaning::Failure(Class::Rejected));
        assert!(read("oops").unwrap_err().to_string().contains("unknown_outcome"));
    }
}
