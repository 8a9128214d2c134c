//! What came back from a program or an endpoint, as an output or as its own word on a failure.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::executors::hosts::response::Failed;
use crate::outcome::Output;

/// JSON where it parses, else text as a JSON string without its last line end, else bytes.
#[must_use]
pub fn parse(output: Vec<u8>) -> Output {
    if output.iter().all(u8::is_ascii_whitespace) {
        return Output::Nothing;
    }
    if serde_json::from_slice::<IgnoredAny>(&output).is_ok() {
        return Output::Json(output.trim_ascii().to_vec().into());
    }
    match std::str::from_utf8(&output) {
        Ok(text) => Output::Json(serde_json::Value::from(text.strip_suffix('\n').unwrap_or(text)).to_string().into()),
        Err(_) => Output::Binary(Bytes::from(output)),
    }
}

/// The failure a program may describe in the words of the plugin protocol: `{"failed": {"class": …, "message": …}}`.
#[must_use]
pub fn own_failure(output: &[u8]) -> Option<Failed<'_>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        failed: Failed<'a>,
    }
    serde_json::from_slice::<Answer<'_>>(output).ok().map(|answer| answer.failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_json_where_it_parses_then_text_then_bytes() {
        for (written, read) in [
            (&b""[..], Output::Nothing),
            (b"\n", Output::Nothing),
            (b"{\"a\": 1}\n", Output::Json("{\"a\": 1}".into())),
            (b"42", Output::Json("42".into())),
            (b"two words\n", Output::Json("\"two words\"".into())),
            (b"{\"a\": 1} and more", Output::Json("\"{\\\"a\\\": 1} and more\"".into())),
            (b"\xff\xfe", Output::Binary(Bytes::from_static(b"\xff\xfe"))),
        ] {
            assert_eq!(parse(written.to_vec()), read);
        }
    }

    #[test]
    fn a_program_may_describe_its_failure_itself() {
        let failed =
            own_failure(br#"{"failed": {"class": "throttled", "message": "slow down", "retry_after_ms": 1500}}"#).unwrap();
        let failure = failed.failure();
        assert_eq!(failure.class, crate::outcome::Class::Throttled);
        assert_eq!(failure.retry_after, Some(std::time::Duration::from_millis(1500)));
        assert!(own_failure(b"{\"sum\": 3}").is_none());
    }
}
