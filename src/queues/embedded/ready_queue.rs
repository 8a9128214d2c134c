//! One queue of the file as the process knows it, and the table of them all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use tokio::sync::Notify;

use super::ledger;
use super::place::{Place, QueueNumber};
use super::ready::Ready;
use super::sorted::Sorted;
use super::waiting::Waiting;
use crate::job::Message;
use crate::ports::{Facets, QueueError, Sort, Strand};

/// What a queue's dead letters are called.
pub(super) const DEAD_SUFFIX: &str = ".dead";
/// What stands between a queue's name and that of a place where its jobs are parked.
const PARKED: &str = ".parked.";

pub(super) struct ReadyQueue {
    pub name: Arc<str>,
    /// The queue whose jobs are parked here.
    parked_from: Option<Arc<str>>,
    seed: u64,
    salt: u64,
    /// How the source tells messages apart.
    sort: RwLock<Option<Sort>>,
    number: OnceLock<QueueNumber>,
    ready: Mutex<Ready>,
    /// There is something to take, or a refill to start.
    pub arrived: Notify,
    has_source: AtomicBool,
    /// Why the last refill failed, for the source to tell.
    trouble: Mutex<Option<QueueError>>,
}

impl ReadyQueue {
    fn new(name: Arc<str>, salt: u64) -> Self {
        ReadyQueue {
            parked_from: name.rsplit_once(PARKED).map(|(home, _)| home.into()),
            seed: ledger::seed(salt, &name),
            salt,
            sort: RwLock::default(),
            name,
            number: OnceLock::new(),
            ready: Mutex::default(),
            arrived: Notify::new(),
            has_source: AtomicBool::new(false),
            trouble: Mutex::default(),
        }
    }

    /// Its number in the file, once the writer has given it one.
    pub fn number(&self) -> Option<QueueNumber> {
        self.number.get().copied()
    }

    pub fn is_dead(&self) -> bool {
        self.name.ends_with(DEAD_SUFFIX)
    }

    /// The queue whose jobs are parked here; none for a queue that is no such place.
    pub fn parked_from(&self) -> Option<&str> {
        self.parked_from.as_deref()
    }

    /// What a job of this queue adds to the sums of its ledger.
    pub fn digest(&self, id: &str) -> u128 {
        ledger::digest(self.seed, id)
    }

    pub fn set_sort(&self, sort: Sort) {
        // parked jobs wait in one line, whoever they are of
        let sort = if self.parked_from.is_some() { one_line() } else { sort };
        *self.sort.write().unwrap_or_else(PoisonError::into_inner) = Some(sort);
    }

    /// The part of the backlog that a message belongs to, once a source has said how to sort.
    pub fn sorted(&self, message: &Message) -> Option<Sorted> {
        let sort = self.sort.read().unwrap_or_else(PoisonError::into_inner);
        sort.as_ref().map(|sort| Sorted::new(self.salt, &sort(message)))
    }

    pub fn strand(&self, strand: &Strand) -> Sorted {
        Sorted::of_strand(self.salt, strand)
    }

    pub fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn give_back(&self, job: Waiting) {
        self.ready().give_back(job);
        self.arrived.notify_one();
    }

    pub fn undo(&self, place: Place) {
        self.ready().undo(place);
        self.arrived.notify_one();
    }

    pub fn set_trouble(&self, trouble: QueueError) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }

    pub fn take_trouble(&self) -> Option<QueueError> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// True for the first caller until [`ReadyQueue::drop_source`].
    pub fn claim_source(&self) -> bool {
        !self.has_source.swap(true, Ordering::AcqRel)
    }

    pub fn drop_source(&self) {
        self.ready().open_strands();
        self.has_source.store(false, Ordering::Release);
    }
}

fn one_line() -> Sort {
    let facets = Facets { tenant: "".into(), kind: "".into(), key: None };
    Arc::new(move |_| facets.clone())
}

/// Every queue that was named in this process or stands in the file.
pub(super) struct Registry {
    salt: u64,
    queues: RwLock<Queues>,
}

#[derive(Default)]
struct Queues {
    by_name: HashMap<Arc<str>, Arc<ReadyQueue>>,
    by_number: HashMap<QueueNumber, Arc<ReadyQueue>>,
}

impl Registry {
    /// An empty table for a file with this salt.
    pub fn new(salt: u64) -> Self {
        Registry { salt, queues: RwLock::default() }
    }

    /// The queue of this name; it need not stand in the file yet.
    pub fn named(&self, name: &str) -> Arc<ReadyQueue> {
        if let Some(queue) = self.find(name) {
            return queue;
        }
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        let name: Arc<str> = name.into();
        queues.by_name.entry(name.clone()).or_insert_with(|| Arc::new(ReadyQueue::new(name, self.salt))).clone()
    }

    /// The queue of this name, if it was named before.
    pub fn find(&self, name: &str) -> Option<Arc<ReadyQueue>> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).cloned()
    }

    /// Where the dead letters of a queue go, or of the places beside it.
    pub fn dead_of(&self, queue: &ReadyQueue) -> Arc<ReadyQueue> {
        self.named(&format!("{}{DEAD_SUFFIX}", queue.parked_from().unwrap_or(&queue.name)))
    }

    /// A place where jobs of a queue are parked.
    pub fn parked_of(&self, queue: &ReadyQueue, place: &str) -> Arc<ReadyQueue> {
        self.named(&format!("{}{PARKED}{place}", queue.parked_from().unwrap_or(&queue.name)))
    }

    /// Wakes the sources of a queue and of the places beside it.
    pub fn wake(&self, queue: &ReadyQueue) {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        let belongs = |other: &&Arc<ReadyQueue>| other.name == queue.name || other.parked_from() == Some(&*queue.name);
        queues.by_name.values().filter(belongs).for_each(|queue| queue.arrived.notify_one());
    }

    /// The names of the places where jobs of a queue were parked.
    pub fn places_of(&self, queue: &ReadyQueue) -> Vec<Arc<str>> {
        let place = |other: Arc<ReadyQueue>| {
            let (home, place) = other.name.rsplit_once(PARKED)?;
            (*home == *queue.name).then(|| place.into())
        };
        self.all().into_iter().filter_map(place).collect()
    }

    /// The queue itself of a place where its jobs are parked.
    pub fn home_of(&self, queue: &Arc<ReadyQueue>) -> Arc<ReadyQueue> {
        queue.parked_from().map_or_else(|| queue.clone(), |home| self.named(home))
    }

    pub fn numbered(&self, number: QueueNumber) -> Option<Arc<ReadyQueue>> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner).by_number.get(&number).cloned()
    }

    /// Notes which number the file gives a queue.
    pub fn set_number(&self, queue: &Arc<ReadyQueue>, number: QueueNumber) {
        if queue.number.set(number).is_ok() {
            let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
            queues.by_number.insert(number, queue.clone());
        }
    }

    /// Lets every source see that the store is closed.
    pub fn wake_all(&self) {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        queues.by_name.values().for_each(|queue| queue.arrived.notify_one());
    }

    /// All queues that stand in the file, by name.
    pub fn all(&self) -> Vec<Arc<ReadyQueue>> {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = queues.by_number.values().cloned().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }
}
