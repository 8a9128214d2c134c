//! The HTTP executor: a job is a call to an endpoint, once and with its answer understood.

mod answer;
mod call;
mod client;
pub mod config;
mod credentials;
mod platform;
mod request;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, StatusCode, Url};

use crate::executors::limits::bytes;
use crate::executors::places::{Places, stopped};
use crate::job::Job;
use crate::outcome::{Class, Failure, Outcome};
use crate::ports::{Context, Executor, Stopped};
use crate::units::spell_duration;
use answer::Rules;
use call::{Answer, Caller, Progress};
use config::{HttpConfig, Meaning, PlatformConfig};
use credentials::{Credentials, Header};
use request::{Prepared, Recipe};

/// How long a question about the target itself may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs jobs by calls to an endpoint.
#[derive(Debug)]
pub struct HttpExecutor {
    recipe: Recipe,
    caller: Caller,
    credentials: Credentials,
    rules: Rules,
    platform: Option<(PlatformConfig, String)>,
    places: Places,
}

impl HttpExecutor {
    /// `base` is the folder of the config file.
    ///
    /// # Errors
    /// A sentence that says what of the config cannot work here.
    pub fn new(config: &HttpConfig, base: &Path) -> Result<Arc<Self>, String> {
        if let Some(fault) = config.faults().into_iter().next() {
            return Err(format!("{}: {}; {}", fault.key, fault.why, fault.fix));
        }
        let client = client::build(config, base)?;
        let recipe = Recipe::new(config, base)?;
        Ok(Arc::new(HttpExecutor {
            rules: Rules::new(config, recipe.fixed_url().is_some())?,
            credentials: Credentials::new(config.auth.as_ref(), &client, base)?,
            caller: Caller { client, redirects: config.redirects, output: bytes(config.output) },
            platform: config.platform.clone().map(|platform| (platform, config.url.clone())),
            places: Places::new(config.concurrency.unwrap_or(usize::MAX)),
            recipe,
        }))
    }

    async fn run(&self, job: &Job, context: &Context, progress: &Arc<Progress>) -> Outcome {
        match self.answer(job, context, progress).await {
            Ok((answer, called)) => {
                let platform = self.platform.as_ref().and_then(|_| platform::outcome(&answer, &self.rules, &called));
                platform.unwrap_or_else(|| self.rules.outcome(&answer, job, &called))
            }
            Err(failure) => failure.into(),
        }
    }

    async fn answer(&self, job: &Job, context: &Context, progress: &Arc<Progress>) -> Result<(Answer, String), Failure> {
        let prepared = self.recipe.prepare(job, context)?;
        let called = format!("{} {}", prepared.method, shown(&prepared.url));
        let mut credentials = self.credentials.header().await?;
        context.trace(|| sent(&prepared, credentials.as_ref()));
        let mut answer = self.caller.call(&prepared, credentials.as_ref(), progress).await?;
        // nothing was done for a token that has ended early; with a new one the call is the first
        if answer.status == StatusCode::UNAUTHORIZED {
            progress.begin(false);
            if self.credentials.refused(credentials.as_ref()).await {
                credentials = self.credentials.header().await?;
                answer = self.caller.call(&prepared, credentials.as_ref(), progress).await?;
            }
        }
        context.trace(|| came(&answer));
        Ok((answer, called))
    }

    /// What becomes of a call whose time is over.
    fn cut(&self, why: Stopped, progress: &Progress) -> Outcome {
        let Stopped::TimedOut(limit) = why else { return stopped(why) };
        let limit = spell_duration(limit);
        let status = progress.status();
        let status_shown = status.map_or_else(String::new, |status| status.to_string());
        if let Some(Meaning::Failure(class)) = status.map(|status| self.rules.meaning(status, &reqwest::header::HeaderMap::new()))
        {
            let message = format!("it answered {status_shown}, and the rest of the answer did not come within {limit}");
            return Failure::new(class, message).into();
        }
        if !progress.sent() {
            let message = format!("no connection or token within {limit}: nothing was sent");
            return Failure::new(Class::Unavailable, message).into();
        }
        let what = match status {
            Some(_) => format!("the answer began ({status_shown}) and did not end within {limit}"),
            None => format!("the request was sent and no answer came within {limit}"),
        };
        Failure::new(Class::UnknownOutcome, format!("{what}: the work may be done or not")).into()
    }

    /// A question about the target itself.
    async fn ask(&self, method: Method, url: Url) -> Result<Answer, Failure> {
        let credentials = self.credentials.header().await?;
        let prepared = Prepared { method, url, headers: reqwest::header::HeaderMap::new(), body: bytes::Bytes::new() };
        let progress = Arc::new(Progress::default());
        let asked = self.caller.call(&prepared, credentials.as_ref(), &progress);
        let late = |_| Failure::new(Class::Unavailable, format!("{} does not answer", shown(&prepared.url)));
        tokio::time::timeout(PATIENCE, asked).await.map_err(late)?
    }

    async fn ask_platform(&self, platform: &(PlatformConfig, String), call: &str, method: Method) -> Result<String, Failure> {
        let (config, url) = platform;
        let url = platform::address(url, config, call).map_err(|why| Failure::new(Class::Misconfigured, why))?;
        let answer = self.ask(method, url).await?;
        self.allowed(&answer)?;
        platform::described(answer.status, &answer.body, &config.function)
    }

    fn allowed(&self, answer: &Answer) -> Result<(), Failure> {
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let why = format!("it answered {}: auth says who we are", answer.status);
                Err(Failure::new(Class::Misconfigured, why))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Executor for HttpExecutor {
    async fn execute(&self, job: &Job, context: &Context) -> Outcome {
        let _place = match self.places.take(context).await {
            Ok(place) => place,
            Err(outcome) => return outcome,
        };
        let progress = Arc::new(Progress::default());
        tokio::select! {
            ended = context.limit(self.run(job, context, &progress)) => match ended {
                Ok(outcome) => outcome,
                Err(why) => self.cut(why, &progress),
            },
            () = self.places.closed() => stopped(Stopped::Cancelled),
        }
    }

    /// A token, and on a platform a function that is there and warm.
    async fn warm(&self) -> Result<(), String> {
        let warm = async {
            self.credentials.header().await?;
            let Some(platform) = &self.platform else { return Ok(()) };
            self.ask_platform(platform, platform::DESCRIBE, Method::GET).await?;
            // platforms need not know it
            if let Err(failure) = self.ask_platform(platform, platform::WARM, Method::POST).await {
                tracing::debug!("not warmed: {}", failure.message);
            }
            Ok(())
        };
        warm.await.map_err(|failure: Failure| failure.message)
    }

    async fn examine(&self) -> Result<Vec<String>, Failure> {
        let Some(platform) = &self.platform else {
            let Some(url) = self.recipe.fixed_url() else {
                self.credentials.header().await?;
                return Ok(vec!["its address depends on the job: try one with windlass executors test".into()]);
            };
            let answer = self.ask(Method::OPTIONS, url.clone()).await?;
            self.allowed(&answer)?;
            return Ok(vec![format!("{} is there: it answers OPTIONS with {}", shown(url), answer.status)]);
        };
        let described = self.ask_platform(platform, platform::DESCRIBE, Method::GET).await?;
        let health = self.ask_platform(platform, platform::HEALTH, Method::GET).await?;
        Ok(vec![format!("function {}: {described}", platform.0.function), format!("health: {health}")])
    }

    async fn stop(&self, grace: Duration) {
        self.places.close(grace, || {}).await;
    }
}

/// An address without its query, where secrets may stand.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// The same of a text that need not be an address.
fn without_query(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap_or_default()
}

/// For who tries a call out: secrets are not shown.
fn sent(prepared: &Prepared, credentials: Option<&Header>) -> String {
    let mut text = format!("{} {}\n", prepared.method, shown(&prepared.url));
    let headers = prepared.headers.iter().filter(|(name, _)| credentials.is_none_or(|(own, _)| own != *name));
    for (name, value) in headers.chain(credentials.iter().map(|(name, value)| (name, value))) {
        let value = if value.is_sensitive() { "(secret)".into() } else { String::from_utf8_lossy(value.as_bytes()) };
        text.push_str(&format!("{name}: {value}\n"));
    }
    text.push('\n');
    text.push_str(&String::from_utf8_lossy(&prepared.body));
    text
}

fn came(answer: &Answer) -> String {
    let mut text = format!("{}\n", answer.status);
    for (name, value) in &answer.headers {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    text.push('\n');
    text.push_str(&String::from_utf8_lossy(&answer.body));
    text
}
