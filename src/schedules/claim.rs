//! Who of a fleet submits a due time, where the queue does not recognise a job that is submitted twice.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Known, Progress, Schedule, Schedules};
use crate::state::{Change, StateError, When};

/// Whoever has claimed a due time and has not submitted it for so long is taken for dead. Watched by each worker for itself:
/// their clocks need not agree.
const PATIENCE: Duration = Duration::from_secs(10);

/// A due time, and the worker that submits it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    due: Timestamp,
    by: Arc<str>,
}

/// Another worker's claim, and since when we see it.
#[derive(Clone)]
pub(super) struct Rival {
    claim: Claim,
    since: Instant,
}

impl Schedules {
    /// Notes that this worker submits a due time. False while another one does.
    pub(super) async fn claim(&self, schedule: &Schedule, known: &mut Known, due: Timestamp) -> Result<bool, StateError> {
        if let Some(theirs) = known.progress.claim.clone().filter(|claim| claim.by != self.me) {
            let seen = known.rival.take().filter(|rival| rival.claim == theirs);
            let rival = seen.unwrap_or_else(|| Rival { claim: theirs, since: Instant::now() });
            if rival.since.elapsed() < PATIENCE {
                known.rival = Some(rival);
                return Ok(false);
            }
        }
        let progress = Progress { claim: Some(Claim { due, by: self.me.clone() }), ..known.progress.clone() };
        let key = schedule.key();
        // a document of plain values cannot fail to serialise
        let value = serde_json::to_vec(&progress).unwrap_or_default();
        let claimed = self.state.change(vec![Change::put(&key, known.when, value)]).await?;
        let held = self.state.get(&key).await?;
        known.when = When::unchanged(held.as_ref());
        known.progress = held.as_ref().and_then(super::progress).unwrap_or(progress);
        Ok(claimed && known.progress.claim.as_ref().is_some_and(|claim| claim.by == self.me))
    }
}
