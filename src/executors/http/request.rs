//! What is sent for a job: method, address, headers and body.

use std::path::Path;

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use super::config::HttpConfig;
use super::platform;
use crate::executors::payload::{Format, Payload, attributes, payload};
use crate::executors::template::{Escape, Template, Values, is_template};
use crate::job::Job;
use crate::outcome::{Class, Failure};
use crate::ports::Context;
use crate::secret::Secret;

/// What the HTTP binding of CloudEvents encodes in headers (3.1.3.2), beside all that is not ASCII.
const NOT_PLAIN: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// How jobs are sent.
#[derive(Debug)]
pub struct Recipe {
    method: Method,
    url: Place,
    /// The same for every job.
    headers: HeaderMap,
    templates: Vec<(HeaderName, Template)>,
    content: Content,
    idempotency: Option<HeaderName>,
}

#[derive(Debug)]
enum Place {
    Fixed(Url),
    Template(Box<Template>),
}

#[derive(Debug)]
enum Content {
    Format(Format),
    Template {
        template: Box<Template>,
        json: bool,
    },
    /// The number of a platform's function.
    Platform(u32),
}

/// What is sent for one job.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Recipe {
    /// # Errors
    /// The key whose value cannot be used, and why.
    pub fn new(config: &HttpConfig, base: &Path) -> Result<Self, String> {
        let url = match &config.platform {
            Some(platform) => Place::Fixed(platform::address(&config.url, platform, platform::INVOKE)?),
            None if is_template(&config.url) => Place::Template(Box::new(Template::compile(&config.url, Escape::Url)?)),
            None => Place::Fixed(Url::parse(&config.url).map_err(|error| format!("url: {error}"))?),
        };
        let (headers, templates) = headers(config, base)?;
        let idempotency = config.idempotency_header.as_deref().map(name).transpose()?;
        Ok(Recipe {
            method: config.method.parse().map_err(|_| format!("method: {:?} is none", config.method))?,
            content: content(config, &headers)?,
            url,
            headers,
            templates,
            idempotency,
        })
    }

    /// The address, where it is the same for every job.
    #[must_use]
    pub fn fixed_url(&self) -> Option<&Url> {
        match &self.url {
            Place::Fixed(url) => Some(url),
            Place::Template(_) => None,
        }
    }

    /// # Errors
    /// `rejected`: what of the job does not fit.
    pub fn prepare(&self, job: &Job, context: &Context) -> Result<Prepared, Failure> {
        self.fill(job, context).map_err(|why| Failure::new(Class::Rejected, why))
    }

    fn fill(&self, job: &Job, context: &Context) -> Result<Prepared, String> {
        let needs_values = matches!(self.url, Place::Template(_))
            || matches!(self.content, Content::Template { .. })
            || !self.templates.is_empty();
        let values = if needs_values { Some(Values::of(job, context)?) } else { None };
        let render = |template: &Template| values.as_ref().map_or_else(|| Ok(String::new()), |values| template.render(values));
        let url = match &self.url {
            Place::Fixed(url) => url.clone(),
            Place::Template(template) => address(&render(template).map_err(|why| format!("url: {why}"))?)?,
        };
        let mut headers = self.headers.clone();
        for (name, template) in &self.templates {
            let text = render(template).map_err(|why| format!("headers.{name}: {why}"))?;
            let value = HeaderValue::from_str(&text).map_err(|_| format!("headers.{name}: {text:?} cannot stand in a header"))?;
            headers.insert(name, value);
        }
        let Payload { content_type, body } = match &self.content {
            Content::Format(format) => payload(job, context, *format),
            Content::Platform(number) => platform::request(*number, job.data.bytes()),
            Content::Template { template, json } => {
                let text = render(template).map_err(|why| format!("body: {why}"))?;
                written(text, *json)?
            }
        };
        if self.method != Method::GET && self.method != Method::HEAD || !body.is_empty() {
            headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
        }
        if matches!(self.content, Content::Format(Format::CloudeventsBinary)) {
            for (name, value) in attributes(job, context) {
                set(&mut headers, &format!("ce-{name}"), &encoded(&value));
            }
        }
        self.about(&mut headers, job, context);
        Ok(Prepared { method: self.method.clone(), url, headers, body })
    }

    /// What every call tells of its job beside the body; what the config says of such a header wins.
    fn about(&self, headers: &mut HeaderMap, job: &Job, context: &Context) {
        if let Some(name) = &self.idempotency {
            set(headers, name.as_str(), &job.id);
        }
        set(headers, "traceparent", &job.traceparent());
        if let Some(state) = &job.tracestate {
            set(headers, "tracestate", state);
        }
        set(headers, "windlass-job-type", &job.kind);
        set(headers, "windlass-attempt", &context.attempt.to_string());
    }
}

/// Adds a header unless it is there. What cannot stand in a header is encoded.
fn set(headers: &mut HeaderMap, name: &str, text: &str) {
    let value = HeaderValue::from_str(text).or_else(|_| HeaderValue::from_str(&encoded(text)));
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), value) {
        headers.entry(name).or_insert(value);
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NOT_PLAIN).to_string()
}

fn name(text: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| format!("headers: {text:?} is not the name of a header"))
}

/// Those that are the same for every job, secrets among them, and the templates of the others.
fn headers(config: &HttpConfig, base: &Path) -> Result<(HeaderMap, Vec<(HeaderName, Template)>), String> {
    let (mut fixed, mut templates) = (HeaderMap::new(), Vec::new());
    for (key, value) in &config.headers {
        let name = name(key)?;
        let secret = Secret::parse(value).ok();
        if secret.is_none() && is_template(value) {
            templates.push((name, Template::compile(value, Escape::Nothing).map_err(|why| format!("headers.{key}: {why}"))?));
            continue;
        }
        let text = match &secret {
            Some(secret) => secret.read(base).map_err(|why| format!("headers.{key}: {why}"))?,
            None => value.clone(),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| format!("headers.{key}: it cannot stand in a header"))?;
        value.set_sensitive(secret.is_some());
        fixed.insert(name, value);
    }
    Ok((fixed, templates))
}

fn content(config: &HttpConfig, headers: &HeaderMap) -> Result<Content, String> {
    if let Some(platform) = &config.platform {
        let number = platform.number().ok_or("platform: add job_id: the function's name does not end in its number")?;
        return Ok(Content::Platform(number));
    }
    let Some(body) = &config.body else { return Ok(Content::Format(config.format)) };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let json = kind.is_none_or(|kind| kind.contains("json"));
    let template = Template::compile(body, if json { Escape::Json } else { Escape::Nothing });
    Ok(Content::Template { template: Box::new(template.map_err(|why| format!("body: {why}"))?), json })
}

/// A body that was filled in; what claims to be JSON must be.
fn written(text: String, json: bool) -> Result<Payload, String> {
    if json && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        let fix = "values bring their own quotes: write {{ data.name }} without any, or say another content-type in headers";
        return Err(format!("body: it is not JSON once it is filled in: {error}; {fix}"));
    }
    Ok(Payload { content_type: "application/json", body: text.into() })
}

fn address(text: &str) -> Result<Url, String> {
    let shown = super::without_query(text);
    let url = Url::parse(text).map_err(|error| format!("url: {shown:?} is no address once it is filled in: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("url: {shown:?} does not start with https:// or http://"));
    }
    Ok(url)
}
