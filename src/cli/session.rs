//! A command's way to the queues: the socket of the worker that owns them, or where none lives, the same API in process.

mod ask;
mod local;
mod target;

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use nix::unistd::{Uid, User};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};
use tower::ServiceExt as _;

pub use ask::Ask;
pub use target::{Missing, Reach, Target};

use super::{Exit, Failure};
use crate::admin::connect;
use local::Local;

/// How long a command waits for another one that has the store open.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks whether a store is free, or a worker there.
const LOOK: Duration = Duration::from_millis(50);

/// Open for the time of a command.
pub struct Session {
    target: Target,
    way: Way,
}

enum Way {
    /// A worker answers here.
    Socket(PathBuf),
    /// No worker lives: this process owns the stores meanwhile.
    Local(Local),
}

/// An answer of the API that is no success.
#[derive(Debug, Deserialize)]
struct Refused {
    error: Sentence,
}

#[derive(Debug, Deserialize)]
struct Sentence {
    message: String,
    line: Option<usize>,
}

/// Why the API did not do what it was asked.
#[derive(Debug)]
pub struct Refusal {
    pub failure: Failure,
    /// Of the body sent, from 1.
    pub line: Option<usize>,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        refusal.failure
    }
}

impl Session {
    /// Finds the worker, or opens the stores; another command that has them open is waited for a moment.
    ///
    /// # Errors
    /// When they cannot be opened, or are held by somebody who does not answer.
    pub async fn open(target: Target, missing: Missing) -> Result<Self, Failure> {
        let start = Instant::now();
        loop {
            let found = living(&target).await;
            if let Ok(Some(socket)) = found {
                return Ok(Session { target, way: Way::Socket(socket) });
            }
            match (Local::open(&target, missing), found) {
                (Ok(local), _) => return Ok(Session { target, way: Way::Local(local) }),
                (Err(_), Err(Denied(socket))) => return Err(denied(&socket)),
                (Err(local::Closed::Owned(_)), _) if start.elapsed() < PATIENCE => sleep(LOOK).await,
                (Err(local::Closed::Owned(sentence)), _) => {
                    return Err(Failure::unavailable(format!("{sentence}, but nobody answers there"))
                        .fix("end that process if it hangs, then try again"));
                }
                (Err(local::Closed::Failure(failure)), _) => return Err(failure),
            }
        }
    }

    /// Asks the API and reads its document.
    ///
    /// # Errors
    /// What it answered instead, with the exit code for it.
    pub async fn ask<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, Refusal> {
        let body = self.ask_bytes(ask).await?;
        serde_json::from_slice(&body)
            .map_err(|error| Failure::failed(format!("the worker's answer is of another version: {error}")))
            .map_err(|failure| Refusal { failure, line: None })
    }

    /// As [`Session::ask`], with the document as it came.
    ///
    /// # Errors
    /// What it answered instead, with the exit code for it.
    pub async fn ask_bytes(&self, ask: Ask) -> Result<bytes::Bytes, Refusal> {
        let request = ask.request().map_err(|error| Failure::usage(error.to_string())).map_err(unplaced)?;
        let (status, body) = match &self.way {
            Way::Socket(path) => through_socket(path, request).await.map_err(unplaced)?,
            Way::Local(local) => in_process(local.router.clone(), request).await.map_err(unplaced)?,
        };
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    }

    /// The size of the largest job, in bytes, by the config here.
    #[must_use]
    pub fn body_limit(&self) -> u64 {
        self.target.config.worker.body_limit.0
    }

    /// Whether a worker answers, who runs jobs.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.way, Way::Socket(_))
    }

    /// Gives the stores up and waits until a worker answers, or until `end`.
    ///
    /// # Errors
    /// None; when no worker came, the answer is `None`.
    pub async fn until_live(self, end: Instant) -> Option<Self> {
        let Session { target, way } = self;
        if let Way::Local(local) = way {
            local.close().await;
        }
        while Instant::now() < end {
            sleep(LOOK).await;
            if let Ok(Some(socket)) = living(&target).await {
                return Some(Session { target, way: Way::Socket(socket) });
            }
        }
        None
    }

    /// Ends in order: what was done is in the files, and the files are free.
    pub async fn close(self) {
        if let Way::Local(local) = self.way {
            local.close().await;
        }
    }
}

fn unplaced(failure: Failure) -> Refusal {
    Refusal { failure, line: None }
}

/// The first socket of the target's stores that somebody listens on.
async fn living(target: &Target) -> Result<Option<PathBuf>, Denied> {
    let mut denied = None;
    for socket in target.sockets() {
        match connect(&socket).await {
            Ok(_) => return Ok(Some(socket)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = Some(Denied(socket)),
            Err(_) => {}
        }
    }
    denied.map_or(Ok(None), Err)
}

/// A socket that this user may not use, whoever listens there.
struct Denied(PathBuf);

fn denied(socket: &Path) -> Failure {
    let metadata = socket.metadata().or_else(|_| socket.parent().unwrap_or(socket).metadata());
    let user = metadata.ok().and_then(|metadata| User::from_uid(Uid::from_raw(metadata.uid())).ok().flatten());
    let owner = user.map_or_else(|| "its owner".into(), |user| user.name);
    let fix = format!("run the command as {owner}, such as by sudo -u {owner}, or ask the worker's API where api.listen says");
    Failure::unavailable(format!("{} is for {owner} alone", socket.display())).fix(fix)
}

async fn through_socket(
    path: &std::path::Path,
    request: Request<Full<bytes::Bytes>>,
) -> Result<(StatusCode, bytes::Bytes), Failure> {
    let broken = |error: &dyn std::error::Error| {
        Failure::unavailable(format!("the worker behind {} went away: {error}", path.display()))
            .fix("see whether it still runs, then try again; what was asked may have been done")
    };
    let stream = connect(path).await.map_err(|error| broken(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let driver = tokio::spawn(connection);
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
    };
    let answer = answer.await.map_err(|error| broken(&error));
    driver.abort();
    answer
}

async fn in_process(router: Router, request: Request<Full<bytes::Bytes>>) -> Result<(StatusCode, bytes::Bytes), Failure> {
    let response = match router.oneshot(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| Failure::failed(error.to_string()))?;
    Ok((status, body.to_bytes()))
}

fn refused(status: StatusCode, body: &[u8]) -> Refusal {
    let exit = match status {
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Exit::Usage,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => Exit::Unavailable,
        _ => Exit::Failed,
    };
    match serde_json::from_slice::<Refused>(body) {
        Ok(Refused { error: Sentence { message, line } }) => Refusal { failure: Failure::new(exit, message), line },
        Err(_) => unplaced(Failure::new(exit, format!("the worker answered {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[tokio::test(start_paused = true)]
    async fn a_store_whose_owner_does_not_answer_is_given_up_on_with_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target { config: Config::default(), base: folder.path().to_owned() };
        let owner = Session::open(target.clone(), Missing::Create).await.unwrap();
        let Err(failure) = Session::open(target.clone(), Missing::Create).await else { panic!("two owners") };
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.message.contains("is open in process") && failure.fix.is_some(), "{failure:?}");
        owner.close().await;
        Session::open(target, Missing::Refuse).await.unwrap().close().await;
    }
}
