//! A pool on queues in memory, on Tokio's pausable time.

use std::sync::Arc;
use std::time::Duration;

use windlass::clock::Clock;
use windlass::engine::budget::Budget;
use windlass::engine::exit::Exit;
use windlass::engine::pool::Pool;
use windlass::engine::routes::Route;
use windlass::engine::{Engine, Shared};
use windlass::job::Message;
use windlass::ports::{Outgoing, Queue, Sink};
use windlass::queues::memory::{Memory, MemoryQueue};

use crate::support::pool;

/// One pool on the queue `jobs`, results to `results`, on Tokio's time.
pub struct World {
    pub memory: Arc<Memory>,
    pub shared: Arc<Shared>,
    pub slots: usize,
    pub routes: Vec<Arc<Route>>,
    pub from: Vec<Arc<dyn Queue>>,
    pub results: Option<Arc<dyn Sink>>,
    /// What else is done to the pool before it starts.
    pub tune: Box<dyn Fn(&mut Pool)>,
}

impl World {
    pub fn new(routes: Vec<Arc<Route>>) -> Self {
        let clock = Clock::tokio();
        let memory = Memory::new(clock, 1_000_000);
        World {
            shared: Arc::new(Shared::new("test", clock, Budget::new(64 << 20))),
            slots: 8,
            routes,
            from: vec![Arc::new(memory.queue("jobs"))],
            results: Some(memory.queue("results").sink()),
            tune: Box::new(|_| {}),
            memory,
        }
    }

    pub fn start(&self) -> Engine {
        self.start_pool().0
    }

    pub fn start_pool(&self) -> (Engine, Arc<Pool>) {
        let mut pool = pool(&self.shared, &self.from, self.slots, self.routes.clone());
        pool.results = self.results.as_ref().map(|sink| Arc::new(Exit::new(sink.clone(), pool.metrics.exit("results"))));
        (self.tune)(&mut pool);
        let pool = Arc::new(pool);
        (Engine::start(self.shared.clone(), std::slice::from_ref(&pool)), pool)
    }

    pub fn queue(&self, name: &str) -> MemoryQueue {
        self.memory.queue(name)
    }

    pub async fn send(&self, queue: &str, body: &str) {
        self.send_message(queue, Message::of(body.to_owned())).await;
    }

    pub async fn send_message(&self, queue: &str, message: Message) {
        let outgoing = Outgoing { message, ..Outgoing::default() };
        self.memory.queue(queue).send(outgoing).await.unwrap();
    }

    /// Waits until a queue holds this many messages; Tokio's paused time passes by itself.
    pub async fn holds(&self, queue: &str, count: usize) {
        let queue = self.memory.queue(queue);
        let patience = Duration::from_secs(40 * 24 * 3600);
        let reached = async {
            let mut pause = Duration::from_millis(5);
            while queue.len() != count {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(60));
            }
        };
        let waited = tokio::time::timeout(patience, reached).await;
        assert!(waited.is_ok(), "{} messages instead of {count}", queue.len());
    }

    /// The bodies in a queue, as JSON.
    pub fn bodies(&self, queue: &str) -> Vec<serde_json::Value> {
        self.memory.queue(queue).messages().iter().map(|message| serde_json::from_slice(&message.body).unwrap()).collect()
    }

    /// The failure documents in the dead letters of `jobs`.
    pub fn failures(&self) -> Vec<serde_json::Value> {
        let dead = self.memory.queue("jobs.dead").messages();
        dead.iter().map(|message| serde_json::from_slice(message.header("windlass-failure").unwrap()).unwrap()).collect()
    }
}
