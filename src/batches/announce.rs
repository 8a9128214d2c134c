//! What is told of batches: `opened` and `completed` lie in the store until their exit has confirmed them; `progress` is told
//! now and then and may be missed.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Batches, EVENT, Standing, event};
use crate::ports::{Outgoing, QueueError, Sink};
use crate::retry::{Backoff, Jitter};
use crate::state::{Change, Held, StateError, When};
use crate::stop_point;

/// Between two events of progress of one batch, at least.
const OFTEN: Duration = Duration::from_secs(1);
/// Batches whose progress is told at a time; of more, only their ends are.
const MOST: usize = 10_000;
/// Events read at once.
const PAGE: usize = 100;
/// Events that another process has left are found after this.
const LOOK: Duration = Duration::from_secs(30);
/// The wait after an exit or the store failed.
const DOWN: Backoff =
    Backoff { base: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(5), jitter: Jitter::Equal };

/// How far a batch has come since that was last told.
pub(super) struct Progress {
    standing: Standing,
    told: Option<(Instant, u64)>,
    changed: bool,
}

/// Where the events of each pool go; a pool without an exit for results announces nothing.
pub type Exits = BTreeMap<Arc<str>, Arc<dyn Sink>>;

impl Batches {
    fn progress(&self) -> MutexGuard<'_, std::collections::HashMap<Arc<str>, Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch has come further. Its completion is told by itself.
    pub(super) fn moved(&self, id: &Arc<str>, standing: &Standing, completed: bool) {
        let mut progress = self.progress();
        if completed {
            progress.remove(id);
        } else if let Some(known) = progress.get_mut(id) {
            (known.standing, known.changed) = (standing.clone(), true);
        } else if progress.len() < MOST {
            progress.insert(id.clone(), Progress { standing: standing.clone(), told: None, changed: true });
        }
        drop(progress);
        self.news.notify_one();
    }

    /// Publishes events until the stop.
    pub async fn announce(self: Arc<Self>, exits: Exits, stop: CancellationToken) {
        let mut failures = 0;
        loop {
            let wait = match stop.run_until_cancelled(self.announce_all(&exits)).await {
                None => return,
                Some(Ok(())) => {
                    failures = 0;
                    self.tell_progress(&exits).await
                }
                Some(Err(error)) => {
                    failures += 1;
                    tracing::warn!("events of batches wait: {error}; trying again");
                    tokio::time::sleep(DOWN.delay(failures, fastrand::f64())).await;
                    Duration::ZERO
                }
            };
            let woken = async {
                tokio::select! {
                    () = self.news.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            };
            if stop.run_until_cancelled(woken).await.is_none() {
                return;
            }
        }
    }

    /// Publishes what lies in the store. One exit that is down holds up none of the others.
    async fn announce_all(&self, exits: &Exits) -> Result<(), Trouble> {
        let (mut after, mut trouble) = (None::<Arc<str>>, None);
        loop {
            let page = self.state.scan(&format!("{EVENT}/"), after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return trouble.map_or(Ok(()), Err) };
            after = Some(last.clone());
            for (place, held) in &page {
                if let Err(error) = self.announce_one(exits, place, held).await {
                    trouble = Some(error);
                }
            }
        }
    }

    async fn announce_one(&self, exits: &Exits, place: &Arc<str>, held: &Held) -> Result<(), Trouble> {
        #[derive(serde::Deserialize)]
        struct Written {
            id: Arc<str>,
            data: Standing,
        }
        let written: Option<Written> = serde_json::from_slice(&held.value).ok();
        if let Some(Written { id, data }) = written
            && let Some(exit) = exits.get(&data.pool)
        {
            let outgoing = Outgoing { message: event::message(held.value.clone()), id: Some(id.clone()), ..Outgoing::default() };
            match exit.send(outgoing).await {
                Ok(()) => stop_point::pass("announced"),
                Err(QueueError::Refused(why)) => tracing::error!(event = %id, "{} refuses it: {why}", exit.address()),
                Err(error) => return Err(error.into()),
            }
        }
        self.state.change(vec![Change::remove(place, When::Version(held.version))]).await?;
        Ok(())
    }

    /// Tells how far batches have come, as often as is useful; answers how long there is nothing to tell.
    async fn tell_progress(&self, exits: &Exits) -> Duration {
        let (now, mut wait, mut due) = (Instant::now(), LOOK, Vec::new());
        self.progress().retain(|id, progress| {
            match progress.due(now) {
                Some(left) if left.is_zero() => {
                    progress.told = Some((now, progress.standing.ended()));
                    progress.changed = false;
                    due.push((id.clone(), progress.standing.clone()));
                }
                Some(left) => wait = wait.min(left),
                None => {}
            }
            progress.standing.completed.is_none() || progress.changed
        });
        for (id, standing) in due {
            let Some(exit) = exits.get(&standing.pool) else { continue };
            let suffix = format!("progress:{}-{}-{}", standing.done, standing.dead, standing.discarded);
            let event = event::render(&id, "progress", &suffix, &standing, self.clock.now());
            let id = Some(event::id(&id, &suffix).into());
            if let Err(error) = exit.send(Outgoing { message: event::message(event), id, ..Outgoing::default() }).await {
                tracing::debug!("the progress of a batch is not told: {error}");
            }
        }
        wait
    }
}

impl Progress {
    /// After which time it is to be told; none when nothing has changed, or too little.
    fn due(&self, now: Instant) -> Option<Duration> {
        let Some((at, ended)) = self.told else { return self.changed.then_some(Duration::ZERO) };
        let step = self.standing.size.map_or(1, |size| size.div_ceil(100));
        let enough = self.standing.ended().abs_diff(ended) >= step || self.standing.completed.is_some();
        (self.changed && enough).then(|| OFTEN.saturating_sub(now.duration_since(at)))
    }
}

/// Why events wait.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}
