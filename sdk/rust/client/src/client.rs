//! The calls, and when each is tried again.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout_at};

use crate::batch::Batch;
use crate::{Ended, Error, Job, NewJob, State, Submitted};

/// How long a call is tried again, unless [`Client::patience`] says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);
/// For one answer, beside what it waits for.
const ANSWER: Duration = Duration::from_secs(30);
/// The first wait between two tries; it doubles up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(5);
/// The longest that one request waits for the end of a job.
const TURN: Duration = Duration::from_secs(60);

/// A worker's HTTP API. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
    queue: Option<String>,
    patience: Duration,
}

/// How one try ended that did not bring an answer to keep.
enum Try {
    /// Nothing was taken; another try may go better, after this long where the worker said so.
    NotNow(String, Option<Duration>),
    /// It may have been taken.
    Unknown(String),
    Over(Error),
}

#[derive(Deserialize)]
struct Taken {
    jobs: Vec<Submitted>,
}

#[derive(Deserialize)]
struct Refused {
    error: Sentence,
}

#[derive(Deserialize)]
struct Sentence {
    message: String,
    line: Option<usize>,
}

impl Client {
    /// A client of the API at `url`, such as `http://127.0.0.1:7780`.
    ///
    /// # Errors
    /// When it is no `http://` address, or an `https://` one without the feature `tls`.
    pub fn new(url: &str) -> Result<Self, Error> {
        let base: Url = url.parse().map_err(|error| Error::Invalid(format!("{url:?} is no address: {error}")))?;
        match base.scheme() {
            "http" => {}
            "https" if cfg!(feature = "tls") => {}
            "https" => return Err(Error::Invalid("https:// needs the feature \"tls\" of windlass-client".into())),
            _ => return Err(Error::Invalid(format!("{url:?} is no address: write http://HOST:PORT"))),
        }
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).build();
        let http = http.map_err(|error| Error::Invalid(chain(&error)))?;
        Ok(Client { http, base, token: None, queue: None, patience: PATIENCE })
    }

    /// The secret that `api.token` of the worker names.
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> Self {
        Client { token: Some(token.into()), ..self }
    }

    /// The queue of every call; without it jobs go to the one that a pool takes from.
    #[must_use]
    pub fn queue(self, queue: impl Into<String>) -> Self {
        Client { queue: Some(queue.into()), ..self }
    }

    /// How long a call is tried again while the worker cannot be reached or has no room; 30 seconds unless set.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Client { patience, ..self }
    }

    /// Submits a job. Tried again, under the same id, until the worker has confirmed it or the patience is over.
    ///
    /// # Errors
    /// [`Error::NotAccepted`] when nothing was taken, [`Error::Unknown`] when that cannot be told.
    pub async fn submit(&self, job: &NewJob) -> Result<Submitted, Error> {
        let mut taken = self.submit_many(std::slice::from_ref(job)).await?;
        taken.pop().ok_or_else(|| Error::Answer("no job in it".into()))
    }

    /// Submits jobs together: all are taken, or none.
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub async fn submit_many(&self, jobs: &[NewJob]) -> Result<Vec<Submitted>, Error> {
        let mut lines = Vec::new();
        for job in jobs {
            serde_json::to_writer(&mut lines, job).map_err(|error| Error::Invalid(error.to_string()))?;
            lines.push(b'\n');
        }
        let request = || {
            let request = self.request(Method::POST, &["jobs"]).header("content-type", "application/x-ndjson");
            request.timeout(ANSWER).body(lines.clone())
        };
        let Taken { jobs } = self.insist(request, Instant::now() + self.patience).await?;
        Ok(jobs)
    }

    /// Looks a job up.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the worker knows no such job (any more), [`Error::Unreachable`] when nobody answers.
    pub async fn job(&self, id: &str) -> Result<Job, Error> {
        let request = || self.request(Method::GET, &["jobs", id]).timeout(ANSWER);
        self.insist(request, Instant::now() + self.patience).await.map_err(Error::of_reading)
    }

    /// Waits until a job has ended: completed, dead or discarded. A worker that restarts meanwhile is waited for.
    ///
    /// # Errors
    /// [`Error::NotEnded`] when `timeout` is over, [`Error::Unreachable`] when nobody answers then.
    pub async fn wait(&self, id: &str, timeout: Duration) -> Result<Ended, Error> {
        let end = Instant::now() + timeout;
        let mut state = State::Waiting;
        loop {
            let turn = end.saturating_duration_since(Instant::now()).min(TURN);
            let wait = format!("{}ms", turn.as_millis());
            let request = || self.request(Method::GET, &["jobs", id]).query(&[("wait", &wait)]).timeout(turn + ANSWER);
            match timeout_at(end + ANSWER, self.insist::<Job>(request, end)).await {
                Ok(Ok(job)) if job.state.has_ended() => return Ok(job.into()),
                Ok(Ok(job)) => state = job.state,
                Ok(Err(error)) => return Err(error.of_reading()),
                Err(_) => return Err(Error::NotEnded { waited: timeout, state }),
            }
            if Instant::now() >= end {
                return Err(Error::NotEnded { waited: timeout, state });
            }
        }
    }

    /// Submits a job and waits until it has ended.
    ///
    /// # Errors
    /// As [`Client::submit`] and [`Client::wait`].
    pub async fn submit_and_wait(&self, job: &NewJob, timeout: Duration) -> Result<Ended, Error> {
        let submitted = self.submit(job).await?;
        let within = Client { queue: Some(submitted.queue), ..self.clone() };
        within.wait(&submitted.id, timeout).await
    }

    /// How far a batch has come; jobs join one by [`NewJob::batch`].
    ///
    /// # Errors
    /// [`Error::NotFound`] until its first job was taken, [`Error::Unreachable`] when nobody answers.
    pub async fn batch(&self, id: &str) -> Result<Batch, Error> {
        let anywhere = Client { queue: None, ..self.clone() };
        let request = || anywhere.request(Method::GET, &["batches", id]).timeout(ANSWER);
        self.insist(request, Instant::now() + self.patience).await.map_err(Error::of_reading)
    }

    /// Has the jobs of a batch that have not started discarded, each when its turn comes; `by` is recorded.
    ///
    /// # Errors
    /// [`Error::NotFound`] until its first job was taken, [`Error::Refused`] once every job has ended.
    pub async fn cancel_batch(&self, id: &str, by: &str) -> Result<(), Error> {
        let anywhere = Client { queue: None, ..self.clone() };
        let body = serde_json::json!({ "by": by }).to_string();
        let request = || anywhere.request(Method::POST, &["batches", id, "cancel"]).timeout(ANSWER).body(body.clone());
        self.insist::<serde_json::Value>(request, Instant::now() + self.patience).await.map(drop)
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.http.request(method, url);
        if let Some(queue) = &self.queue {
            request = request.query(&[("queue", queue)]);
        }
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Tries until there is an answer, or until `end`. Every request here may be repeated: reading changes nothing, and
    /// a job is known by its id.
    async fn insist<T: DeserializeOwned>(&self, request: impl Fn() -> RequestBuilder, end: Instant) -> Result<T, Error> {
        let (mut wait, mut perhaps) = (FIRST_WAIT, false);
        loop {
            let (why, asked) = match attempt(request()).await {
                Ok(answer) => return Ok(answer),
                Err(Try::Over(error)) => return Err(error),
                Err(Try::NotNow(why, asked)) => (why, asked),
                Err(Try::Unknown(why)) => {
                    perhaps = true;
                    (why, None)
                }
            };
            let next = Instant::now() + asked.unwrap_or(wait).max(spread(wait));
            if next > end {
                return Err(if perhaps { Error::Unknown(why) } else { Error::NotAccepted(why) });
            }
            sleep(next - Instant::now()).await;
            wait = (wait * 2).min(LAST_WAIT);
        }
    }
}

async fn attempt<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, Try> {
    let response = request.send().await.map_err(|error| lost(&error))?;
    let status = response.status();
    if !status.is_success() {
        return Err(refusal(status, response).await);
    }
    let body = response.bytes().await.map_err(|error| lost(&error))?;
    serde_json::from_slice(&body).map_err(|error| Try::Over(Error::Answer(error.to_string())))
}

/// A request without an answer: never sent, or perhaps taken.
fn lost(error: &reqwest::Error) -> Try {
    match error {
        error if error.is_builder() => Try::Over(Error::Invalid(chain(error))),
        error if error.is_connect() => Try::NotNow(chain(error), None),
        error => Try::Unknown(chain(error)),
    }
}

async fn refusal(status: StatusCode, response: Response) -> Try {
    let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let body = response.bytes().await.unwrap_or_default();
    let (message, line) = match serde_json::from_slice::<Refused>(&body) {
        Ok(Refused { error }) => (error.message, error.line),
        Err(_) => (format!("it answered {status}"), None),
    };
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Try::NotNow(message, after.map(Duration::from_secs)),
        // of a proxy: whether the worker has seen it is not known
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Try::Unknown(message),
        StatusCode::NOT_FOUND => Try::Over(Error::NotFound(message)),
        status => {
            let index = line.map(|line| line.saturating_sub(1));
            Try::Over(Error::Refused { status: status.as_u16(), message, index })
        }
    }
}

/// Between half the wait and all of it, so that many clients do not come back together.
fn spread(wait: Duration) -> Duration {
    let die = f64::from(uuid::Uuid::now_v7().as_bytes()[15]) / 255.0;
    wait.mul_f64(0.5 + die / 2.0)
}

/// The error with what caused it: the reason stands at the end.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_https_address_needs_the_feature_that_speaks_it() {
        let made = Client::new("https://localhost:7780");
        assert_eq!(made.is_ok(), cfg!(feature = "tls"));
    }

    #[tokio::test]
    async fn a_path_in_front_of_the_api_is_kept_and_an_id_stays_one_part() {
        let client = Client::new("http://localhost:7780/windlass/").unwrap();
        let request = client.queue("a b").request(Method::GET, &["jobs", "x/y"]).build().unwrap();
        assert_eq!(request.url().as_str(), "http://localhost:7780/windlass/jobs/x%2Fy?queue=a+b");
    }
}
