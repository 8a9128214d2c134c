//! The Lambda executor: a job is one call of a function of AWS, which waits for its answer.

pub mod config;
mod report;
mod trouble;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::operation::invoke::InvokeOutput;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{InvocationType, LogType};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::aws::{self, Account};
use crate::executors::limits::bytes;
use crate::executors::output;
use crate::executors::payload::payload;
use crate::executors::places::{Places, stopped};
use crate::expression::{Expression, Scope, Subject};
use crate::job::Job;
use crate::job::life::shorten;
use crate::outcome::{Class, Failure, Outcome};
use crate::ports::{Context, Executor, Stopped};
use crate::units::{spell_duration, spell_size};
use config::{Keys, LARGEST, LambdaConfig};

/// The longest that a function may be allowed to run.
const LONGEST: Duration = Duration::from_secs(900);
/// Beyond a function's own time-out, for its start and its way back.
const MARGIN: Duration = Duration::from_secs(15);
/// How long a question about the function may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of the context that goes with a call, once it is base64.
const LONGEST_CONTEXT: usize = 3583;

/// Runs jobs by a function of AWS Lambda.
pub struct LambdaExecutor {
    config: LambdaConfig,
    success: Option<Expression>,
    credentials: Option<Credentials>,
    client: OnceCell<Client>,
    /// How long the function may run by its own configuration, once that was asked.
    limit: OnceCell<Duration>,
    places: Places,
}

impl LambdaExecutor {
    /// `base` is the folder of the config file.
    ///
    /// # Errors
    /// A sentence that says what of the config cannot work here.
    pub fn new(config: &LambdaConfig, base: &Path) -> Result<Arc<Self>, String> {
        if let Some((key, why, fix)) = config.faults().into_iter().next() {
            return Err(format!("{key}: {why}; {fix}"));
        }
        let success = config.success.as_deref().map(|rule| Expression::compile(rule, Scope::Result)).transpose();
        Ok(Arc::new(LambdaExecutor {
            success: success.map_err(|wrong| format!("success: {}", wrong.message))?,
            credentials: config.credentials.as_ref().map(|keys| credentials(keys, base)).transpose()?,
            client: OnceCell::new(),
            limit: OnceCell::new(),
            places: Places::new(config.concurrency.unwrap_or(usize::MAX)),
            config: config.clone(),
        }))
    }

    /// The name or ARN that is called.
    #[must_use]
    pub fn function(&self) -> &str {
        &self.config.function
    }

    /// Made with the first call: credentials and region are looked for then.
    async fn client(&self) -> Result<&Client, Failure> {
        let LambdaConfig { region, profile, role, endpoint, connect_timeout, .. } = &self.config;
        let account = Account {
            region: region.as_deref(),
            profile: profile.as_deref(),
            role: role.as_deref(),
            credentials: self.credentials.clone(),
            endpoint: endpoint.as_deref(),
        };
        let connect = || async move { Ok(Client::new(&aws::load(account, connect_timeout.0).await?)) };
        self.client.get_or_try_init(connect).await.map_err(|why: String| Failure::new(Class::Misconfigured, why))
    }

    async fn run(&self, job: &Job, context: &Context) -> Outcome {
        match self.call(job, context).await {
            Ok(answer) => self.understand(&answer, job, context),
            Err(failure) => failure.into(),
        }
    }

    async fn call(&self, job: &Job, context: &Context) -> Result<InvokeOutput, Failure> {
        let body = payload(job, context, self.config.format).body;
        if body.len() as u64 > LARGEST {
            let why = format!("the event has {} bytes; a call of Lambda takes {LARGEST} ({})", body.len(), spell_size(LARGEST));
            return Err(Failure::new(Class::Rejected, format!("{why}: send a reference to the data instead")));
        }
        let custom = client_context(job, context);
        context
            .trace(|| format!("invoke {}\nclient context: {custom}\n\n{}", self.config.name(), String::from_utf8_lossy(&body)));
        let request = self.client().await?.invoke().function_name(&self.config.function);
        let request = request
            .set_qualifier(self.config.qualifier.clone())
            .invocation_type(InvocationType::RequestResponse)
            .log_type(LogType::Tail)
            .client_context(STANDARD.encode(custom))
            .payload(Blob::new(body.to_vec()));
        let what = format!("invoke {}", self.config.name());
        let longer = || async { self.about().await.map(|about| about.timeout).unwrap_or_default() }.boxed();
        let answer = within_its_time(request.send(), *self.limit.get().unwrap_or(&LONGEST), longer).await;
        let late = |limit| trouble::unknown(&what, &format!("its own time-out of {} is over", spell_duration(limit)));
        answer.map_err(late)?.map_err(|error| trouble::failure(&error, &what))
    }

    fn understand(&self, answer: &InvokeOutput, job: &Job, context: &Context) -> Outcome {
        let tail = answer.log_result().map(report::read).unwrap_or_default();
        tail.lines.iter().for_each(|line| context.log(line));
        if let Some(usage) = tail.usage {
            context.used(usage);
        }
        let body = answer.payload().map(Blob::as_ref).unwrap_or_default();
        context.trace(|| {
            let error = answer.function_error().map_or_else(String::new, |error| format!("function error: {error}\n"));
            let version = answer.executed_version().unwrap_or("unknown");
            format!("status {}\nversion: {version}\n{error}\n{}", answer.status_code(), String::from_utf8_lossy(body))
        });
        if let Some(kind) = answer.function_error() {
            return self.function_error(kind, body, context).into();
        }
        if body.len() > bytes(self.config.output) {
            let limit = spell_size(self.config.output.0);
            return Failure::new(
                Class::Rejected,
                format!("{} answered with more than {limit}: raise output", self.config.name()),
            )
            .into();
        }
        let output = output::parse(body.to_vec());
        match self.success.as_ref().map(|rule| rule.holds(Subject { job, result: Some(&output) })) {
            None | Some(Ok(true)) => Outcome::Done(output),
            Some(refused) => {
                let why = refused.err().unwrap_or_else(|| "the success rule refuses the answer".into());
                let quoted = String::from_utf8_lossy(body);
                let message = format!("{}: {why}: {}", self.config.name(), shorten(&quoted, 500));
                Failure::new(Class::Failed, message).into()
            }
        }
    }

    /// The function itself has failed: with what it raised, or because Lambda ended it.
    fn function_error(&self, kind: &str, body: &[u8], context: &Context) -> Failure {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Raised {
            error_type: String,
            error_message: String,
            #[serde(alias = "trace")]
            stack_trace: Vec<serde_json::Value>,
        }
        let raised: Raised = serde_json::from_slice(body).unwrap_or_else(|_| Raised {
            error_message: shorten(&String::from_utf8_lossy(body), 500).to_owned(),
            ..Raised::default()
        });
        for frame in &raised.stack_trace {
            let text = frame.as_str().map_or_else(|| frame.to_string(), str::to_owned);
            text.lines().filter(|line| !line.trim().is_empty()).for_each(|line| context.log(line.trim_end()));
        }
        let ended = raised.error_type == "Sandbox.Timedout" || raised.error_message.contains("Task timed out after");
        let class = match self.config.errors.get(&raised.error_type) {
            Some(class) => *class,
            None if ended => Class::Timeout,
            None if raised.error_type == "Function.ResponseSizeTooLarge" => Class::Rejected,
            None => Class::Failed,
        };
        let named = if raised.error_type.is_empty() { kind } else { &raised.error_type };
        Failure::new(class, format!("{}: {named}: {}", self.config.name(), shorten(&raised.error_message, 2000)))
    }

    /// What the function is by its own configuration.
    async fn about(&self) -> Result<About, Failure> {
        let client = self.client().await?;
        let asked = client.get_function_configuration().function_name(&self.config.function);
        let asked = asked.set_qualifier(self.config.qualifier.clone()).send();
        let what = format!("the configuration of {}", self.config.name());
        let late = |_| Failure::new(Class::Unavailable, format!("{what}: no answer"));
        let told = tokio::time::timeout(PATIENCE, asked).await.map_err(late)?;
        let told = told.map_err(|error| trouble::failure(&error, &what))?;
        let timeout = told.timeout().and_then(|seconds| u64::try_from(seconds).ok()).map_or(LONGEST, Duration::from_secs);
        let state = told.state().map(|state| state.as_str().to_owned());
        Ok(About {
            timeout,
            memory: told.memory_size().unwrap_or_default(),
            state,
            runtime: told.runtime().map(|runtime| runtime.as_str().to_owned()),
        })
    }
}

/// A function by its own configuration.
struct About {
    timeout: Duration,
    /// In MB.
    memory: i32,
    state: Option<String>,
    runtime: Option<String>,
}

#[async_trait]
impl Executor for LambdaExecutor {
    async fn execute(&self, job: &Job, context: &Context) -> Outcome {
        let _place = match self.places.take(context).await {
            Ok(place) => place,
            Err(outcome) => return outcome,
        };
        tokio::select! {
            ended = context.limit(self.run(job, context)) => match ended {
                Ok(outcome) => outcome,
                Err(Stopped::TimedOut(limit)) => {
                    let why = format!("its time limit of {} is over", spell_duration(limit));
                    trouble::unknown(&format!("invoke {}", self.config.name()), &why).into()
                }
                Err(why) => stopped(why),
            },
            () = self.places.closed() => stopped(Stopped::Cancelled),
        }
    }

    /// Learns how long the function may run. Who may call it need not be allowed to ask.
    async fn warm(&self) -> Result<(), String> {
        match self.about().await {
            Ok(about) => {
                let _known_before = self.limit.set(about.timeout);
                Ok(())
            }
            Err(failure) if failure.message.contains("AccessDenied") => {
                tracing::info!("{}: a call is waited for {} then", failure.message, spell_duration(LONGEST + MARGIN));
                Ok(())
            }
            Err(failure) => Err(failure.message),
        }
    }

    async fn examine(&self) -> Result<Vec<String>, Failure> {
        let about = self.about().await?;
        let (state, runtime) = (about.state.unwrap_or_default(), about.runtime.unwrap_or_default());
        let allowed = self.client().await?.invoke().function_name(&self.config.function);
        let allowed = allowed.set_qualifier(self.config.qualifier.clone()).invocation_type(InvocationType::DryRun).send();
        let what = format!("a dry run of {}", self.config.name());
        tokio::time::timeout(PATIENCE, allowed)
            .await
            .map_err(|_| Failure::new(Class::Unavailable, format!("{what}: no answer")))?
            .map_err(|error| trouble::failure(&error, &what))?;
        let parts = [state, runtime, format!("{} MB", about.memory), format!("at most {}", spell_duration(about.timeout))];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Ok(vec![format!("function {}: {}", self.config.name(), parts.join(", ")), "it may be called".into()])
    }

    async fn stop(&self, grace: Duration) {
        self.places.close(grace, || {}).await;
    }
}

/// Waits as long as a function may run, and no longer. A longer time that it was given meanwhile is found out in time.
async fn within_its_time<'a, F: Future>(
    call: F,
    mut limit: Duration,
    longer: impl Fn() -> BoxFuture<'a, Duration>,
) -> Result<F::Output, Duration> {
    let start = Instant::now();
    tokio::pin!(call);
    loop {
        if let Ok(answer) = tokio::time::timeout_at(start + limit + MARGIN, &mut call).await {
            return Ok(answer);
        }
        match longer().await {
            longer if longer > limit => limit = longer,
            _ => return Err(limit),
        }
    }
}

fn credentials(keys: &Keys, base: &Path) -> Result<Credentials, String> {
    let mut read = Vec::new();
    for (key, secret) in keys.each() {
        read.push(secret.read(base).map_err(|why| format!("credentials.{key}: {why}"))?);
    }
    let mut read = read.into_iter();
    let (access, secret) = (read.next().unwrap_or_default(), read.next().unwrap_or_default());
    Ok(Credentials::new(access, secret, read.next(), None, "windlass"))
}

/// What the function finds in its context: the job's id, the same for every attempt. As much as has room there.
fn client_context(job: &Job, context: &Context) -> String {
    let whole = json!({ "custom": {
        "windlass-job-id": job.id, "windlass-job-type": job.kind, "windlass-attempt": context.attempt.to_string(),
        "traceparent": job.traceparent(),
    }});
    let whole = whole.to_string();
    if whole.len().div_ceil(3) * 4 <= LONGEST_CONTEXT {
        return whole;
    }
    json!({ "custom": { "windlass-job-id": job.id } }).to_string()
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;
    use crate::executors::fixtures;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_waited_for_as_long_as_the_function_may_run_by_now() {
        let call = || async { tokio::time::sleep(Duration::from_secs(40)).await };
        let seconds = Duration::from_secs;
        assert_eq!(within_its_time(call(), seconds(3), || ready(seconds(3)).boxed()).await, Err(seconds(3)));
        assert_eq!(within_its_time(call(), seconds(3), || ready(seconds(30)).boxed()).await, Ok(()), "it was raised meanwhile");
        assert_eq!(
            within_its_time(call(), seconds(3), || ready(Duration::ZERO).boxed()).await,
            Err(seconds(3)),
            "nobody can say"
        );
    }

    #[test]
    fn what_has_no_room_in_the_context_is_left_out_but_never_the_id() {
        let mut job = fixtures::job(&json!(1));
        let context = Context::new("job-1".into(), "r".into(), LONGEST);
        assert!(client_context(&job, &context).contains("test.job"));
        (job.id, job.kind) = ("i".repeat(300).into(), "k".repeat(3000).into());
        let short = client_context(&job, &context);
        assert!(short.contains(&*job.id) && STANDARD.encode(&short).len() <= LONGEST_CONTEXT);
    }
}
