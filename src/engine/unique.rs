//! `unique:` of a route: while a job with a key waits or runs, and for a time after it was done, others are discarded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::clock::after;
use crate::expression::{Expression, Subject};
use crate::job::Job;
use crate::ports::{Admin, State};
use crate::state::{Change, Held, StateError, StateStore, When, key};

/// Who discards the second job, as it is recorded.
pub(super) const BY: &str = "unique";
/// A key whose holder is not heard of any more is free after this, where its queue cannot be asked.
const FORGOTTEN: Duration = Duration::from_secs(7 * 86_400);
/// A holder that ends without being done frees its key at once; this long after a crash on the way.
const LINGER: Duration = Duration::from_secs(300);

/// What a route says of it.
pub struct Unique {
    pub key: Expression,
    /// After the holder was done.
    pub span: Duration,
    pub holders: Arc<Holders>,
}

/// Which job holds which key, for all routes.
pub struct Holders {
    pub state: Arc<dyn StateStore>,
    /// By the queue's name in the config.
    pub residents: BTreeMap<Arc<str>, Resident>,
}

/// Who knows the jobs of a queue, and the queue's name there.
pub type Resident = (Arc<dyn Admin>, Arc<str>);

/// The holder of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    queue: Arc<str>,
    job: Arc<str>,
    /// As the expression said it: the key of the store holds its digest.
    key: String,
    /// It is done; others are discarded until the value expires.
    #[serde(default)]
    done: bool,
}

/// A job and the key it asks for.
pub(super) struct Wish {
    place: Arc<str>,
    holder: Holder,
}

impl Unique {
    /// What a job of this route asks for; none where its key is null.
    ///
    /// # Errors
    /// Why the expression has no answer.
    pub(super) fn wish(&self, route: &str, queue: &Arc<str>, job: &Job) -> Result<Option<Wish>, String> {
        let Some(text) = self.key.text(Subject { job, result: None })? else { return Ok(None) };
        let digest: String = Sha256::digest(&text).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let holder = Holder { queue: queue.clone(), job: job.id.clone(), key: text, done: false };
        Ok(Some(Wish { place: key(&["unique", route, &digest]), holder }))
    }
}

impl Holders {
    /// Takes a key; who holds it when it is another job.
    pub(super) async fn claim(&self, wish: &Wish, now: Timestamp) -> Result<Option<Arc<str>>, StateError> {
        loop {
            let held = self.state.get(&wish.place).await?;
            let present: Option<Holder> = held.as_ref().and_then(read);
            match present {
                Some(present) if present.is(&wish.holder) && (present.done || runs_out(held.as_ref(), now)) => {}
                Some(present) if present.is(&wish.holder) => return Ok(None),
                Some(present) if present.done || self.lives(&present).await => return Ok(Some(present.job)),
                _ => {}
            }
            if self.write(&wish.place, held.as_ref(), &wish.holder, after(now, FORGOTTEN)).await? {
                return Ok(None);
            }
        }
    }

    /// Before the holder leaves: keeps its key for `span` when it is done, and has it free soon when it ends otherwise.
    pub(super) async fn release(&self, wish: &Wish, span: Option<Duration>, now: Timestamp) -> Result<(), StateError> {
        let kept = span.filter(|span| !span.is_zero());
        let holder = Holder { done: kept.is_some(), ..wish.holder.clone() };
        while let Some(held) = self.held_by(wish).await? {
            if self.write(&wish.place, Some(&held), &holder, after(now, kept.unwrap_or(LINGER))).await? {
                break;
            }
        }
        Ok(())
    }

    /// Once the holder has left and is not done: frees its key now. What fails here frees itself a little later.
    pub(super) async fn free(&self, wish: &Wish) {
        if let Ok(Some(held)) = self.held_by(wish).await
            && !read(&held).is_some_and(|present| present.done)
        {
            let _ = self.state.change(vec![Change::remove(&wish.place, When::Version(held.version))]).await;
        }
    }

    async fn write(&self, place: &Arc<str>, held: Option<&Held>, holder: &Holder, until: Timestamp) -> Result<bool, StateError> {
        // a document of plain values cannot fail to serialise
        let value = serde_json::to_vec(holder).unwrap_or_default();
        self.state.change(vec![Change::put(place, When::unchanged(held), value).until(until)]).await
    }

    /// Whether a holder that is not done may still come to be; one that an operator has ended frees its key.
    async fn lives(&self, holder: &Holder) -> bool {
        let Some((admin, inner)) = self.residents.get(&holder.queue) else { return true };
        match admin.find(Some(inner), &holder.job).await {
            Ok(Some(entry)) => matches!(entry.state, State::Waiting | State::Delayed | State::Parked | State::Running),
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// The key's value while this job holds it.
    async fn held_by(&self, wish: &Wish) -> Result<Option<Held>, StateError> {
        let held = self.state.get(&wish.place).await?;
        Ok(held.filter(|held| read(held).is_some_and(|present| present.is(&wish.holder))))
    }
}

impl Holder {
    fn is(&self, other: &Holder) -> bool {
        self.job == other.job && self.queue == other.queue
    }
}

fn read(held: &Held) -> Option<Holder> {
    serde_json::from_slice(&held.value).ok()
}

/// Whether a claim is to be written again, because its job waits so long.
fn runs_out(held: Option<&Held>, now: Timestamp) -> bool {
    held.and_then(|held| held.expires).is_some_and(|expires| expires < after(now, FORGOTTEN / 2))
}
