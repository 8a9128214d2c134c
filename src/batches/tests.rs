use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::batches::operator::Counted;
use crate::job::Message;
use crate::ports::{Acted, Action, Admin, NewJob, Outgoing, Queue as _, QueueError, Sink};
use crate::queues::embedded::config::EmbeddedConfig;
use crate::queues::embedded::{Store, StoreOptions};
use crate::queues::memory::{Memory, MemoryQueue};
use crate::state::memory::MemoryState;
use crate::telemetry::Telemetry;

struct World {
    state: Arc<dyn StateStore>,
    clock: Clock,
    results: MemoryQueue,
}

/// Lets others in between a read and a change.
struct Slow(MemoryState);

#[async_trait]
impl StateStore for Slow {
    async fn read(&self, keys: &[Arc<str>]) -> Result<Vec<Option<Held>>, StateError> {
        let held = self.0.read(keys).await;
        tokio::task::yield_now().await;
        held
    }

    async fn change(&self, changes: Vec<Change>) -> Result<bool, StateError> {
        self.0.change(changes).await
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(Arc<str>, Held)>, StateError> {
        self.0.scan(prefix, after, limit).await
    }
}

fn batch(id: &str, size: Option<u64>) -> Batch {
    Batch { id: id.into(), size, member: None }
}

impl World {
    fn new() -> Self {
        let clock = Clock::tokio();
        World { state: Arc::new(Slow(MemoryState::new(clock))), clock, results: Memory::new(clock, 100_000).queue("results") }
    }

    /// A process that counts; a second one does so beside it.
    fn batches(&self) -> Arc<Batches> {
        Arc::new(Batches::new(self.state.clone(), self.clock, Telemetry::install().unwrap().batches()))
    }

    fn exits(&self) -> announce::Exits {
        [("p".into(), self.results.sink())].into()
    }

    /// The events of one kind, as (id, data).
    fn events(&self, kind: &str) -> Vec<(String, serde_json::Value)> {
        let bodies = self.results.messages();
        let events = bodies.iter().map(|message| serde_json::from_slice::<serde_json::Value>(&message.body).unwrap());
        let kind = format!("windlass.batch.{kind}");
        let ours = events.filter(|event| event["type"] == *kind);
        ours.map(|event| (event["id"].as_str().unwrap().to_owned(), event["data"].clone())).collect()
    }
}

async fn count(batches: &Batches, batch: &Batch, job: &str, end: JobEnd) {
    batches.count(batch, &"p".into(), &job.into(), end).await.unwrap();
}

async fn counts(batches: &Batches, id: &str) -> (u64, u64, u64) {
    let standing = batches.show(id, 0).await.unwrap().unwrap().standing;
    (standing.done, standing.dead, standing.discarded)
}

#[tokio::test(start_paused = true)]
async fn each_job_counts_once_by_its_last_end() {
    let world = World::new();
    let (batches, b) = (world.batches(), batch("b", Some(3)));
    count(&batches, &b, "x", JobEnd::Done).await;
    count(&batches, &b, "x", JobEnd::Done).await;
    assert_eq!(counts(&batches, "b").await, (1, 0, 0));
    count(&batches, &b, "y", JobEnd::Dead).await;
    count(&batches, &b, "y", JobEnd::Done).await;
    assert_eq!(counts(&batches, "b").await, (2, 0, 0));
    // another process
    count(&world.batches(), &b, "y", JobEnd::Discarded).await;
    assert_eq!(counts(&batches, "b").await, (1, 0, 1));
    assert_eq!(batches.show("b", 0).await.unwrap().unwrap().standing.completed, None);
    let member = Batch { member: Some("z".into()), ..b.clone() };
    count(&batches, &member, "z:then:then", JobEnd::Dead).await;
    assert_eq!(counts(&batches, "b").await, (1, 1, 1));
    let shown = batches.show("b", 10).await.unwrap().unwrap();
    assert!(shown.standing.completed.is_some());
    assert_eq!(shown.dead_jobs, ["z".into()]);
}

#[tokio::test(start_paused = true)]
async fn ends_that_come_at_once_are_counted_each_and_complete_the_batch_once() {
    let world = World::new();
    let (one, other) = (world.batches(), world.batches());
    let b = batch("b/%", Some(1000));
    let ends = (0..1000).map(|number| {
        let batches = if number % 2 == 0 { &one } else { &other };
        let end = [JobEnd::Done, JobEnd::Dead, JobEnd::Discarded][number % 3];
        let b = &b;
        async move { count(batches, b, &format!("job/{number}"), end).await }
    });
    futures_util::future::join_all(ends).await;
    assert_eq!(counts(&one, "b/%").await, (334, 333, 333));
    let stop = CancellationToken::new();
    let told = tokio::spawn(one.clone().announce(world.exits(), stop.clone()));
    tokio::time::sleep(Duration::from_secs(60)).await;
    stop.cancel();
    told.await.unwrap();
    let completed = world.events("completed");
    assert_eq!(completed.len(), 1);
    assert_eq!(
        (&*completed[0].0, &completed[0].1["done"], &completed[0].1["size"]),
        ("b/%:completed", &334.into(), &1000.into())
    );
    assert_eq!(world.events("opened")[0].0, "b/%:opened");
    let schema = jsonschema::options().should_validate_formats(true).build(&crate::schema::schema("batch").unwrap()).unwrap();
    let bodies = world.results.messages();
    let events = bodies.iter().map(|message| serde_json::from_slice::<serde_json::Value>(&message.body).unwrap());
    events.for_each(|event| assert!(schema.is_valid(&event), "{event}"));
    assert_eq!(world.state.scan("batch-event/", None, 9).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_size_is_said_late_completes_then() {
    let world = World::new();
    let batches = world.batches();
    for job in ["x", "y"] {
        count(&batches, &batch("b", None), job, JobEnd::Done).await;
    }
    assert_eq!(batches.show("b", 0).await.unwrap().unwrap().standing.completed, None);
    count(&batches, &batch("b", Some(3)), "z", JobEnd::Done).await;
    assert!(batches.show("b", 0).await.unwrap().unwrap().standing.completed.is_some());
}

/// A sink that can be down.
struct Door(Arc<dyn Sink>, Arc<AtomicBool>);

#[async_trait]
impl Sink for Door {
    fn address(&self) -> &str {
        self.0.address()
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), QueueError> {
        match self.1.load(Ordering::SeqCst) {
            true => Err(QueueError::Unavailable("down".into())),
            false => self.0.send(outgoing).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_wait_for_their_exit_over_a_restart_and_changes_after_the_end_are_progress() {
    let world = World::new();
    let (batches, down) = (world.batches(), Arc::new(AtomicBool::new(true)));
    let door: Arc<dyn Sink> = Arc::new(Door(world.results.sink(), down.clone()));
    let stop = CancellationToken::new();
    let told = tokio::spawn(batches.clone().announce([("p".into(), door)].into(), stop.clone()));
    count(&batches, &batch("b", Some(1)), "x", JobEnd::Dead).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    stop.cancel();
    told.await.unwrap();
    assert!(world.results.is_empty());
    let batches = world.batches();
    tokio::spawn(batches.clone().announce(world.exits(), CancellationToken::new()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((world.events("opened").len(), world.events("completed").len()), (1, 1));
    // a dead letter that was replayed
    count(&batches, &batch("b", Some(1)), "x", JobEnd::Done).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.events("completed").len(), 1);
    let progress = world.events("progress");
    assert_eq!((progress.len(), &*progress[0].0, &progress[0].1["done"]), (1, "b:progress:1-0-0", &1.into()));
}

#[tokio::test(start_paused = true)]
async fn progress_is_told_at_most_once_a_second_and_once_a_hundredth() {
    let world = World::new();
    let batches = world.batches();
    tokio::spawn(batches.clone().announce(world.exits(), CancellationToken::new()));
    let large = batch("large", Some(10_000));
    for number in 0..1000 {
        count(&batches, &large, &format!("{number}"), JobEnd::Done).await;
        count(&batches, &batch("small", Some(2000)), &format!("{number}"), JobEnd::Done).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let done = |prefix: &str| {
        let events = world.events("progress");
        let ours = events.iter().filter(|(id, _)| id.starts_with(prefix));
        ours.map(|(_, data)| data["done"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let large = done("large");
    assert!(large.windows(2).all(|pair| pair[1] - pair[0] >= 100), "{large:?}");
    assert!((5..=11).contains(&large.len()), "{large:?}");
    let small = done("small");
    assert!((15..=21).contains(&small.len()), "{small:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_batch_is_known_here_at_once_and_elsewhere_soon() {
    let world = World::new();
    let (here, elsewhere) = (world.batches(), world.batches());
    let (b, pool) = (batch("b", Some(2)), "p".into());
    assert_eq!(here.cancel("b", "ann").await.unwrap(), CancelledBatch::Unknown);
    assert_eq!((here.enter(&b, &pool).await.unwrap(), elsewhere.enter(&b, &pool).await.unwrap()), (None, None));
    assert_eq!(here.cancel("b", "ann").await.unwrap(), CancelledBatch::Cancelled);
    assert_eq!(here.enter(&b, &pool).await.unwrap().as_deref(), Some("ann"));
    tokio::time::sleep(BELIEVED).await;
    assert_eq!(elsewhere.enter(&b, &pool).await.unwrap().as_deref(), Some("ann"));
    for job in ["x", "y"] {
        count(&here, &b, job, JobEnd::Discarded).await;
    }
    assert_eq!(here.cancel("b", "bob").await.unwrap(), CancelledBatch::Complete);
    let listed = here.list(None, 10).await.unwrap();
    assert_eq!((listed.len(), &*listed[0].id, listed[0].standing.cancelled.as_deref()), (1, "b", Some("ann")));
    assert_eq!(here.list(Some("b"), 10).await.unwrap().len(), 0);
}

#[tokio::test]
async fn what_operators_end_is_counted_even_when_they_are_killed_on_the_way() {
    let directory = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { path: directory.path().join("windlass.db"), ..EmbeddedConfig::default() };
    let store = Store::open(StoreOptions::from(&config)).unwrap();
    let jobs = ["cancelled", "discarded", "killed", "waiting"].map(|id| {
        let body = format!(r#"{{"id":"{id}","type":"t","batch":{{"id":"b","size":4}}}}"#);
        NewJob { id: id.into(), message: Message::of(body), due: None, priority: 4 }
    });
    store.submit("jobs", jobs.into()).await.unwrap();
    let world = World { state: store.clone(), ..World::new() };
    let batches = world.batches();
    let counted = || Counted::new(store.clone(), batches.clone(), "windlass.db".into(), [("jobs".into(), "p".into())].into());
    let cancel = |discard| Action::Cancel { by: "ann".into(), discard };
    assert_eq!(counted().act("jobs", "cancelled", &cancel(false)).await.unwrap(), Acted::Done);
    assert_eq!(counted().act("jobs", "discarded", &cancel(true)).await.unwrap(), Acted::Done);
    assert_eq!(counts(&batches, "b").await, (0, 1, 1));
    assert_eq!(counted().act("jobs", "gone", &cancel(true)).await.unwrap(), Acted::NotFound);
    // a note and a deed without their count, and a note without its deed
    for (id, end) in [("killed", JobEnd::Discarded), ("waiting", JobEnd::Discarded)] {
        let note = serde_json::json!({"queue": "jobs", "id": id, "batch": {"id": "b", "size": 4}, "end": end});
        let place = key(&["batch-act", "windlass.db", "jobs", id]);
        world.state.change(vec![Change::put(&place, When::Absent, note.to_string())]).await.unwrap();
    }
    store.act("jobs", "killed", &cancel(true)).await.unwrap();
    counted().recover().await.unwrap();
    counted().recover().await.unwrap();
    assert_eq!(counts(&batches, "b").await, (0, 1, 2));
    // a dead letter that is discarded ends otherwise
    assert_eq!(counted().act("jobs", "cancelled", &Action::Discard { by: "ann".into() }).await.unwrap(), Acted::Done);
    assert_eq!(counts(&batches, "b").await, (0, 0, 3));
    assert_eq!(world.state.scan("batch-act/", None, 9).await.unwrap(), []);
    store.close().await;
}

proptest! {
    #[test]
    fn counts_are_those_of_the_last_ends_in_any_order(ends in prop::collection::vec((0usize..6, 0usize..3, 0usize..2), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let processes = [world.batches(), world.batches()];
            let (mut last, kinds) = (HashMap::new(), [JobEnd::Done, JobEnd::Dead, JobEnd::Discarded]);
            for (job, end, process) in ends {
                count(&processes[process], &batch("b", Some(6)), &format!("{job}"), kinds[end]).await;
                last.insert(job, end);
            }
            let of = |kind| last.values().filter(|end| **end == kind).count() as u64;
            assert_eq!(counts(&processes[0], "b").await, (of(0), of(1), of(2)));
            let standing = processes[0].show("b", 0).await.unwrap().unwrap().standing;
            assert_eq!(standing.completed.is_some(), last.len() == 6);
        });
    }
}
