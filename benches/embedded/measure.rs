//! How much is asked of a queue, and what came of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use tokio::sync::Semaphore;

/// The shape of the load: so many tasks that enqueue and as many that take and ack, each waiting for the disk.
pub struct Load {
    pub tasks: usize,
    pub body: usize,
    pub length: Duration,
    pub directory: PathBuf,
}

impl Load {
    pub fn from_environment() -> Self {
        let directory = match std::env::var_os("WINDLASS_BENCH_DIR") {
            Some(directory) => directory.into(),
            None => PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
        };
        Load {
            tasks: number("WINDLASS_BENCH_TASKS", 256),
            body: 512,
            length: Duration::from_secs(number("WINDLASS_BENCH_SECONDS", 3) as u64),
            directory,
        }
    }

    /// An empty directory on the disk under test.
    pub fn scratch(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(&self.directory).expect("the directory of WINDLASS_BENCH_DIR can be written")
    }
}

pub fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What one round reached.
#[derive(Clone, Copy)]
pub struct Rate {
    /// Per second.
    pub jobs: f64,
    /// Of the whole process, per job.
    pub cpu: Duration,
}

pub fn median(rates: &[Rate]) -> Rate {
    let mut sorted = rates.to_vec();
    sorted.sort_by(|one, other| one.jobs.total_cmp(&other.jobs));
    sorted[sorted.len() / 2]
}

/// Counts finished jobs while a round lasts, and lets no backlog grow: what waits is another measurement.
pub struct Counter {
    done: AtomicU64,
    over: AtomicBool,
    /// Jobs that may be under way: as many as tasks enqueue and tasks take.
    room: Semaphore,
}

impl Counter {
    pub fn new(load: &Load) -> Arc<Self> {
        Arc::new(Counter { done: AtomicU64::new(0), over: AtomicBool::new(false), room: Semaphore::new(2 * load.tasks) })
    }

    /// Waits until another job may be enqueued.
    pub async fn next(&self) {
        self.room.acquire().await.expect("never closed").forget();
    }

    pub fn finished(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.room.add_permits(1);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Lets the load settle for a tenth of the round, measures for its length, then ends it.
    pub async fn measure(&self, length: Duration) -> Rate {
        tokio::time::sleep(length / 10).await;
        let (start, done, cpu) = (Instant::now(), self.done.load(Ordering::Relaxed), cpu_time());
        tokio::time::sleep(length).await;
        let jobs = self.done.load(Ordering::Relaxed) - done;
        let (elapsed, cpu) = (start.elapsed(), cpu_time() - cpu);
        self.over.store(true, Ordering::Relaxed);
        Rate { jobs: jobs as f64 / elapsed.as_secs_f64(), cpu: cpu.div_f64(jobs.max(1) as f64) }
    }
}

fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask what it used");
    let time = |value: nix::sys::time::TimeVal| {
        Duration::from_secs(value.tv_sec() as u64) + Duration::from_micros(value.tv_usec() as u64)
    };
    time(usage.user_time()) + time(usage.system_time())
}

/// The runtime that both sides use.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started")
}
