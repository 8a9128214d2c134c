//! A job on its way through a host: what the host says of it, handed over to the one who waits.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::outcome::Outcome;
use crate::ports::Context;

/// Lines kept for one who does not come to read them.
const MOST_NOTES: usize = 1000;

/// Written by the host's conversation, read by the job's own task.
#[derive(Debug, Default)]
pub struct Flight {
    said: Mutex<Said>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Said {
    lines: Vec<String>,
    dropped: usize,
    progress: Option<String>,
    outcome: Option<Outcome>,
}

impl Flight {
    /// Waits for the job's end; hands its log and progress to `context` as they come. Cancel-safe.
    pub async fn ended(&self, context: &Context) -> Outcome {
        loop {
            let said = std::mem::take(&mut *self.said());
            for line in &said.lines {
                context.log(line);
            }
            if said.dropped > 0 {
                context.log(&format!("({} more lines came faster than they could be taken)", said.dropped));
            }
            if let Some(progress) = said.progress {
                context.set_progress(progress);
            }
            if let Some(outcome) = said.outcome {
                return outcome;
            }
            self.news.notified().await;
        }
    }

    pub fn log(&self, line: &str) {
        let mut said = self.said();
        if said.lines.len() < MOST_NOTES {
            said.lines.push(line.to_owned());
        } else {
            said.dropped += 1;
        }
        drop(said);
        self.news.notify_one();
    }

    pub fn progress(&self, progress: String) {
        self.said().progress = Some(progress);
        self.news.notify_one();
    }

    pub fn finish(&self, outcome: Outcome) {
        self.said().outcome = Some(outcome);
        self.news.notify_one();
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
