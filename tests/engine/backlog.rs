//! Turns and order over a whole backlog on disk: the pool and the queue together.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Notify;
use windlass::clock::Clock;
use windlass::engine::budget::Budget;
use windlass::engine::routes::Route;
use windlass::engine::{Engine, Shared};
use windlass::job::{DEFAULT_PRIORITY, Message};
use windlass::ports::{Admin as _, NewJob};
use windlass::queues::embedded::{EmbeddedConfig, Store, StoreOptions};
use windlass::retry::Policy;

use crate::support::{done, executor, plain_route, pool, rules};

/// A pool on an embedded queue whose jobs note their ids.
struct Disk {
    _directory: tempfile::TempDir,
    store: Arc<Store>,
    engine: Engine,
    ran: Arc<Mutex<Vec<String>>>,
    changed: Arc<Notify>,
}

impl Disk {
    /// Starts, and waits until jobs run.
    async fn start(ordered: bool) -> Self {
        Self::with_slots(8, ordered).await
    }

    /// Jobs whose ids begin with `stuck` run until the stop.
    async fn with_slots(slots: usize, ordered: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = EmbeddedConfig { path: directory.path().join("windlass.db"), ..EmbeddedConfig::default() };
        let store = Store::open(StoreOptions::from(&config)).unwrap();
        let (ran, changed) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let note = {
            let (ran, changed) = (ran.clone(), changed.clone());
            executor(move |job, context| {
                ran.lock().unwrap().push(job.id.to_string());
                changed.notify_one();
                let stuck = job.id.starts_with("stuck");
                async move {
                    if stuck {
                        context.cancel.cancelled().await;
                    }
                    done()
                }
                .boxed()
            })
        };
        let mut rules = rules("t");
        rules.ordered = ordered;
        let route = Route { rules: Arc::new(rules), ..plain_route("t", note, Policy::default()) };
        let shared = Arc::new(Shared::new("test", Clock::System, Budget::new(64 << 20)));
        let pool = pool(&shared, &[store.queue("jobs", "jobs")], slots, vec![Arc::new(route)]);
        let disk = Disk { _directory: directory, store, engine: Engine::start(shared, &[Arc::new(pool)]), ran, changed };
        disk.submit("first", 1, "").await;
        disk.wait_for(1).await;
        disk.ran.lock().unwrap().clear();
        disk
    }

    /// Ids such as `name-0007`, with these keys of the envelope.
    async fn submit(&self, name: &str, count: usize, keys: &str) {
        let job = |number| {
            let id = format!("{name}-{number:04}");
            let message = Message::of(format!(r#"{{"id":"{id}",{keys}"type":"t"}}"#));
            NewJob { id: id.into(), message, due: None, priority: DEFAULT_PRIORITY }
        };
        self.store.submit("jobs", (0..count).map(job).collect()).await.unwrap();
    }

    async fn wait_for(&self, count: usize) {
        let reached = async {
            while self.ran.lock().unwrap().len() < count {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reached).await.expect("jobs are missing");
    }

    async fn stop(self) -> Vec<String> {
        self.engine.stop(Duration::from_secs(20)).await;
        assert!(self.store.audit().await.unwrap().ok);
        self.store.close().await;
        let ran = self.ran.lock().unwrap();
        ran.clone()
    }
}

/// Where the last job of this name ran.
fn last(ran: &[String], name: &str) -> usize {
    ran.iter().rposition(|id| id.starts_with(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_jobs_of_a_tenant_run_among_the_first_behind_nine_thousand_of_another() {
    let disk = Disk::start(false).await;
    disk.store.pause("jobs", true).await.unwrap();
    disk.submit("large", 9000, r#""tenant":"large","#).await;
    disk.submit("small", 10, r#""tenant":"small","#).await;
    disk.store.pause("jobs", false).await.unwrap();
    disk.wait_for(9010).await;
    let ran = disk.stop().await;
    assert_eq!(ran.len(), 9010);
    assert!(last(&ran, "small") < 100, "after {} jobs", last(&ran, "small"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_thousands_of_jobs_keeps_its_order_and_holds_up_no_other_key() {
    let disk = Disk::start(true).await;
    disk.store.pause("jobs", true).await.unwrap();
    disk.submit("hot", 4000, r#""key":"hot","#).await;
    disk.submit("cold", 40, r#""key":"cold","#).await;
    disk.store.pause("jobs", false).await.unwrap();
    disk.wait_for(4040).await;
    let ran = disk.stop().await;
    for (name, count) in [("hot", 4000), ("cold", 40)] {
        let of: Vec<&String> = ran.iter().filter(|id| id.starts_with(name)).collect();
        assert!(of.len() == count && of.is_sorted(), "{name}");
    }
    assert!(last(&ran, "cold") < 3000, "after {} jobs", last(&ran, "cold"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_comes_again_starts_though_another_has_every_slot_that_it_may_and_more_waiting() {
    let disk = Disk::with_slots(64, false).await;
    disk.store.pause("jobs", true).await.unwrap();
    disk.submit("small", 1, r#""tenant":"small","#).await;
    disk.submit("stuck", 2000, r#""tenant":"large","#).await;
    disk.store.pause("jobs", false).await.unwrap();
    disk.wait_for(63).await;
    disk.submit("again", 1, r#""tenant":"small","#).await;
    disk.wait_for(64).await;
    disk.engine.stop(Duration::ZERO).await;
    disk.store.close().await;
    assert_eq!(disk.ran.lock().unwrap()[63], "again-0000");
}
