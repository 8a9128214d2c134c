//! Senders that ask for the result of their job and take none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use windlass::job::Message;
use windlass::ports::{Capabilities, Outgoing, Queue, QueueError, Sink, Sort, Source};
use windlass::retry::Policy;

use crate::support::{done, executor, route};
use crate::world::World;

/// Takes no result: its queue is silent, or an error each time.
#[derive(Clone)]
struct Sender {
    silent: bool,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Sink for Sender {
    fn address(&self) -> &str {
        "caller"
    }

    async fn send(&self, _: Outgoing) -> Result<(), QueueError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.silent { std::future::pending().await } else { Err(QueueError::Unavailable("down".into())) }
    }
}

/// A queue whose every message asks for its result.
struct Asked {
    queue: Arc<dyn Queue>,
    sender: Sender,
}

#[async_trait]
impl Queue for Asked {
    fn name(&self) -> &str {
        self.queue.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.queue.capabilities()
    }

    async fn source(&self, sort: Sort) -> Result<Box<dyn Source>, QueueError> {
        self.queue.source(sort).await
    }

    fn sink(&self) -> Arc<dyn Sink> {
        self.queue.sink()
    }

    fn dead_letters(&self) -> Arc<dyn Sink> {
        self.queue.dead_letters()
    }

    fn parked(&self, name: &str) -> Arc<dyn Queue> {
        self.queue.parked(name)
    }

    fn reply_to(&self, _: &Message) -> Option<Arc<dyn Sink>> {
        Some(Arc::new(self.sender.clone()))
    }

    async fn places(&self) -> Result<Vec<Arc<str>>, QueueError> {
        self.queue.places().await
    }

    async fn drained(&self) -> Result<bool, QueueError> {
        self.queue.drained().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_takes_no_result_keeps_no_job_from_its_end() {
    for silent in [true, false] {
        let mut world = World::new(vec![route("t", executor(|_, _| async { done() }.boxed()), Policy::default())]);
        let sender = Sender { silent, asked: Arc::default() };
        world.from = vec![Arc::new(Asked { queue: world.from.remove(0), sender: sender.clone() })];
        world.slots = 1;
        let engine = world.start();
        world.send("jobs", r#"{"id":"a","type":"t"}"#).await;
        world.send("jobs", r#"{"id":"b","type":"t"}"#).await;
        world.holds("jobs", 0).await;
        engine.stop(std::time::Duration::ZERO).await;
        let asked = sender.asked.load(Ordering::SeqCst);
        assert!(if silent { asked == 2 } else { asked > 2 }, "asked {asked} times");
    }
}
