//! Replay or discard many dead letters, request by request: at a rate, as a dry run, stopped at any time.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::admin::bulk::Progress;
use crate::cli::filter::FilterArgs;
use crate::cli::jobs::who;
use crate::cli::looked::LookedAt;
use crate::cli::screen::Screen;
use crate::cli::session::{Ask, Session};
use crate::cli::words::count;
use crate::cli::{Exit, Failure};
use crate::units::parse_duration;

/// Dead letters of one request where no rate is asked for.
const STEP: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Replay,
    Discard,
}

/// Which ones, and how.
#[derive(Debug, Args)]
pub(super) struct Choice {
    /// Their ids, instead of a filter
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Every dead letter there is
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Say how many it would be, and change nothing
    #[arg(long, conflicts_with = "ids")]
    dry_run: bool,
    /// No faster than this, such as 10/s or 100/m
    #[arg(long, conflicts_with = "ids", value_parser = rate)]
    rate: Option<Rate>,
    /// At most so many
    #[arg(long, conflicts_with = "ids", value_name = "COUNT")]
    limit: Option<usize>,
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// So many per time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    count: usize,
    per: Duration,
}

/// Reads `10/s`, `100/m` or `1000/10s`.
fn rate(text: &str) -> Result<Rate, String> {
    let wrong = || format!("{text:?} is not a rate: write a count and a time, such as 10/s, 100/m or 500/10s");
    let (number, per) = text.split_once('/').ok_or_else(wrong)?;
    let number: usize = number.trim().parse().map_err(|_| wrong())?;
    let per = per.trim();
    let per = if per.starts_with(|c: char| c.is_ascii_digit()) { per.to_owned() } else { format!("1{per}") };
    let per = parse_duration(&per).map_err(|_| wrong())?;
    if number == 0 || per.is_zero() { Err(wrong()) } else { Ok(Rate { count: number, per }) }
}

impl Rate {
    /// A step of at most a second's worth, and when the next may start after it.
    fn step(self) -> (usize, Duration) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rate is small"
        )]
        let most = (self.count as f64 / self.per.as_secs_f64()) as usize;
        let step = most.clamp(1, STEP).min(self.count);
        (step, self.per.mul_f64(step as f64 / self.count as f64))
    }
}

impl Choice {
    /// Refuses a command that names nothing: all must be said.
    pub fn check(&self) -> Result<(), Failure> {
        let filtered = !self.filter.pairs().is_empty();
        if self.ids.is_empty() && !filtered && !self.all {
            return Err(Failure::usage("this would be every dead letter")
                .fix("name ids or a filter such as --reason failed, or say --all"));
        }
        let others = self.filter.pairs().iter().any(|(key, _)| *key != "queue");
        if !self.ids.is_empty() && others {
            return Err(
                Failure::usage("ids and a filter exclude each other").fix("leave the filter out; only --queue goes with ids")
            );
        }
        Ok(())
    }

    fn order(&self, limit: usize, next: Option<&str>) -> Value {
        let mut order: serde_json::Map<String, Value> =
            self.filter.pairs().into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        order.insert("by".into(), who().into());
        order.insert("all".into(), self.all.into());
        order.insert("dry_run".into(), self.dry_run.into());
        order.insert("limit".into(), limit.into());
        if let Some(next) = next {
            order.insert("next".into(), next.into());
        }
        Value::Object(order)
    }
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Replay => "replay",
            Verb::Discard => "discard",
        }
    }

    fn done(self, dry_run: bool) -> &'static str {
        match (self, dry_run) {
            (Verb::Replay, false) => "replayed",
            (Verb::Replay, true) => "would be replayed",
            (Verb::Discard, false) => "discarded",
            (Verb::Discard, true) => "would be discarded",
        }
    }
}

/// What all requests together did.
#[derive(Default)]
struct Sum {
    count: usize,
    skipped: usize,
    ids: Vec<std::sync::Arc<str>>,
}

pub(super) async fn work(session: &Session, verb: Verb, choice: &Choice, screen: &mut Screen) -> Result<Exit, Failure> {
    let (step, pause) = choice.rate.filter(|_| !choice.dry_run).map_or((STEP, Duration::ZERO), Rate::step);
    let (mut sum, mut next, mut turn) = (Sum::default(), None, Instant::now());
    let mut looked = LookedAt::default();
    loop {
        let left = choice.limit.unwrap_or(usize::MAX) - sum.count;
        let ask = Ask::post("/dead-letters").part(verb.as_str()).json(&choice.order(left.min(step), next.as_deref()));
        let progress: Progress = session.ask(ask).await.map_err(|refusal| sum.so_far(verb, refusal.failure))?;
        sum.add(&progress);
        looked.note(progress.looked);
        next = progress.next;
        if !progress.more || choice.limit.is_some_and(|limit| sum.count >= limit) {
            break;
        }
        turn += pause;
        sleep_until(turn).await;
    }
    let document = json!({ "dry_run": choice.dry_run, "count": sum.count, "skipped": sum.skipped, "ids": sum.ids });
    screen.answer(&document, &sum.sentence(verb, choice.dry_run))?;
    looked.tell(false);
    Ok(if sum.skipped > 0 { Exit::Partly } else { Exit::Done })
}

impl Sum {
    fn add(&mut self, progress: &Progress) {
        self.count += progress.count;
        self.skipped += progress.skipped;
        let room = 20usize.saturating_sub(self.ids.len());
        self.ids.extend(progress.ids.iter().take(room).cloned());
    }

    fn sentence(&self, verb: Verb, dry_run: bool) -> String {
        let mut text = format!("{} {}", count(self.count as u64, "dead letter", "dead letters"), verb.done(dry_run));
        if dry_run && !self.ids.is_empty() {
            let ids: Vec<&str> = self.ids.iter().map(|id| &**id).collect();
            let more = if self.count > ids.len() { ", …" } else { "" };
            text.push_str(&format!(": {}{more}", ids.join(", ")));
        }
        if self.skipped > 0 {
            text.push_str(&format!("; {} skipped: gone, or dead again since", self.skipped));
        }
        text
    }

    fn so_far(&self, verb: Verb, failure: Failure) -> Failure {
        if self.count == 0 {
            return failure;
        }
        let done = count(self.count as u64, "dead letter was", "dead letters were");
        Failure::new(Exit::Partly, format!("{}; {done} {} before", failure.message, verb.done(false)))
            .fix("run it again for the rest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_count_and_a_time() {
        assert_eq!(rate("10/s").unwrap(), Rate { count: 10, per: Duration::from_secs(1) });
        assert_eq!(rate("500/10s").unwrap(), Rate { count: 500, per: Duration::from_secs(10) });
        for wrong in ["10", "0/s", "x/s", "10/", "10/parsec", "-1/s"] {
            assert!(rate(wrong).unwrap_err().contains("10/s"), "{wrong}");
        }
    }

    #[test]
    fn steps_keep_the_rate_whatever_its_size() {
        for text in ["1/m", "10/s", "7/3s", "100000/s"] {
            let asked = rate(text).unwrap();
            let (step, pause) = asked.step();
            let wanted = asked.count as f64 / asked.per.as_secs_f64();
            let got = step as f64 / pause.as_secs_f64();
            assert!((got / wanted - 1.0).abs() < 1e-6, "{text}: {got} instead of {wanted} per second");
            assert!((1..=STEP).contains(&step), "{text}");
        }
    }
}
