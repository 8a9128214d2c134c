//! The store through the ports that the engine uses: a sink, a source, receipts; the result row is kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use windlass::job::decode::facets::sort;
use windlass::job::{DEFAULT_PRIORITY, Decoding, Message};
use windlass::ports::{Admin as _, Delivery, End, Ending, NewJob, Outgoing, Queue, Room, Sink, Source};
use windlass::queues::embedded::{EmbeddedConfig, Store, StoreOptions};

use crate::measure::{Counter, Load, Rate, runtime};

/// Deliveries on their way to the tasks that ack them.
struct Hands {
    deliveries: Mutex<VecDeque<Delivery>>,
    count: Semaphore,
    /// What may still be leased.
    slots: Semaphore,
}

/// Who gives jobs their ids.
#[derive(Clone, Copy)]
pub enum Ids {
    /// The store, in the order of time.
    Made,
    /// The producer, in no order, as uuid4 does.
    Random,
}

impl Ids {
    fn next(self) -> Option<Arc<str>> {
        match self {
            Ids::Made => None,
            Ids::Random => {
                Some(uuid::Builder::from_random_bytes(fastrand::u128(..).to_le_bytes()).into_uuid().to_string().into())
            }
        }
    }
}

pub fn run(load: &Load, ids: Ids) -> Rate {
    let scratch = load.scratch();
    let store = open(&scratch);
    runtime().block_on(async {
        let rate = work(load, &store, ids).await;
        store.close().await;
        rate
    })
}

fn open(scratch: &tempfile::TempDir) -> Arc<Store> {
    let config = EmbeddedConfig { path: scratch.path().join("windlass.db"), ..EmbeddedConfig::default() };
    Store::open(StoreOptions::from(&config)).expect("a new file")
}

async fn work(load: &Load, store: &Arc<Store>, ids: Ids) -> Rate {
    let queue: Arc<dyn Queue> = store.queue("bench", "bench");
    let counter = Counter::new(load);
    let slots = Semaphore::new(2 * load.tasks);
    let hands = Arc::new(Hands { deliveries: Mutex::default(), count: Semaphore::new(0), slots });
    let source = queue.source(sort(&Decoding::Envelope)).await.expect("the first source");
    let mut tasks = vec![tokio::spawn(lease(source, load.tasks, hands.clone()))];
    for _ in 0..load.tasks {
        tasks.push(tokio::spawn(produce(queue.sink(), load.body, ids, counter.clone())));
        tasks.push(tokio::spawn(consume(hands.clone(), counter.clone())));
    }
    let rate = counter.measure(load.length).await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    rate
}

/// A job of about `size` bytes.
fn job_of(tenant: &str, size: usize) -> Vec<u8> {
    format!(r#"{{"type":"bench.noop","tenant":"{tenant}","data":"{}"}}"#, "x".repeat(size.saturating_sub(50))).into()
}

async fn produce(sink: Arc<dyn Sink>, body: usize, ids: Ids, counter: Arc<Counter>) {
    let body = job_of("bench", body);
    while !counter.is_over() {
        counter.next().await;
        let message = Message::of(body.clone());
        if sink.send(Outgoing { message, id: ids.next(), ..Outgoing::default() }).await.is_err() {
            return;
        }
    }
}

/// Leases ahead of need and many at a time, as the engine's window does.
async fn lease(mut source: Box<dyn Source>, tasks: usize, hands: Arc<Hands>) {
    while let Ok(some) = hands.slots.acquire_many(u32::try_from(tasks).unwrap_or(u32::MAX)).await {
        some.forget();
        let more = hands.slots.forget_permits(usize::MAX >> 4);
        let room = Room { jobs: tasks + more, bytes: 64 << 20, lease: Duration::from_secs(30) };
        let Ok(deliveries) = source.next(room).await else { return };
        let count = deliveries.len();
        hands.slots.add_permits(room.jobs - count);
        hands.deliveries.lock().expect("nobody panics").extend(deliveries);
        hands.count.add_permits(count);
    }
}

async fn consume(hands: Arc<Hands>, counter: Arc<Counter>) {
    let event = Bytes::from(format!(r#"{{"specversion":"1.0","data":"{}"}}"#, "r".repeat(400)));
    while let Ok(permit) = hands.count.acquire().await {
        permit.forget();
        let next = hands.deliveries.lock().expect("nobody panics").pop_front();
        let Some(delivery) = next else { continue };
        let ending = Ending { end: End::Completed, event: Some(event.clone()), at: Timestamp::now() };
        if delivery.receipt.ack(ending).await.is_err() {
            return;
        }
        hands.slots.add_permits(1);
        counter.finished();
    }
}

fn micros(rate: &Rate) -> f64 {
    rate.cpu.as_secs_f64() * 1e6
}

/// The same load with an empty queue and behind a backlog; what memory and how long an open takes then.
pub fn backlog(load: &Load, waiting: usize, tenants: usize) {
    let scratch = load.scratch();
    let store = open(&scratch);
    runtime().block_on(async {
        let empty = work(load, &store, Ids::Made).await;
        println!("{:>10.0} jobs/s with nothing waiting, {:.2} µs CPU each", empty.jobs, micros(&empty));
        fill(&store, load.body, waiting, tenants).await;
        let behind = work(load, &store, Ids::Made).await;
        let ratio = behind.jobs / empty.jobs;
        println!(
            "{:>10.0} jobs/s with {waiting} jobs of {tenants} tenants waiting, {:.2} µs CPU each, {ratio:.2} of the rate",
            behind.jobs,
            micros(&behind)
        );
        store.close().await;
    });
    drop(store);
    let start = Instant::now();
    let store = open(&scratch);
    runtime().block_on(async {
        let mut source = store.queue("bench", "bench").source(sort(&Decoding::Envelope)).await.expect("the first source");
        let room = Room { jobs: 1, bytes: 1 << 20, lease: Duration::from_secs(30) };
        let first = source.next(room).await.expect("a job");
        println!("{:>10.1} ms from opening the file to the first job", start.elapsed().as_secs_f64() * 1e3);
        drop(first);
        let audit = store.audit().await.expect("a readable file");
        println!("{:>10} jobs waiting, the books balance: {}", audit.queues[0].waiting, audit.ok);
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!("{peak}");
}

async fn fill(store: &Store, body: usize, waiting: usize, tenants: usize) {
    for start in (0..waiting).step_by(2000) {
        let job = |number: usize| NewJob {
            id: format!("backlog-{number}").into(),
            message: Message::of(job_of(&format!("tenant-{}", number % tenants), body)),
            due: None,
            priority: DEFAULT_PRIORITY,
        };
        let jobs = (start..start + 2000).map(job).collect();
        store.submit("bench", jobs).await.expect("room on the disk");
    }
}
