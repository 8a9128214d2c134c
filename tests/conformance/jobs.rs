//! What every queue must do under the engine: attempts, dead letters, the stop, long jobs, crash suspicion.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Notify;
use windlass::clock::Clock;
use windlass::engine::budget::Budget;
use windlass::engine::{Engine, Shared};
use windlass::job::{FailureDocument, Header, Life, Message};
use windlass::outcome::{Class, Failure};
use windlass::ports::{Delivery, Executor, Outgoing, Queue, Room};
use windlass::retry::{Backoff, Jitter, Policy};

use crate::cases::source_of;
use crate::kinds::Kind;
use crate::support::{done, executor, pool, route};

fn start(queue: Arc<dyn Queue>, executor: Arc<dyn Executor>, lease: Duration) -> Engine {
    let mut shared = Shared::new("test", Clock::System, Budget::new(64 << 20));
    shared.lease = lease;
    let shared = Arc::new(shared);
    let backoff = Backoff { base: Duration::from_millis(20), factor: 2.0, cap: Duration::from_secs(1), jitter: Jitter::None };
    let policy = Policy { backoff, attempts: 5, ..Policy::default() };
    let pool = pool(&shared, &[queue], 8, vec![route("t", executor, policy)]);
    Engine::start(shared, &[Arc::new(pool)])
}

async fn send(queue: &Arc<dyn Queue>, message: Message) {
    queue.sink().send(Outgoing { message, ..Outgoing::default() }).await.unwrap();
}

async fn take(queue: &Arc<dyn Queue>) -> Delivery {
    let room = Room { jobs: 1, bytes: 1 << 20, lease: Duration::from_secs(30) };
    let mut source = source_of(queue).await;
    tokio::time::timeout(Duration::from_secs(20), source.next(room)).await.expect("nothing came").unwrap().remove(0)
}

fn failure(delivery: &Delivery) -> FailureDocument {
    serde_json::from_slice(delivery.message.header("windlass-failure").expect("no failure document")).unwrap()
}

pub async fn four_retries_in_a_row_over_overlapping_delays_carry_their_attempts(kind: Kind) {
    let (queue, all) = (kind.queue("q"), Arc::new(Notify::new()));
    let (runs, signal) = (Arc::new(AtomicUsize::new(0)), all.clone());
    let run = executor(move |job, _| {
        if runs.fetch_add(1, Ordering::SeqCst) + 1 == 40 * 5 {
            signal.notify_one();
        }
        let last = job.life.attempt == 4;
        async move { if last { done() } else { Failure::new(Class::Failed, "again").into() } }.boxed()
    });
    for id in 0..40 {
        send(&queue, Message::of(format!(r#"{{"id":"{id}","type":"t"}}"#))).await;
    }
    let engine = start(queue, run, Duration::from_secs(30));
    tokio::time::timeout(Duration::from_secs(30), all.notified()).await.expect("some retries never came");
    engine.stop(Duration::from_secs(5)).await;
}

pub async fn a_dead_letter_is_the_message_to_the_byte_with_one_more_header(kind: Kind) {
    let queue = kind.queue("q");
    let run = executor(|_, _| async { Failure::new(Class::Rejected, "no").into() }.boxed());
    let sent = Message {
        body: b"{ \"type\":\"t\",\r\n \"data\":1.50 }"[..].into(),
        key: Some("k".into()),
        headers: vec![Header::new("x", &b"\xff"[..]), Header::new("x", "y")],
    };
    send(&queue, sent.clone()).await;
    let engine = start(queue, run, Duration::from_secs(30));
    let dead = take(&kind.queue("q.dead")).await;
    assert_eq!(failure(&dead).reason.as_str(), "rejected");
    let mut message = dead.message.clone();
    message.remove_header("windlass-failure");
    assert_eq!(message, sent, "its life is in the failure");
    engine.stop(Duration::ZERO).await;
}

pub async fn a_stop_gives_back_what_runs_and_counts_nothing(kind: Kind) {
    let (queue, started) = (kind.queue("q"), Arc::new(Notify::new()));
    let signal = started.clone();
    let run = executor(move |_, _| {
        signal.notify_one();
        std::future::pending().boxed()
    });
    send(&queue, Message::of(r#"{"id":"a","type":"t"}"#)).await;
    let engine = start(queue.clone(), run, Duration::from_secs(30));
    started.notified().await;
    engine.stop(Duration::ZERO).await;
    let back = take(&queue).await;
    let counted = u32::from(queue.capabilities().counts_stops);
    assert_eq!((back.message.header("windlass-job"), back.unsettled), (None, counted));
}

pub async fn a_job_of_three_leases_runs_once(kind: Kind) {
    let (queue, ended) = (kind.queue("q"), Arc::new(Notify::new()));
    let (runs, signal) = (Arc::new(AtomicUsize::new(0)), ended.clone());
    let counter = runs.clone();
    let run = executor(move |_, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        let signal = signal.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(1800)).await;
            signal.notify_one();
            done()
        }
        .boxed()
    });
    send(&queue, Message::of(r#"{"id":"a","type":"t"}"#)).await;
    let engine = start(queue, run, Duration::from_millis(600));
    ended.notified().await;
    engine.stop(Duration::from_secs(5)).await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

pub async fn a_marked_job_that_comes_again_is_charged_a_crash(kind: Kind) {
    let queue = kind.queue("q");
    let mut message = Message::of(r#"{"id":"a","type":"t"}"#);
    let life = Life { suspect: true, crashes: 2, ..Life::default() };
    message.set_header("windlass-job", life.to_json());
    send(&queue, message).await;
    let engine = start(queue, executor(|_, _| async { done() }.boxed()), Duration::from_secs(30));
    let dead = take(&kind.queue("q.dead")).await;
    assert_eq!((failure(&dead).reason.as_str(), failure(&dead).crashes), ("poison", 3));
    engine.stop(Duration::ZERO).await;
}
