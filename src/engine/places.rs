//! Which places beside a pool's queues may hold jobs, until the queue itself says that one holds none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::older::{Keyed, Older};
use crate::job::Job;

/// The queue is asked again so soon after something came out of a place.
const SOON: Duration = Duration::from_millis(100);
/// While nothing comes out of it, the questions come less and less often, but no less than that: what leaves a place without
/// the pool (its time was over, an operator took it) is noticed by them.
const LATER: Duration = Duration::from_secs(5);

/// A queue and a place beside it.
pub(super) type PlaceKey = (Arc<str>, Arc<str>);

/// Places that are not known to be empty.
#[derive(Default)]
pub(super) struct Places {
    held: Mutex<HashMap<PlaceKey, Held>>,
    /// How many there are.
    known: AtomicUsize,
    sooner: Notify,
}

struct Held {
    /// Raised by whatever may have put a job there.
    changes: u64,
    /// Jobs on their way there.
    coming: usize,
    ask_at: Instant,
    /// Until the question after that one.
    wait: Duration,
    older: Older,
}

/// A question about a place, as of when it was asked.
pub(super) struct Question {
    pub key: PlaceKey,
    changes: u64,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, HashMap<PlaceKey, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a place may hold jobs.
    pub fn holds(&self, queue: &Arc<str>, place: &Arc<str>) -> bool {
        self.lock().contains_key(&(queue.clone(), place.clone()))
    }

    /// Whether a job must not pass older ones of its key there.
    pub fn holds_older(&self, queue: &Arc<str>, place: &Arc<str>, job: &Job) -> bool {
        if self.known.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let Some(job) = Keyed::new(job) else { return false };
        self.lock().get(&(queue.clone(), place.clone())).is_some_and(|held| held.older.than(&job))
    }

    /// There may be something in a place, or less than before: the queue is asked soon.
    pub fn changed(&self, queue: &Arc<str>, place: &Arc<str>) {
        self.change(queue, place, true, |_| {});
        self.sooner.notify_one();
    }

    /// A job is on its way into a place, until [`Places::arrived`]; `keyed` if its key keeps its order.
    pub fn coming(&self, queue: &Arc<str>, place: &Arc<str>, keyed: Option<&Keyed>) {
        self.change(queue, place, false, |held| {
            held.coming += 1;
            if let Some(job) = keyed {
                held.older.enters(job);
            }
        });
    }

    /// It is there, or has stayed where it was.
    pub fn arrived(&self, queue: &Arc<str>, place: &Arc<str>, stayed: Option<&Keyed>) {
        self.change(queue, place, false, |held| {
            held.coming = held.coming.saturating_sub(1);
            if let Some(job) = stayed {
                held.older.forget(job);
            }
        });
        self.sooner.notify_one();
    }

    /// A job whose key keeps its order was taken from a place.
    pub fn taken(&self, queue: &Arc<str>, place: &Arc<str>, job: &Keyed) {
        self.change(queue, place, true, |held| held.older.leaves(job));
    }

    /// It goes back there.
    pub fn returns(&self, queue: &Arc<str>, place: &Arc<str>, job: &Keyed) {
        self.change(queue, place, true, |held| held.older.returns(job));
        self.sooner.notify_one();
    }

    /// Routes have changed: other keys keep their order now.
    pub fn lose_count(&self) {
        self.lock().values_mut().for_each(|held| held.older.lose_count());
    }

    /// `uncounted` says that there may be jobs in it already, if nothing is known of it.
    fn change(&self, queue: &Arc<str>, place: &Arc<str>, uncounted: bool, more: impl FnOnce(&mut Held)) {
        let (now, mut places) = (Instant::now(), self.lock());
        let new = || Held { changes: 0, coming: 0, ask_at: now, wait: SOON, older: Older::new(uncounted) };
        let held = places.entry((queue.clone(), place.clone())).or_insert_with(new);
        held.changes += 1;
        (held.ask_at, held.wait) = (held.ask_at.min(now + SOON), SOON);
        more(held);
        self.known.store(places.len(), Ordering::Relaxed);
    }

    /// The places to ask about now; waits until there are some.
    pub async fn questions(&self) -> Vec<Question> {
        loop {
            let next = {
                let (now, mut places) = (Instant::now(), self.lock());
                let due = |held: &Held| held.ask_at <= now && held.coming == 0;
                let ask = places.iter_mut().filter(|(_, held)| due(held)).map(|(key, held)| {
                    (held.ask_at, held.wait) = (now + held.wait, (held.wait * 2).min(LATER));
                    Question { key: key.clone(), changes: held.changes }
                });
                let questions: Vec<Question> = ask.collect();
                if !questions.is_empty() {
                    return questions;
                }
                places.values().filter(|held| held.coming == 0).map(|held| held.ask_at).min()
            };
            match next {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.sooner.notified() => {}
                },
                None => self.sooner.notified().await,
            }
        }
    }

    /// The queue has said that the place is empty; that holds unless something has come since it was asked. True when it does.
    pub fn empty(&self, question: &Question) -> bool {
        let mut places = self.lock();
        let same = places.get(&question.key).is_some_and(|held| held.coming == 0 && held.changes == question.changes);
        if same {
            places.remove(&question.key);
            self.known.store(places.len(), Ordering::Relaxed);
        }
        same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (Arc<str>, Arc<str>) {
        ("q".into(), "p".into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_holds_jobs_until_its_queue_says_otherwise_however_long_it_is_quiet() {
        let (places, (queue, place)) = (Places::default(), names());
        assert!(!places.holds(&queue, &place));
        places.changed(&queue, &place);
        for _ in 0..100 {
            assert_eq!(places.questions().await.len(), 1);
            assert!(places.holds(&queue, &place), "nobody has said that it is empty");
        }
        let question = places.questions().await.remove(0);
        assert!(places.empty(&question) && !places.holds(&queue, &place));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_from_before_a_job_came_counts_for_nothing() {
        let (places, (queue, place)) = (Places::default(), names());
        places.changed(&queue, &place);
        let question = places.questions().await.remove(0);
        places.coming(&queue, &place, None);
        assert!(!places.empty(&question), "a job is on its way");
        let asked = tokio::time::timeout(Duration::from_secs(60), places.questions()).await;
        assert!(asked.is_err(), "there is nothing to ask while one is on its way");
        places.arrived(&queue, &place, None);
        assert!(!places.empty(&question), "one has come since");
        assert!(places.empty(&places.questions().await.remove(0)));
    }
}
