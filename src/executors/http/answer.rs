//! What an answer means: done, or which class of failure.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{self, HeaderMap};

use super::call::{Answer, End};
use super::config::{HttpConfig, Meaning, statuses};
use crate::executors::output;
use crate::expression::{Expression, Scope, Subject};
use crate::job::Job;
use crate::job::life::shorten;
use crate::outcome::{Class, Failure, Outcome};
use crate::units::{Size, spell_size};

/// Of an answer in a failure's message, in bytes.
const QUOTED: usize = 500;
/// The longest wait that an endpoint may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// How answers are read.
#[derive(Debug)]
pub struct Rules {
    /// First and last status, and what they mean; the narrowest first.
    meanings: Vec<(u16, u16, Meaning)>,
    success: Option<Expression>,
    output: Size,
    /// The address is the same for every job.
    fixed_url: bool,
}

impl Rules {
    /// # Errors
    /// What is wrong with the success rule.
    pub fn new(config: &HttpConfig, fixed_url: bool) -> Result<Self, String> {
        let read = |(key, meaning): (&String, &Meaning)| statuses(key).map(|(first, last)| (first, last, *meaning));
        let mut meanings: Vec<_> = config.statuses.iter().filter_map(read).collect();
        meanings.sort_by_key(|(first, last, _)| last - first);
        let success = config.success.as_deref().map(|rule| Expression::compile(rule, Scope::Result)).transpose();
        let success = success.map_err(|wrong| format!("success: {}", wrong.message))?;
        Ok(Rules { meanings, success, output: config.output, fixed_url })
    }

    /// What a status means by itself.
    #[must_use]
    pub fn meaning(&self, status: StatusCode, headers: &HeaderMap) -> Meaning {
        let code = status.as_u16();
        let told = self.meanings.iter().find(|(first, last, _)| (*first..=*last).contains(&code));
        told.map_or_else(|| usual(status, headers.contains_key(header::RETRY_AFTER), self.fixed_url), |(_, _, meaning)| *meaning)
    }

    /// What becomes of the job; `called` is method and address, for the message.
    #[must_use]
    pub fn outcome(&self, answer: &Answer, job: &Job, called: &str) -> Outcome {
        match self.meaning(answer.status, &answer.headers) {
            Meaning::Failure(class) => failure(class, answer, called).into(),
            Meaning::Success => match &answer.end {
                End::Whole => self.success(answer, job, called),
                End::TooLarge => {
                    let why = format!("{called} answered with more than {}: raise output", spell_size(self.output.0));
                    Failure::new(Class::Rejected, why).into()
                }
                End::Broken(why) => {
                    let why = format!("{called} answered {}, and the connection ended within the answer: {why}", answer.status);
                    Failure::new(Class::UnknownOutcome, why).into()
                }
            },
        }
    }

    fn success(&self, answer: &Answer, job: &Job, called: &str) -> Outcome {
        let kind = answer.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let output = output::parse(answer.body.to_vec());
        if kind.contains("json")
            && let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&answer.body)
            && !answer.body.is_empty()
        {
            let why = format!("{called} answered {kind} that is not JSON: {error}{}", quoted(&answer.body));
            return Failure::new(Class::Failed, why).into();
        }
        match self.success.as_ref().map(|rule| rule.holds(Subject { job, result: Some(&output) })) {
            None | Some(Ok(true)) => Outcome::Done(output),
            Some(Ok(false)) => {
                let why = format!("{called} answered {}, which the success rule refuses{}", answer.status, quoted(&answer.body));
                Failure::new(Class::Failed, why).into()
            }
            Some(Err(why)) => {
                let why = format!("{called} answered, and the success rule cannot be asked of it: {why}{}", quoted(&answer.body));
                Failure::new(Class::Failed, why).into()
            }
        }
    }
}

/// What statuses mean that the config does not speak of: `docs/http.md` has the table.
fn usual(status: StatusCode, retry_after: bool, fixed_url: bool) -> Meaning {
    let class = match status.as_u16() {
        200..=299 => return Meaning::Success,
        429 => Class::Throttled,
        503 if retry_after => Class::Throttled,
        502..=504 => Class::Unavailable,
        408 => Class::Timeout,
        // nobody follows where it leads, or the credentials are not ours to mend
        300..=399 | 401 | 403 | 405 | 407 => Class::Misconfigured,
        // an address that is the same for every job is wrong for every job
        404 | 410 if fixed_url => Class::Misconfigured,
        409 | 423 | 425 => Class::Failed,
        400..=499 => Class::Rejected,
        _ => Class::Failed,
    };
    Meaning::Failure(class)
}

/// The endpoint's own words win, where it speaks as plugins do: `{"failed": {"class": …, "message": …}}`.
fn failure(class: Class, answer: &Answer, called: &str) -> Failure {
    let own = output::own_failure(&answer.body).map(|failed| failed.failure());
    let mut failure = own.unwrap_or_else(|| {
        let hint = match answer.status.as_u16() {
            300..=399 => sent_on(&answer.headers),
            401 | 403 if class == Class::Misconfigured => "; auth says who we are".to_owned(),
            _ => String::new(),
        };
        Failure::new(class, format!("{called} answered {}{hint}{}", answer.status, quoted(&answer.body)))
    });
    failure.retry_after = failure.retry_after.or_else(|| retry_after(&answer.headers));
    failure
}

fn sent_on(headers: &HeaderMap) -> String {
    let place = headers.get(header::LOCATION).and_then(|place| place.to_str().ok()).unwrap_or("nowhere");
    format!(
        " and sends us to {}: write that address into url, or let redirects be followed within the same server",
        shorten(super::without_query(place), QUOTED)
    )
}

fn quoted(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() { text } else { format!(": {}", shorten(&text, QUOTED)) }
}

/// Seconds, or an HTTP date (RFC 9110, 10.2.3).
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, retry_after: bool, fixed_url: bool) -> Option<Class> {
        match usual(StatusCode::from_u16(status).unwrap(), retry_after, fixed_url) {
            Meaning::Success => None,
            Meaning::Failure(class) => Some(class),
        }
    }

    #[test]
    fn each_status_has_the_class_that_its_verdict_needs() {
        for (status, expected) in [
            (204, None),
            (302, Some(Class::Misconfigured)),
            (400, Some(Class::Rejected)),
            (401, Some(Class::Misconfigured)),
            (404, Some(Class::Misconfigured)),
            (408, Some(Class::Timeout)),
            (409, Some(Class::Failed)),
            (422, Some(Class::Rejected)),
            (429, Some(Class::Throttled)),
            (500, Some(Class::Failed)),
            (502, Some(Class::Unavailable)),
            (503, Some(Class::Unavailable)),
            (504, Some(Class::Unavailable)),
            (507, Some(Class::Failed)),
        ] {
            assert_eq!(class(status, false, true), expected, "{status}");
        }
        assert_eq!(class(503, true, true), Some(Class::Throttled));
        assert_eq!(class(404, false, false), Some(Class::Rejected), "what this job asks for is not there");
    }

    #[test]
    fn a_wait_is_seconds_or_a_date_and_never_longer_than_a_week() {
        let wait = |text: &str| retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]));
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("99999999999"), Some(LONGEST_WAIT));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("Tue, 31 Dec 2999 23:59:59 GMT"), Some(LONGEST_WAIT));
        assert_eq!(wait("soon"), None);
    }
}
