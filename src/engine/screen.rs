//! Before a job is routed: is it small enough, young enough, and wanted by its source.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::between;
use crate::expression::{Expression, Subject};
use crate::job::Job;
use crate::outcome::{Class, Reason, Verdict};
use crate::units::spell_duration;

/// Who discards the jobs that a source does not want, as it is recorded.
const BY: &str = "where";

/// What a source asks of its jobs.
#[derive(Debug, Default)]
pub struct Screen {
    /// `where:`, true of every job that is wanted.
    pub wanted: Option<Expression>,
    /// Since a job was published or, where it asked to wait, since it was due.
    pub max_age: Option<Duration>,
}

impl Screen {
    /// What becomes of a job that does not pass; none for one that does. A job about which the expression has no answer
    /// is not dropped: it becomes a dead letter that says why.
    #[must_use]
    pub fn verdict(&self, job: &Job, now: Timestamp) -> Option<Verdict> {
        let expired = self.too_old(job, now).map(|why| dead(job, Class::Expired, why));
        expired.or_else(|| self.unwanted(job))
    }

    /// Why a job is too old, if it is. A replayed job is as old as it was: whoever replays it wants it run all the same.
    #[must_use]
    pub fn too_old(&self, job: &Job, now: Timestamp) -> Option<String> {
        let limit = self.max_age.filter(|_| job.life.replay == 0)?;
        let since = job.life.first_seen.max(job.not_before).unwrap_or(now);
        let age = between(since, now);
        (age > limit).then(|| {
            let [age, limit] = [Duration::from_secs(age.as_secs()), limit].map(spell_duration);
            format!("the job is {age} old; its queue takes jobs of at most {limit} (max_age)")
        })
    }

    fn unwanted(&self, job: &Job) -> Option<Verdict> {
        let wanted = self.wanted.as_ref()?;
        match wanted.holds(Subject { job, result: None }) {
            Ok(true) => None,
            Ok(false) => Some(Verdict::Discard { by: BY.into() }),
            Err(why) => Some(dead(job, Class::Rejected, format!("where: {wanted} has no answer for this job: {why}"))),
        }
    }
}

/// A dead letter that no run has led to.
fn dead(job: &Job, class: Class, message: String) -> Verdict {
    let mut life = job.life.clone();
    (life.due, life.park, life.suspect) = (None, None, false);
    life.last_was(class, &message);
    Verdict::DeadLetter { reason: Reason::Class(class), class, message, life }
}
