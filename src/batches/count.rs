//! Ends of jobs, written together: those that come while others are written make the next group.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::{BATCH, Batches, EVENT, JOB, JobEnd, KEPT, Standing, event, read, write};
use crate::job::Batch;
use crate::state::{Change, Held, StateError, When, key};
use crate::stop_point;

/// The most reports that are written at once.
const GROUP: usize = 200;

/// What is told of a batch: that a job of it was seen, or how one ended.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub batch: Batch,
    pub pool: Arc<str>,
    /// Counted under this id.
    pub job: Option<(Arc<str>, JobEnd)>,
}

type Reply = oneshot::Sender<Result<(), StateError>>;

/// Reports that wait. Whoever has the turn writes for all of them.
#[derive(Default)]
pub(super) struct Line {
    waiting: Mutex<Vec<(Report, Reply)>>,
    turn: tokio::sync::Mutex<()>,
}

impl Line {
    fn take(&self) -> Vec<(Report, Reply)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let group = waiting.len().min(GROUP);
        waiting.drain(..group).collect()
    }
}

/// How a job ended, as it is kept.
pub(super) fn end(held: &Held) -> Option<JobEnd> {
    match &*held.value {
        b"done" => Some(JobEnd::Done),
        b"dead" => Some(JobEnd::Dead),
        b"discarded" => Some(JobEnd::Discarded),
        _ => None,
    }
}

impl JobEnd {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            JobEnd::Done => "done",
            JobEnd::Dead => "dead",
            JobEnd::Discarded => "discarded",
        }
    }
}

impl Standing {
    fn of(&mut self, end: JobEnd) -> &mut u64 {
        match end {
            JobEnd::Done => &mut self.done,
            JobEnd::Dead => &mut self.dead,
            JobEnd::Discarded => &mut self.discarded,
        }
    }
}

/// What one write makes of a batch.
struct Outcome {
    standing: Standing,
    opened: bool,
    completed: bool,
    /// The ends that are new.
    ends: BTreeMap<Arc<str>, JobEnd>,
}

impl Batches {
    /// Writes a report, together with others that come at the same time.
    pub(super) async fn report(&self, report: Report) -> Result<(), StateError> {
        let (reply, mut answer) = oneshot::channel();
        self.line.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((report, reply));
        loop {
            let _turn = self.line.turn.lock().await;
            match answer.try_recv() {
                Ok(answer) => return answer,
                // whoever wrote for us was stopped on the way
                Err(TryRecvError::Closed) => return Err(StateError("the counting of its batch was interrupted".into())),
                Err(TryRecvError::Empty) => self.write_group(self.line.take()).await,
            }
        }
    }

    async fn write_group(&self, group: Vec<(Report, Reply)>) {
        let mut batches: HashMap<Arc<str>, (Vec<Report>, Vec<Reply>)> = HashMap::new();
        for (report, reply) in group {
            let (reports, replies) = batches.entry(report.batch.id.clone()).or_default();
            reports.push(report);
            replies.push(reply);
        }
        let writes = batches.into_values().map(|(reports, replies)| async move {
            let written = self.write_batch(&reports).await;
            replies.into_iter().for_each(|reply| drop(reply.send(written.clone())));
        });
        futures_util::future::join_all(writes).await;
    }

    /// Writes what is told of one batch; the counts, the ends they are made of and the events they lead to are one change.
    async fn write_batch(&self, reports: &[Report]) -> Result<(), StateError> {
        let Some(first) = reports.first() else { return Ok(()) };
        let id = first.batch.id.clone();
        loop {
            let mut keys = vec![key(&[BATCH, &id])];
            let jobs = reports.iter().filter_map(|report| report.job.as_ref());
            keys.extend(jobs.map(|(job, _)| key(&[JOB, &id, job])));
            let held = self.state.read(&keys).await?;
            let outcome = self.outcome(reports, &held);
            let before = held.first().and_then(Option::as_ref);
            if before.and_then(read).as_ref() == Some(&outcome.standing) && outcome.ends.is_empty() {
                return Ok(());
            }
            let changes = self.changes(&id, &outcome, When::unchanged(before));
            stop_point::pass("counting");
            if self.state.change(changes).await? {
                stop_point::pass("counted");
                self.counted(&id, outcome);
                return Ok(());
            }
        }
    }

    /// What reports make of a batch: `held` is what is known of it, then of each job of the reports in turn.
    fn outcome(&self, reports: &[Report], held: &[Option<Held>]) -> Outcome {
        let now = self.clock.now();
        let before = held.first().and_then(Option::as_ref).and_then(read);
        let opened = before.is_none();
        let pool = reports.first().map_or_else(|| "".into(), |report| report.pool.clone());
        let fresh = Standing { pool, size: None, done: 0, dead: 0, discarded: 0, opened: now, completed: None, cancelled: None };
        let mut standing = before.unwrap_or(fresh);
        let mut ends = BTreeMap::new();
        let mut known = held.iter().skip(1);
        for report in reports {
            standing.size = standing.size.max(report.batch.size);
            let Some((job, end)) = &report.job else { continue };
            let kept = known.next().and_then(Option::as_ref).and_then(self::end);
            let last = ends.get(job).copied().or(kept);
            if last == Some(*end) {
                continue;
            }
            if let Some(last) = last {
                let count = standing.of(last);
                *count = count.saturating_sub(1);
            }
            *standing.of(*end) += 1;
            ends.insert(job.clone(), *end);
        }
        let completed = standing.completed.is_none() && standing.size.is_some_and(|size| standing.ended() >= size);
        standing.completed = standing.completed.or(completed.then_some(now));
        Outcome { standing, opened, completed, ends }
    }

    fn changes(&self, id: &str, outcome: &Outcome, unchanged: When) -> Vec<Change> {
        let now = self.clock.now();
        let keep = |change: Change| change.for_the_next(KEPT, now);
        let mut changes = vec![keep(Change::put(&key(&[BATCH, id]), unchanged, write(&outcome.standing)))];
        changes
            .extend(outcome.ends.iter().map(|(job, end)| keep(Change::put(&key(&[JOB, id, job]), When::Always, end.as_str()))));
        for (kind, wanted) in [("opened", outcome.opened), ("completed", outcome.completed)] {
            if wanted {
                let event = event::render(id, kind, kind, &outcome.standing, now);
                changes.push(keep(Change::put(&key(&[EVENT, id, kind]), When::Always, event)));
            }
        }
        changes
    }

    fn counted(&self, id: &Arc<str>, outcome: Outcome) {
        for end in outcome.ends.values() {
            self.metrics.ended(end.as_str());
        }
        if outcome.opened {
            self.metrics.opened.increment(1);
        }
        if outcome.completed {
            self.metrics.completed.increment(1);
        }
        if !outcome.ends.is_empty() {
            self.moved(id, &outcome.standing, outcome.completed);
        }
        if outcome.opened || outcome.completed {
            self.news.notify_one();
        }
    }
}
