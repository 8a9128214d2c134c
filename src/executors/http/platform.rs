//! A function on a platform after the custom platform specification 1.0: how it is called and what its answers mean.

use bytes::Bytes;
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use super::answer::Rules;
use super::call::Answer;
use super::config::{Meaning, PlatformConfig};
use crate::executors::output;
use crate::executors::payload::Payload;
use crate::job::life::shorten;
use crate::outcome::{Class, Failure, Outcome};

/// What stands behind the address of a function.
pub const INVOKE: &str = "/invoke";
pub const WARM: &str = "/warm";
pub const HEALTH: &str = "/health";
pub const DESCRIBE: &str = "";

/// The address of a function for one of its calls: `url` is that of the platform, of the function, or of its invocation.
///
/// # Errors
/// When that is no address.
pub fn address(url: &str, platform: &PlatformConfig, call: &str) -> Result<Url, String> {
    let url = url.trim_end_matches('/');
    let function = format!("/api/functions/{}", platform.function);
    let stem = url.strip_suffix(INVOKE).unwrap_or(url);
    let whole = if stem.ends_with(&function) { format!("{stem}{call}") } else { format!("{url}{function}{call}") };
    Url::parse(&whole).map_err(|error| format!("url: {error}"))
}

/// The request of an invocation: the data byte by byte.
#[must_use]
pub fn request(number: u32, data: &[u8]) -> Payload {
    let mut body = Vec::with_capacity(data.len() * 4 + 32);
    body.extend_from_slice(format!("{{\"job_id\":{number},\"args\":[").as_bytes());
    for (index, byte) in data.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(byte.to_string().as_bytes());
    }
    body.extend_from_slice(b"]}");
    Payload { content_type: "application/json", body: body.into() }
}

/// What a platform answers to an invocation, or as an error.
#[derive(Debug, Default, Deserialize)]
struct Told {
    success: Option<bool>,
    result: Option<Value>,
    error: Option<String>,
    code: Option<String>,
}

/// What an answer means: `success: false` is a failure whatever the status.
#[must_use]
pub fn outcome(answer: &Answer, rules: &Rules, called: &str) -> Option<Outcome> {
    let told: Option<Told> = serde_json::from_slice(&answer.body).ok();
    let meaning = rules.meaning(answer.status, &answer.headers);
    let Some(told) = told else {
        // what the platform itself says is JSON; of a broken answer or a proxy's the status is all there is
        let odd = meaning == Meaning::Success && answer.end == super::call::End::Whole;
        return odd.then(|| Failure::new(Class::Failed, format!("{called} answered with what is no platform's: no JSON")).into());
    };
    if meaning == Meaning::Success && told.success != Some(false) {
        let Some(result) = told.result.as_ref() else {
            return Some(Failure::new(Class::Failed, format!("{called} answered without a result")).into());
        };
        return Some(match bytes(result) {
            Some(bytes) => Outcome::Done(output::parse(bytes)),
            None => Failure::new(Class::Failed, format!("{called} answered with a result that is no list of bytes")).into(),
        });
    }
    let why = told.error.as_deref().unwrap_or("no error was named");
    let timed_out = told.code.as_deref() == Some("TIMEOUT") || why.starts_with("Function timeout");
    let class = match meaning {
        _ if timed_out => Class::Timeout,
        Meaning::Success => Class::Failed,
        Meaning::Failure(class) => class,
    };
    let mut failure = Failure::new(class, format!("{called} answered {}: {}", answer.status, shorten(why, 500)));
    failure.retry_after = super::answer::retry_after(&answer.headers);
    Some(failure.into())
}

/// Bytes as numbers, or a text.
fn bytes(result: &Value) -> Option<Vec<u8>> {
    match result {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Array(numbers) => numbers.iter().map(|number| u8::try_from(number.as_u64()?).ok()).collect(),
        _ => None,
    }
}

/// What a function says of itself, for an operator.
///
/// # Errors
/// Why it cannot run.
pub fn described(status: StatusCode, body: &Bytes, function: &str) -> Result<String, Failure> {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| told[key].as_str().map(str::to_owned).or_else(|| told[key].as_u64().map(|number| number.to_string()));
    if status == StatusCode::NOT_FOUND {
        return Err(Failure::new(Class::Misconfigured, format!("the platform has no function {function:?}: deploy it first")));
    }
    if !status.is_success() {
        let why = text("error").unwrap_or_else(|| "no error was named".into());
        return Err(Failure::new(Class::Unavailable, format!("{function}: {status}: {why}")));
    }
    let known = [("status", ""), ("memory_mb", " MB"), ("timeout_secs", " s"), ("total_invocations", " invocations")];
    let parts: Vec<String> = known.iter().filter_map(|(key, unit)| Some(format!("{}{unit}", text(key)?))).collect();
    Ok(parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_address_leads_to_the_same_call() {
        let platform = PlatformConfig { function: "job0".into(), job_id: None };
        for url in [
            "https://f.example",
            "https://f.example/",
            "https://f.example/api/functions/job0",
            "https://f.example/api/functions/job0/invoke",
        ] {
            assert_eq!(address(url, &platform, INVOKE).unwrap().as_str(), "https://f.example/api/functions/job0/invoke");
            assert_eq!(address(url, &platform, DESCRIBE).unwrap().as_str(), "https://f.example/api/functions/job0");
        }
    }

    #[test]
    fn data_goes_as_numbers() {
        assert_eq!(&request(7, &[1, 20, 255]).body[..], br#"{"job_id":7,"args":[1,20,255]}"#);
        assert_eq!(&request(7, &[]).body[..], br#"{"job_id":7,"args":[]}"#);
    }
}
