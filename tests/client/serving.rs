//! The API over a store of its own on a free loopback port, with a worker as small as can be.
#![expect(clippy::unwrap_used, reason = "a test's tools: what fails here fails the test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use windlass::admin::{Access, Desk, Place, System, bind_tcp, router, serve_tcp};
use windlass::batches::Batches;
use windlass::clock::Clock;
use windlass::job::decode::facets::sort;
use windlass::job::decode::{Received, decode};
use windlass::job::failure::Death;
use windlass::job::{Decoding, FailureDocument, Job, event};
use windlass::outcome::{Class, Output, Reason};
use windlass::ports::{Delivery, End, Ending, Room, Transfer};
use windlass::queues::embedded::{EmbeddedConfig, Store, StoreOptions};
use windlass::telemetry::Telemetry;
use windlass_client::Client;

pub struct Served {
    address: SocketAddr,
    store: Arc<Store>,
    pub batches: Arc<Batches>,
    _folder: TempDir,
    _stop: DropGuard,
}

impl Served {
    pub async fn start(token: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = EmbeddedConfig { path: folder.path().join("windlass.db"), ..EmbeddedConfig::default() };
        let store = Store::open(StoreOptions::from(&config)).unwrap();
        let system = System { name: "windlass.db".into(), admin: store.clone(), auditor: None };
        let (name, inner) = ("jobs".into(), "jobs".into());
        let place = Place { name, system: 0, inner, decoding: Decoding::Envelope, taken: true };
        let access = token.map_or(Access::Loopback, Access::token);
        let listener = bind_tcp("127.0.0.1:0".parse().unwrap(), &access).await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let metrics = Telemetry::install().unwrap().batches();
        let batches = Arc::new(Batches::new(store.clone(), Clock::System, metrics));
        let desk = Desk::new(vec![system], vec![place], 1 << 20).with_batches(Some(batches.clone()));
        let router = router(Arc::new(desk), access);
        tokio::spawn(serve_tcp(listener, router, stop.clone()));
        Served { address, store, batches, _folder: folder, _stop: stop.drop_guard() }
    }

    pub fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address)).unwrap()
    }

    /// Ends every job as `plugin` says: with a result, or dead of a class.
    pub fn work(&self, plugin: impl Fn(&Value) -> Result<Value, Class> + Send + Sync + 'static) {
        let queue = self.store.queue("jobs", "jobs");
        tokio::spawn(async move {
            let mut source = queue.source(sort(&Decoding::Envelope)).await.unwrap();
            let room = Room { jobs: 1, bytes: 1 << 20, lease: Duration::from_secs(30) };
            while let Ok(deliveries) = source.next(room).await {
                for delivery in deliveries {
                    let returned = plugin(&serde_json::from_slice(&delivery.message.body).unwrap());
                    end(delivery, returned).await;
                }
            }
        });
    }
}

async fn end(delivery: Delivery, returned: Result<Value, Class>) {
    let now = Timestamp::now();
    let received = Received { origin: delivery.origin, published: delivery.published, now };
    let job: Job = decode(&delivery.message, &Decoding::Envelope, &received).unwrap();
    let settled = match returned {
        Ok(value) => {
            let event = event::completed(&job, "test", &Output::Json(value.to_string().into()), now);
            delivery.receipt.ack(Ending { end: End::Completed, event: Some(event.body), at: now }).await
        }
        Err(class) => {
            let death = Death { reason: Reason::Class(class), class, message: "no", log_tail: String::new(), now };
            let document = FailureDocument::new(&job.id, &job.life, death).to_json().into();
            delivery.receipt.transfer(Transfer::Dead { life: job.life, document, event: None }).await
        }
    };
    assert!(settled.is_ok());
}
