//! One call: sent once, its answer read within bounds, and what is known of it when it is cut short.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode, Url};

use super::request::Prepared;
use crate::job::life::shorten;
use crate::outcome::{Class, Failure};

/// Makes calls.
#[derive(Clone, Debug)]
pub struct Caller {
    pub client: Client,
    pub redirects: u32,
    /// The largest answer, unpacked, in bytes.
    pub output: usize,
}

/// How far a call has come: what is left of it when its time is over.
#[derive(Debug, Default)]
pub struct Progress {
    sent: AtomicBool,
    status: AtomicU16,
}

impl Progress {
    /// A call begins. An empty body is never asked for, so that nobody sees when its request is sent: it counts as sent.
    pub fn begin(&self, empty: bool) {
        self.sent.store(empty, Ordering::Relaxed);
        self.status.store(0, Ordering::Relaxed);
    }

    /// Some of the request may have reached the endpoint.
    #[must_use]
    pub fn sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    /// The status of an answer that has begun.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        StatusCode::from_u16(self.status.load(Ordering::Relaxed)).ok()
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub end: End,
}

/// How the body of an answer ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Whole,
    /// More than may be kept.
    TooLarge,
    /// The connection broke: why.
    Broken(String),
}

impl Caller {
    /// Sends `prepared` and reads the answer, which follows where it is sent on.
    ///
    /// # Errors
    /// Why there is no answer: `unavailable` where nothing was sent, else `unknown_outcome`.
    pub async fn call(
        &self,
        prepared: &Prepared,
        credentials: Option<&(HeaderName, HeaderValue)>,
        progress: &Arc<Progress>,
    ) -> Result<Answer, Failure> {
        let mut url = prepared.url.clone();
        let mut left = self.redirects;
        loop {
            progress.begin(prepared.body.is_empty());
            let mut request = reqwest::Request::new(prepared.method.clone(), url.clone());
            request.headers_mut().clone_from(&prepared.headers);
            if let Some((name, value)) = credentials {
                request.headers_mut().insert(name, value.clone());
            }
            *request.body_mut() =
                Some(reqwest::Body::wrap(Watched { data: Some(prepared.body.clone()), progress: progress.clone() }));
            let response = self.client.execute(request).await.map_err(|error| unanswered(&error, &url, progress))?;
            match next(&response, &prepared.method).filter(|_| left > 0) {
                Some(there) => (url, left) = (there, left - 1),
                None => return Ok(self.read(response, progress).await),
            }
        }
    }

    async fn read(&self, mut response: Response, progress: &Progress) -> Answer {
        let status = response.status();
        progress.status.store(status.as_u16(), Ordering::Relaxed);
        let headers = std::mem::take(response.headers_mut());
        let mut body = BytesMut::new();
        let end = loop {
            match response.chunk().await {
                Ok(None) => break End::Whole,
                Err(error) => break End::Broken(innermost(&error)),
                Ok(Some(chunk)) => {
                    body.extend_from_slice(&chunk[..chunk.len().min(self.output + 1 - body.len())]);
                    if body.len() > self.output {
                        break End::TooLarge;
                    }
                }
            }
        };
        Answer { status, headers, body: body.freeze(), end }
    }
}

/// Where an answer sends us on: the same request, within the same server. Elsewhere nobody knows our credentials, and who
/// turns a POST into a GET has not done the job.
fn next(response: &Response, method: &Method) -> Option<Url> {
    let repeats = match response.status() {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => method == Method::GET || method == Method::HEAD,
        _ => false,
    };
    let place = response.headers().get(header::LOCATION).filter(|_| repeats)?;
    let there = response.url().join(place.to_str().ok()?).ok()?;
    (there.origin() == response.url().origin()).then_some(there)
}

/// Why a call has no answer.
fn unanswered(error: &reqwest::Error, url: &Url, progress: &Progress) -> Failure {
    let (why, host) = (innermost(error), url.host_str().unwrap_or_default());
    let named = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    if error.is_builder() {
        return Failure::new(Class::Rejected, format!("the request cannot be made: {why}"));
    }
    // a server that wants to know us says so after its side of the handshake
    if why.contains("fatal alert") {
        let fix = "tls.certificate and tls.key say who we are";
        return Failure::new(Class::Misconfigured, format!("{named} refuses our side of TLS: {why}; {fix}"));
    }
    if error.is_connect() || !progress.sent() {
        let fix = match () {
            () if why.contains("certificate") => "; tls.ca names the certificates that are trusted",
            () if error.is_timeout() => "; connect_timeout is how long that may take",
            () => "",
        };
        return Failure::new(Class::Unavailable, format!("no connection to {named}: {why}{fix}"));
    }
    let message = format!("the request was sent to {named} and the connection ended before an answer: {why}");
    Failure::new(Class::UnknownOutcome, message)
}

/// The reason at the bottom of an error.
pub fn innermost(error: &reqwest::Error) -> String {
    let mut reason = error.source();
    let mut text = error.to_string();
    while let Some(source) = reason {
        text = source.to_string();
        reason = source.source();
    }
    shorten(&text, 300).to_owned()
}

/// A body that tells when it begins to be sent.
struct Watched {
    data: Option<Bytes>,
    progress: Arc<Progress>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        // the head of the request is written right before
        self.progress.sent.store(true, Ordering::Relaxed);
        Poll::Ready(self.data.take().filter(|data| !data.is_empty()).map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, Bytes::len) as u64)
    }
}
