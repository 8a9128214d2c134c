//! What the worker sends to a host. Payloads are put into the frame as they are: they were parsed once, on their way in.

use tokio::time::Instant;

use crate::executors::payload::encode_job;
use crate::job::Job;
use crate::job::object::Object;
use crate::ports::Context;

/// Appends the frame that starts a job.
pub fn run(out: &mut Vec<u8>, id: u64, job: &Job, context: &Context) {
    frame(out, |out| {
        let mut run = Object::open(out, br#"{"run":{"#);
        run.field("id", &id);
        run.field("timeout_ms", &time_left(context));
        run.name("job");
        encode_job(run.out, job, context);
        run.out.extend_from_slice(b"}}");
    });
}

/// Appends the frame that asks the host to end a job early.
pub fn cancel(out: &mut Vec<u8>, id: u64) {
    frame(out, |out| {
        let mut cancel = Object::open(out, br#"{"cancel":{"#);
        cancel.field("id", &id);
        cancel.out.extend_from_slice(b"}}");
    });
}

/// Appends the frame that asks the host to end.
pub fn stop(out: &mut Vec<u8>) {
    frame(out, |out| out.extend_from_slice(br#"{"stop":{}}"#));
}

/// Appends a frame that only a later version of the protocol could understand.
pub fn unknown(out: &mut Vec<u8>) {
    frame(out, |out| out.extend_from_slice(br#"{"not_in_this_version":{}}"#));
}

/// Until the run's own time or the job's is over, in milliseconds.
fn time_left(context: &Context) -> u64 {
    let now = Instant::now();
    u64::try_from((context.end(now).0 - now).as_millis()).unwrap_or(u64::MAX)
}

fn frame(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::executors::fixtures;
    use crate::job::Data;

    #[test]
    fn a_run_carries_the_job_with_its_data_untouched() {
        let mut job = fixtures::job(&json!({"n": 1}));
        job.data = Data::Json(r#"{"n":  1.50}"#.into());
        job.key = Some("k \"quoted\"".into());
        job.extensions = vec![("color".into(), "\"red\"".into()), ("size".into(), "3".into())];
        let context = Context::new(job.id.clone(), "r".into(), Duration::from_secs(30));
        let mut out = Vec::new();
        run(&mut out, 7, &job, &context);
        let text = std::str::from_utf8(&out[4..]).unwrap();
        assert_eq!(out[..4], u32::try_from(text.len()).unwrap().to_be_bytes());
        assert!(text.contains(r#""data":{"n":  1.50}"#), "{text}");
        let frame: Value = serde_json::from_str(text).unwrap();
        assert_eq!(frame["run"]["id"], 7);
        assert_eq!(frame["run"]["job"]["key"], "k \"quoted\"");
        assert_eq!(frame["run"]["job"]["extensions"], json!({"color": "red", "size": 3}));
        assert!(frame["run"]["timeout_ms"].as_u64().unwrap() <= 30_000);
    }

    #[test]
    fn bytes_travel_as_base64() {
        let mut job = fixtures::job(&json!(null));
        job.data = Data::Binary(vec![255, 0].into());
        let mut out = Vec::new();
        run(&mut out, 1, &job, &Context::new("j".into(), "r".into(), Duration::from_secs(1)));
        let frame: Value = serde_json::from_slice(&out[4..]).unwrap();
        assert_eq!(frame["run"]["job"]["data_base64"], "/wA=");
        assert!(frame["run"]["job"].get("data").is_none());
    }
}
