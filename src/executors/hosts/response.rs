//! What a host sends: its greeting, and what becomes of the jobs it was given. `docs/plugin-protocol.md` is the text.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::outcome::{Class, Failure, Output};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response<'a> {
    Hello(Hello),
    /// Instead of a hello.
    Refused(Refused),
    #[serde(borrow)]
    Done(Done<'a>),
    Failed(Failed<'a>),
    Log(Log<'a>),
    Progress(Progress<'a>),
}

/// A host that is ready for jobs.
#[derive(Clone, Debug, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    #[serde(default)]
    pub name: Option<String>,
    /// It runs one job after another, whatever it is sent.
    #[serde(default)]
    pub sequential: bool,
    /// It answers when a job is cancelled, so that it need not be killed for it.
    #[serde(default)]
    pub cancel: bool,
}

/// Why a host cannot serve.
#[derive(Debug, Deserialize)]
pub struct Refused {
    pub message: String,
}

#[derive(Debug, Deserialize)]
pub struct Done<'a> {
    pub id: u64,
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_base64: Option<Cow<'a, str>>,
}

/// A job that did not end well, in the host's own words.
#[derive(Debug, Deserialize)]
pub struct Failed<'a> {
    #[serde(default)]
    pub id: u64,
    #[serde(borrow, default)]
    class: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(default)]
    retry_after_ms: Option<u64>,
    /// Never to be tried again, whatever the class.
    #[serde(default)]
    permanent: bool,
}

#[derive(Debug, Deserialize)]
pub struct Log<'a> {
    pub id: u64,
    #[serde(borrow)]
    pub line: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
pub struct Progress<'a> {
    pub id: u64,
    #[serde(borrow)]
    pub value: &'a RawValue,
}

impl Done<'_> {
    /// # Errors
    /// When both kinds of output are given, or what claims to be base64 is not.
    pub fn output(&self) -> Result<Output, String> {
        match (self.output, &self.output_base64) {
            (None, None) => Ok(Output::Nothing),
            (Some(json), None) if json.get() == "null" => Ok(Output::Nothing),
            (Some(json), None) => Ok(Output::Json(json.get().to_owned().into())),
            (None, Some(text)) => match STANDARD.decode(text.as_bytes()) {
                Ok(bytes) => Ok(Output::Binary(bytes.into())),
                Err(error) => Err(format!("output_base64 is not base64: {error}")),
            },
            (Some(_), Some(_)) => Err("it has both output and output_base64".into()),
        }
    }
}

impl Failed<'_> {
    /// A class nobody knows is taken for a plain failure: the job is retried and the operator sees the word.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let named = self.class.as_deref().unwrap_or("failed");
        let known = Class::ALL.into_iter().find(|class| class.as_str() == named);
        let mut failure = Failure::new(known.unwrap_or(Class::Failed), self.message.as_ref());
        if known.is_none() {
            failure.message = format!("{} (the plugin calls this {named:?}, a class that does not exist)", self.message);
        }
        if self.permanent {
            failure.class = Class::Rejected;
        }
        failure.retry_after = self.retry_after_ms.map(Duration::from_millis);
        failure
    }
}

/// Where the job that a frame answers is looked for when the frame is too large to be read whole.
pub const START: usize = 200;

/// The job that a frame answers, from its first [`START`] bytes.
#[must_use]
pub fn id_at_the_start(frame: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(&frame[..frame.len().min(START)]);
    let (_, rest) = text.split_once("\"id\"")?;
    let digits = rest.trim_start().strip_prefix(':')?.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(text: &str) -> Failure {
        match serde_json::from_str(text).unwrap() {
            Response::Failed(failed) => failed.failure(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_class_is_known_by_its_name_and_an_unknown_one_is_a_plain_failure() {
        for class in Class::ALL {
            let text = format!(r#"{{"failed": {{"id": 1, "class": "{class}", "message": "no"}}}}"#);
            assert_eq!(failed(&text).class, class);
        }
        let odd = failed(r#"{"failed": {"id": 1, "class": "grumpy", "message": "no"}}"#);
        assert_eq!(odd.class, Class::Failed);
        assert!(odd.message.contains("grumpy"));
        assert_eq!(failed(r#"{"failed": {"id": 1, "message": "no", "permanent": true}}"#).class, Class::Rejected);
    }

    #[test]
    fn an_output_is_nothing_json_or_bytes() {
        for (text, output) in [
            (r#"{"id": 1}"#, Ok(Output::Nothing)),
            (r#"{"id": 1, "output": null}"#, Ok(Output::Nothing)),
            (r#"{"id": 1, "output": {"a": [1, 2]}}"#, Ok(Output::Json(r#"{"a": [1, 2]}"#.into()))),
            (r#"{"id": 1, "output_base64": "//4="}"#, Ok(Output::Binary(vec![255, 254].into()))),
        ] {
            assert_eq!(serde_json::from_str::<Done<'_>>(text).unwrap().output(), output);
        }
        assert!(serde_json::from_str::<Done<'_>>(r#"{"id": 1, "output_base64": "?"}"#).unwrap().output().is_err());
    }

    #[test]
    fn the_job_of_a_frame_that_is_too_large_is_read_from_its_start() {
        assert_eq!(id_at_the_start(br#"{"done": {"id": 17, "output": "aaaa"#), Some(17));
        assert_eq!(id_at_the_start(br#"{"done": {"output": "aaaa"#), None);
        assert_eq!(id_at_the_start(b"\xff\xff"), None);
    }
}
