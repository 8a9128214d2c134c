//! What the demo submits and what it says about it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::between;
use crate::job::Message;
use crate::job::decode::{Decoding, Received, decode};
use crate::ports::{Entry, NewJob};
use crate::queues::embedded::Audit;

/// A few hundred jobs over the shipped files; some of the invoices are trouble.
pub(super) fn jobs(now: Timestamp) -> Result<Vec<NewJob>, String> {
    let mut bodies = Vec::new();
    for number in 0..120 {
        let by = ["town", "item"][number % 2];
        let file = format!("data/orders-{}.csv", number % 3 + 1);
        bodies.push(job(format!("summary-{number}"), "csv.summary", &json!({"file": file, "by": by, "sum": "amount"})));
    }
    for number in 0..90 {
        let file = format!("data/{}.txt", ["windlass", "queue", "retry"][number % 3]);
        bodies.push(job(format!("words-{number}"), "text.words", &json!({"file": file, "most": number % 5 + 1})));
    }
    for number in 0..60 {
        let file = format!("data/orders-{}.csv", number % 3 + 1);
        bodies.push(job(format!("checksum-{number}"), "file.checksum", &json!({"file": file})));
    }
    for number in 0..40 {
        let trouble = match number {
            13 => "always",
            27 => "crash",
            number if number % 5 == 0 => "flaky",
            _ => "none",
        };
        let data = json!({"number": 1000 + number, "net": 9.5 * f64::from(number + 1), "trouble": trouble});
        bodies.push(job(format!("invoice-{number}"), "invoice.render", &data));
    }
    bodies.into_iter().map(|body| new_job(&body, now)).collect()
}

fn job(id: String, kind: &str, data: &Value) -> Value {
    json!({"id": id, "type": kind, "data": data})
}

fn new_job(body: &Value, now: Timestamp) -> Result<NewJob, String> {
    let message = Message::of(body.to_string());
    let received = Received { origin: crate::job::Origin::default(), published: Some(now), now };
    let job = decode(&message, &Decoding::Envelope, &received).map_err(|malformed| malformed.0)?;
    Ok(NewJob { id: job.id, message, due: job.not_before, priority: job.priority })
}

/// Bytes that are no job.
pub(super) fn garbled() -> Message {
    Message::of("{\"id\": \"garbled\", \"type\": \"invoice.ren")
}

/// Counts, durations from submit to done, retries, dead letters by reason.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    done: usize,
    /// Of the done: after retries.
    retried: usize,
    p50_ms: u128,
    p99_ms: u128,
    dead_letters: BTreeMap<String, Vec<Arc<str>>>,
}

impl Summary {
    pub fn of(done: &[Entry], dead: &[Entry]) -> Self {
        let mut took: Vec<Duration> = done.iter().filter_map(|job| Some(between(job.submitted, job.ended?))).collect();
        took.sort_unstable();
        let at = |share: usize| {
            let place = (took.len() * share / 100).min(took.len().saturating_sub(1));
            took.get(place).copied().unwrap_or_default().as_millis()
        };
        let mut dead_letters: BTreeMap<String, Vec<Arc<str>>> = BTreeMap::new();
        for entry in dead {
            let reason = entry.failure.as_ref().map_or_else(String::new, |failure| failure.reason.to_string());
            dead_letters.entry(reason).or_default().push(entry.id.clone());
        }
        let retried = done.iter().filter(|job| attempt(job) > 1).count();
        Summary { done: done.len(), retried, p50_ms: at(50), p99_ms: at(99), dead_letters }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { done, retried, p50_ms, p99_ms, dead_letters } = self;
        writeln!(f, "{done} jobs done, {retried} of them after retries; submit to done p50 {p50_ms} ms, p99 {p99_ms} ms")?;
        writeln!(f, "{} dead letters:", dead_letters.values().map(Vec::len).sum::<usize>())?;
        dead_letters.iter().try_for_each(|(reason, ids)| writeln!(f, "  {reason:<10} {}", ids.join(", ")))
    }
}

/// The number of the run that did the job, as the event of its end tells.
fn attempt(job: &Entry) -> u64 {
    let event = job.event.as_ref().and_then(|event| serde_json::from_str::<Value>(event.get()).ok());
    event.and_then(|event| event["attempt"].as_u64()).unwrap_or(1)
}

/// The proof, in words.
pub(super) fn audited(audit: &Audit) -> String {
    let mut text = String::new();
    for queue in audit.queues.iter().filter(|queue| queue.submitted > 0) {
        text.push_str(&format!(
            "audit: {} submitted = {} completed + {} discarded + {} waiting + {} dead\n",
            queue.submitted, queue.completed, queue.discarded, queue.waiting, queue.dead
        ));
    }
    text.push_str(if audit.ok { "audit: nothing was lost.\n" } else { "audit: THE SUMS DIFFER.\n" });
    text
}

/// Commands that can be pasted; a program that is built but not installed is put on the path first.
pub(super) fn next_steps(directory: &Path) -> String {
    let program = std::env::current_exe().ok();
    let folder = program.as_deref().and_then(Path::parent).map_or_else(String::new, |folder| folder.display().to_string());
    format!(
        "Look around:\n  PATH=$PATH:{folder}\n  cd {}\n  windlass jobs list --limit 5\n  windlass jobs show invoice-13\n  windlass run     # then, in another shell:\n  windlass submit text.words '{{\"file\": \"data/queue.txt\"}}' --wait 10s\n",
        directory.display()
    )
}
