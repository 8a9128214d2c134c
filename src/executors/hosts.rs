//! Processes that stay and are sent many jobs: started when needed, replaced when worn or dead.

mod conversation;
mod ending;
mod flight;
mod frames;
mod host;
mod request;
pub(crate) mod response;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

use crate::executors::places::Places;
use crate::executors::process::Recipe;
use crate::job::Job;
use crate::outcome::{Class, Failure, Outcome};
use crate::ports::Context;
pub(super) use conversation::start;
pub(super) use host::Host;

/// Between two starts that fail: 1 s, doubling to a minute.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Hosts tried for one job when they end just before it reaches them.
const TRIES: usize = 5;

/// What kind of processes to keep, and how many.
#[derive(Clone, Debug)]
pub struct Settings {
    pub name: Arc<str>,
    pub recipe: Recipe,
    pub workers: usize,
    /// Jobs in flight in one process.
    pub concurrency: usize,
    /// The largest output, in bytes.
    pub output: usize,
    pub recycle_jobs: Option<u64>,
    pub recycle_memory: Option<u64>,
    pub stop_grace: Duration,
}

/// A seat for each process, taken by one after the other.
#[derive(Debug)]
pub struct Hosts {
    settings: Settings,
    places: Places,
    seats: Mutex<Vec<Seat>>,
    /// Every process that was started and may live, on a seat or not.
    started: Mutex<Vec<Weak<Host>>>,
    trouble: Mutex<Option<Trouble>>,
    /// One suspect at a time gets a process of its own beside the seats.
    alone: Semaphore,
    /// That process, started before its job.
    spare: Mutex<Option<Arc<Host>>>,
}

#[derive(Debug, Default)]
struct Seat {
    jobs: usize,
    host: Arc<OnceCell<Arc<Host>>>,
}

/// A start that failed.
#[derive(Clone, Debug)]
struct Trouble {
    failure: Failure,
    pause: Duration,
    until: Instant,
}

impl Hosts {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let workers = settings.workers.max(1);
        Hosts {
            places: Places::new(workers.saturating_mul(settings.concurrency.max(1))),
            seats: Mutex::new(std::iter::repeat_with(Seat::default).take(workers).collect()),
            started: Mutex::default(),
            trouble: Mutex::default(),
            alone: Semaphore::new(1),
            spare: Mutex::default(),
            settings,
        }
    }

    pub async fn execute(&self, job: &Job, context: &Context) -> Outcome {
        let run = async {
            let _place = self.places.take(context).await?;
            if self.wants_its_own(context) {
                return self.run_alone(job, context).await;
            }
            for _ in 0..TRIES {
                let seat = self.sit();
                let host = match seat.host.get() {
                    Some(host) => host.clone(),
                    None => self.places.unless_stopped(context, self.occupied(&seat.host)).await??,
                };
                if let Some(outcome) = host.run(job, context).await {
                    self.look_after(&host);
                    return Ok(outcome);
                }
            }
            Err(Failure::new(Class::Unavailable, format!("{TRIES} plugin processes ended before the job reached them")).into())
        };
        run.await.unwrap_or_else(|early: Outcome| early)
    }

    /// Starts all processes.
    ///
    /// # Errors
    /// Why one did not start.
    pub async fn warm(&self) -> Result<(), String> {
        let cells: Vec<_> = self.seats().iter().map(|seat| seat.host.clone()).collect();
        let starts = cells.iter().map(|cell| self.occupied(cell));
        futures_util::future::try_join_all(starts).await.map(drop).map_err(|failure| failure.message)
    }

    /// Starts the process that a run with this context would get.
    pub async fn prepare(&self, context: &Context) {
        let start = async {
            if self.wants_its_own(context) {
                let host = self.start().await?;
                let unused = self.spare.lock().unwrap_or_else(PoisonError::into_inner).replace(host);
                unused.inspect(|host| self.end(host));
            } else {
                let seat = self.sit();
                self.occupied(&seat.host).await?;
            }
            Ok::<(), Failure>(())
        };
        let _told_by_the_run = self.places.unless_stopped(context, start).await;
    }

    /// Whether a process of its own is started for a run that shares its with no other.
    fn wants_its_own(&self, context: &Context) -> bool {
        context.alone && self.settings.concurrency > 1
    }

    /// Why the last start failed, until one succeeds.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.last_trouble().map(|trouble| trouble.failure.message)
    }

    /// Lets running jobs end for up to `grace`, and uses what is left of it to let the processes end by themselves.
    pub async fn stop(&self, grace: Duration) {
        let end = Instant::now() + grace;
        self.places.close(grace, || self.living().iter().for_each(|host| host.kill())).await;
        let left = end.saturating_duration_since(Instant::now()).min(self.settings.stop_grace);
        futures_util::future::join_all(self.living().iter().map(|host| host.stop(left))).await;
    }

    async fn run_alone(&self, job: &Job, context: &Context) -> Result<Outcome, Outcome> {
        let _turn = self.places.unless_stopped(context, self.alone.acquire()).await?;
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take().filter(|host| host.takes_jobs());
        let host = match spare {
            Some(host) => host,
            None => self.places.unless_stopped(context, self.start()).await??,
        };
        let outcome = host.run(job, context).await;
        self.end(&host);
        outcome.ok_or_else(|| Failure::new(Class::Unavailable, "the plugin process ended before the job reached it").into())
    }

    /// The least busy seat; among equals one that has its process.
    fn sit(&self) -> Seated<'_> {
        let mut seats = self.seats();
        for seat in seats.iter_mut().filter(|seat| seat.host.get().is_some_and(|host| !host.takes_jobs())) {
            seat.host = Arc::default();
        }
        let best = (0..seats.len()).min_by_key(|index| (seats[*index].jobs, !seats[*index].host.initialized())).unwrap_or(0);
        seats[best].jobs += 1;
        Seated { hosts: self, index: best, host: seats[best].host.clone() }
    }

    /// The process of a seat, started by the first who wants it.
    async fn occupied(&self, cell: &OnceCell<Arc<Host>>) -> Result<Arc<Host>, Failure> {
        cell.get_or_try_init(|| self.start()).await.cloned()
    }

    async fn start(&self) -> Result<Arc<Host>, Failure> {
        let before = self.last_trouble();
        if let Some(trouble) = before.as_ref().filter(|trouble| trouble.until > Instant::now()) {
            return Err(trouble.failure.clone().after(trouble.until - Instant::now()));
        }
        let started = conversation::start(&self.settings).await;
        let trouble = started.as_ref().err().map(|failure| {
            let pause = before.map_or(FIRST_PAUSE, |before| (before.pause * 2).min(LONGEST_PAUSE));
            Trouble { failure: failure.clone(), pause, until: Instant::now() + pause }
        });
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        started.map(|host| self.enlist(host))
    }

    fn enlist(&self, host: Arc<Host>) -> Arc<Host> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.retain(|host| host.strong_count() > 0);
        started.push(Arc::downgrade(&host));
        drop(started);
        // whoever closes now either finds it in the list, or has closed before this line
        if self.places.is_closed() {
            host.kill();
        }
        host
    }

    fn living(&self) -> Vec<Arc<Host>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }

    /// Retires a process that has done its share or has grown too large.
    fn look_after(&self, host: &Arc<Host>) {
        let worn = self.settings.recycle_jobs.is_some_and(|most| host.jobs_done() >= most)
            || self.settings.recycle_memory.is_some_and(|most| host.memory().is_some_and(|held| held > most));
        if worn {
            host.retire();
        }
        if host.is_done() {
            self.end(host);
        }
    }

    /// Ends a process without waiting for it.
    fn end(&self, host: &Arc<Host>) {
        let (host, grace) = (host.clone(), self.settings.stop_grace);
        tokio::spawn(async move { host.stop(grace).await });
    }

    fn seats(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.living().iter().for_each(|host| host.kill());
    }
}

/// A job's hold on a seat.
struct Seated<'a> {
    hosts: &'a Hosts,
    index: usize,
    host: Arc<OnceCell<Arc<Host>>>,
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        self.hosts.seats()[self.index].jobs -= 1;
    }
}
