//! One job in sentences: where it stands, why, and what has happened to it.

use jiff::Timestamp;
use serde::Deserialize;

use super::Failure;
use super::jobs::colour;
use super::screen::{Colour, Screen, WIDTH};
use super::session::{Ask, Session};
use super::submit::wait::output;
use super::words::{age, count, since, until};
use crate::admin::jobs::state_word;
use crate::admin::view::{Beside, MessageView};
use crate::job::FailureDocument;
use crate::job::life::Run;
use crate::outcome::Class;
use crate::ports::{Entry, QueueStats, State};

/// What is known of a job and of what it waits for.
pub(super) struct Shown {
    pub entry: Entry,
    pub beside: Beside,
    pub paused: bool,
    pub live: bool,
}

#[derive(Deserialize)]
pub(super) struct Queues {
    pub queues: Vec<QueueStats>,
}

impl Shown {
    /// Reads the API's document and asks whether the job's queue is paused.
    pub async fn read(document: &[u8], session: &Session) -> Result<Self, Failure> {
        let wrong = |error: serde_json::Error| Failure::failed(format!("the worker's answer is of another version: {error}"));
        let entry: Entry = serde_json::from_slice(document).map_err(wrong)?;
        let beside: Beside = serde_json::from_slice(document).map_err(wrong)?;
        let Queues { queues } = session.ask(Ask::get("/queues")).await?;
        let paused = queues.iter().any(|queue| queue.queue == entry.queue && queue.paused);
        Ok(Shown { entry, beside, paused, live: session.is_live() })
    }

    /// Why it is where it is, in a sentence.
    fn reason(&self, now: Timestamp) -> String {
        let entry = &self.entry;
        let due = entry.due.map_or_else(String::new, |due| format!(" until {due} ({})", until(due, now)));
        match entry.state {
            State::Waiting if self.paused => format!("its queue is paused: windlass queues resume {}", entry.queue),
            State::Waiting if !self.live => "no worker lives: start one with windlass run".into(),
            State::Waiting => match self.beside.waits_for.as_deref() {
                Some("rate") => "it waits until a rate allows its start (rate)",
                Some("concurrency") => "as many run as its route, tenant or key may have at once (concurrency)",
                Some("breaker_open") => {
                    "its executor is shut, or takes few after an outage: windlass breakers list (breaker_open)"
                }
                Some("throttled") => "its executor bears no more now: windlass breakers list (throttled)",
                Some("key_busy") => "another job of its key comes first (key_busy)",
                Some("held") => "it failed and is tried again; the other jobs of its key wait for it (held)",
                Some("suspect") => {
                    "a job that may have killed its worker runs alone: it is the one, or waits until that is over (suspect)"
                }
                _ => "it waits for a free slot (no_slot)",
            }
            .into(),
            State::Delayed if entry.life.last.is_some() => format!("it failed and is tried again; delayed{due}"),
            State::Delayed => format!("delayed{due}, as its producer asked"),
            State::Parked => self.parked(now),
            State::Running => self.running(now),
            State::Dead => {
                format!("it lies in the dead letters; once the cause is gone: windlass dead-letters replay {}", entry.id)
            }
            State::Completed => format!("it is done{}", self.took()),
            State::Discarded => "it was discarded on purpose".into(),
            State::Moved => "another queue holds it now".into(),
        }
    }

    fn parked(&self, now: Timestamp) -> String {
        let Some(park) = &self.entry.life.park else { return "parked".into() };
        let look = match self.entry.due.map(|due| until(due, now)) {
            None => String::new(),
            // parked beside its queue
            Some(over) if self.entry.life.due.is_none() => match park.reason {
                Class::NoRoute => format!("; it goes on when a route takes it, or is dead {over}"),
                _ => format!("; it goes on when its executor does (windlass breakers list), or is dead {over}"),
            },
            Some(due) => format!("; it is tried again {due}"),
        };
        format!("parked for {} because of {}, which costs no attempt{look}", since(park.since, now), park.reason)
    }

    fn running(&self, now: Timestamp) -> String {
        let Some(run) = &self.beside.running else { return "it is about to run, or its end is being written".into() };
        let progress = run.progress.as_ref().map_or_else(String::new, |progress| format!("; its progress: {progress}"));
        let verb = if run.started { "it runs" } else { "it is about to run, and waits for a free place in its executor" };
        format!("{verb} since {} (run {}, route {}){progress}", since(run.since, now), run.attempt, run.route)
    }

    fn took(&self) -> String {
        let Some(ended) = self.entry.ended else { return String::new() };
        format!(", {} after it was submitted", age(crate::clock::between(self.entry.submitted, ended)))
    }
}

/// The page that `jobs show` and `dead-letters show` print.
pub(super) fn tell(shown: &Shown, now: Timestamp, screen: &Screen) -> String {
    let (entry, mut page) = (&shown.entry, Page::default());
    let kind = entry.kind.as_deref().unwrap_or("unreadable");
    page.line(&format!(
        "{}  {kind}  {}",
        screen.paint(Colour::Bold, &entry.id),
        screen.paint(colour(entry.state), state_word(entry.state))
    ));
    page.sentence("", &shown.reason(now));
    page.blank();
    page.field("queue", &entry.queue);
    page.field("tenant", entry.tenant.as_deref().unwrap_or_default());
    page.field("priority", &entry.priority.to_string());
    page.field("submitted", &moment(entry.submitted, now));
    let ended = entry.ended.filter(|_| entry.failure.is_none());
    page.field("ended", &ended.map_or_else(String::new, |ended| moment(ended, now)));
    page.field("failed runs", &failed(entry));
    page.field("replays", &if entry.life.replay > 0 { entry.life.replay.to_string() } else { String::new() });
    match &entry.failure {
        Some(failure) => page.failure(failure, now),
        None => page.last(entry, now),
    }
    if let Some(run) = &shown.beside.running {
        page.block("log", &run.log_tail);
    }
    if let Some(output) = output(entry) {
        page.block("result", output.get());
    }
    if let Some(message) = &shown.beside.message {
        page.message(message);
    }
    page.text
}

fn moment(at: Timestamp, now: Timestamp) -> String {
    if at == Timestamp::UNIX_EPOCH {
        return "nobody noted when".into();
    }
    format!("{} ({} ago)", at.strftime("%Y-%m-%d %H:%M:%S UTC"), since(at, now))
}

fn failed(entry: &Entry) -> String {
    let life = &entry.life;
    match (life.attempt, life.crashes) {
        (0, 0) => String::new(),
        (attempts, 0) => count(attempts.into(), "attempt", "attempts"),
        (0, crashes) => count(crashes.into(), "crash", "crashes"),
        (attempts, crashes) => {
            format!("{}, {}", count(attempts.into(), "attempt", "attempts"), count(crashes.into(), "crash", "crashes"))
        }
    }
}

/// Text of [`WIDTH`] columns; what is empty is left out.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn field(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.sentence(&format!("  {name:<12}  "), value);
        }
    }

    /// Breaks at blanks, later lines below the first word.
    fn sentence(&mut self, prefix: &str, sentence: &str) {
        let (indent, mut line) = (" ".repeat(prefix.chars().count()), prefix.to_owned());
        let mut fresh = true;
        for word in sentence.split_whitespace() {
            if !fresh && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.line(&line);
                line.clone_from(&indent);
            } else if !fresh {
                line.push(' ');
            }
            line.push_str(word);
            fresh = false;
        }
        self.line(&line);
    }

    /// Lines as they are, under a heading.
    fn block(&mut self, heading: &str, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        self.text.push_str(&format!("\n{heading}:\n"));
        for line in text.trim_end().lines() {
            let shown: String = line.chars().map(|c| if c.is_control() && c != '\t' { '·' } else { c }).collect();
            self.line(&format!("  {shown}"));
        }
    }

    fn last(&mut self, entry: &Entry, now: Timestamp) {
        if let Some(last) = &entry.life.last {
            self.field("last failure", &format!("{}: {}", last.class, last.message));
        }
        self.history(&entry.life.history, now);
    }

    fn failure(&mut self, failure: &FailureDocument, now: Timestamp) {
        self.field("died", &moment(failure.last_failure, now));
        self.field("reason", failure.reason.as_str());
        let class = failure.class.as_str();
        self.field("class", if class == failure.reason.as_str() { "" } else { class });
        self.field("route", failure.route.as_deref().unwrap_or_default());
        self.field("executor", failure.executor.as_deref().unwrap_or_default());
        self.field("trace", failure.trace_id.as_deref().unwrap_or_default());
        self.history(&failure.history, now);
        self.block("failure", &failure.message);
        self.block("log", &failure.log_tail);
    }

    fn history(&mut self, history: &[Run], now: Timestamp) {
        for (index, run) in history.iter().enumerate() {
            let name = if index == 0 { "runs" } else { "" };
            let took = crate::units::spell_duration(std::time::Duration::from_millis(run.took));
            let text = format!("{} ago, {} after {took} on {}", since(run.at, now), run.class, run.worker);
            self.sentence(&format!("  {name:<12}  "), &text);
        }
    }

    fn message(&mut self, message: &MessageView) {
        self.block("body", message.body.as_deref().unwrap_or_default());
        self.block("body (Base64)", message.body_base64.as_deref().unwrap_or_default());
        let ours = |name: &str| name == crate::job::JOB_HEADER || name == crate::job::FAILURE_HEADER;
        let headers = message.headers.iter().filter(|header| !ours(&header.name));
        let lines: Vec<String> = headers
            .map(|header| {
                format!("{}: {}", header.name, header.value.as_deref().or(header.value_base64.as_deref()).unwrap_or_default())
            })
            .collect();
        self.block("headers", &lines.join("\n"));
    }
}
