//! Jobs in: one, or many as JSON lines, all or none, each checked before any is taken.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::desk::Place;
use super::request::{Asked, body};
use super::{Desk, Refusal};
use crate::job::decode::{Received, decode};
use crate::job::{DEFAULT_PRIORITY, Header, Message, Origin};
use crate::ports::NewJob;
use crate::units::spell_size;

/// The media types under which a body holds a job per line.
const JSON_LINES: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// The jobs that were taken, in the order of the request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Taken {
    pub jobs: Vec<TakenJob>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct TakenJob {
    pub id: Arc<str>,
    pub queue: Arc<str>,
    /// The id was known: nothing was added.
    pub existing: bool,
}

pub(super) async fn submit(
    State(desk): State<Arc<Desk>>,
    mut asked: Asked,
    headers: HeaderMap,
    sent: Body,
) -> Result<(StatusCode, Json<Taken>), Refusal> {
    let (queue, as_is) = (asked.take("queue"), asked.flag("as_is")?);
    asked.end()?;
    let place = desk.entrance(queue.as_deref()).await?;
    let lines = is_lines(&headers);
    let limit = if lines { desk.largest_body() } else { desk.body_limit };
    let (bytes, _reserved) = body(&desk, sent, limit).await?;
    let entrance =
        Entrance { place: &place, as_is, now: Timestamp::now(), headers: job_headers(&headers), limit: desk.body_limit };
    let jobs = entrance.read(bytes, lines)?;
    let taken = desk.admin(&place).submit(&place.inner, jobs).await?;
    let jobs = taken.into_iter().map(|job| TakenJob { id: job.id, queue: place.name.clone(), existing: job.existing });
    Ok((StatusCode::CREATED, Json(Taken { jobs: jobs.collect() })))
}

fn is_lines(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    JSON_LINES.contains(&media_type.as_str())
}

/// The request headers that belong to the job: a CloudEvent in binary mode, and the trace.
fn job_headers(headers: &HeaderMap) -> Vec<Header> {
    let ours = |name: &str| name.starts_with("ce-") || name == "traceparent" || name == "tracestate";
    let kept = headers.iter().filter(|(name, _)| ours(name.as_str()));
    kept.map(|(name, value)| Header::new(name.as_str(), Bytes::copy_from_slice(value.as_bytes()))).collect()
}

/// How the bodies of one request become jobs.
struct Entrance<'a> {
    place: &'a Place,
    as_is: bool,
    now: Timestamp,
    headers: Vec<Header>,
    limit: usize,
}

impl Entrance<'_> {
    fn read(&self, bytes: Bytes, lines: bool) -> Result<Vec<NewJob>, Refusal> {
        if !lines {
            return Ok(vec![self.job(bytes)?]);
        }
        let all = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let filled = all.enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
        let jobs =
            filled.map(|(index, line)| self.job(bytes.slice_ref(line)).map_err(|refusal| refusal.at_line(Some(index + 1))));
        let jobs: Vec<NewJob> = jobs.collect::<Result<_, _>>()?;
        if jobs.is_empty() { Err(Refusal::bad("the body holds no job: send one JSON object per line")) } else { Ok(jobs) }
    }

    fn job(&self, bytes: Bytes) -> Result<NewJob, Refusal> {
        if bytes.len() > self.limit {
            let message = format!(
                "the job is {} bytes long; at most {} are taken (worker.body_limit)",
                bytes.len(),
                spell_size(self.limit as u64)
            );
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        let message = Message { body: bytes, key: None, headers: self.headers.clone() };
        if self.as_is {
            let id = uuid::Uuid::now_v7().to_string().into();
            return Ok(NewJob { id, message, due: None, priority: DEFAULT_PRIORITY });
        }
        let origin = Origin { queue: self.place.name.clone(), ..Origin::default() };
        let received = Received { origin, published: Some(self.now), now: self.now };
        let job = decode(&message, &self.place.decoding, &received).map_err(|malformed| Refusal::bad(malformed.to_string()))?;
        Ok(NewJob { due: job.not_before.filter(|due| *due > self.now), id: job.id, message, priority: job.priority })
    }
}
