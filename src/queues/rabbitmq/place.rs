//! Takes parked messages, one by one as they are asked for: what was taken ahead would not go back when its time is over.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lapin::Channel;
use lapin::message::BasicGetMessage;
use lapin::options::BasicGetOptions;
use tokio::task::JoinHandle;

use super::receipt::Issuer;
use super::topology::Wanted;
use super::trouble;
use crate::ports::{Delivery, QueueError, Room, Source};

/// How often an empty place is asked: soon at first, and less and less.
const SOON: Duration = Duration::from_millis(50);
const LATER: Duration = Duration::from_secs(2);
/// How often a place is looked for that does not exist yet.
const MISSING: Duration = Duration::from_secs(10);

type Got = Result<Option<(Arc<Channel>, BasicGetMessage)>, lapin::Error>;

pub(super) struct PlaceSource {
    issuer: Arc<Issuer>,
    wanted: Wanted,
    open: bool,
    /// What was asked of the server. It outlives a call that is dropped: the answer may hold a message.
    asked: Option<JoinHandle<Got>>,
    pause: Duration,
}

impl PlaceSource {
    pub fn new(issuer: Arc<Issuer>, wanted: Wanted) -> Self {
        PlaceSource { issuer, wanted, open: false, asked: None, pause: SOON }
    }

    async fn open(&mut self) -> Result<(), QueueError> {
        let system = self.issuer.system.clone();
        while !system.has(&self.wanted).await? {
            tokio::time::sleep(MISSING).await;
        }
        self.issuer.open(&Arc::new(system.taking.channel().await?));
        self.open = true;
        Ok(())
    }

    /// Asks for one more; false when there is none.
    async fn get(&mut self) -> Result<bool, QueueError> {
        let asked = self.asked.get_or_insert_with(|| {
            let (issuer, queue) = (self.issuer.clone(), self.wanted.name.clone());
            tokio::spawn(async move { issuer.get(&queue).await })
        });
        let got = asked.await;
        self.asked = None;
        match got {
            Ok(Ok(Some((channel, got)))) => {
                self.issuer.put(&channel, got.delivery);
                Ok(true)
            }
            Ok(Ok(None)) => Ok(false),
            Ok(Err(error)) => Err(trouble::doing(&format!("queue {:?}", self.wanted.name), &error)),
            Err(error) => Err(QueueError::Unavailable(format!("queue {:?}: {error}", self.wanted.name))),
        }
    }
}

impl Issuer {
    async fn get(&self, queue: &str) -> Got {
        let channel = self.channel.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        match channel {
            Some(channel) => {
                let got = channel.basic_get(queue.into(), BasicGetOptions::default()).await?;
                Ok(got.map(|got| (channel, got)))
            }
            None => Ok(None),
        }
    }
}

#[async_trait]
impl Source for PlaceSource {
    async fn next(&mut self, room: Room) -> Result<Vec<Delivery>, QueueError> {
        if room.jobs == 0 {
            return Ok(Vec::new());
        }
        loop {
            if !self.open {
                self.open().await?;
            }
            let issuer = self.issuer.clone();
            let changed = issuer.shelf.changed.notified();
            issuer.look_for_marks(1).await?;
            let taken = issuer.shelf.take(Room { jobs: 1, ..room });
            if !taken.is_empty() {
                self.pause = SOON;
                return Ok(issuer.deliver(taken));
            }
            match self.get().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    self.open = false;
                    self.issuer.lost().await;
                    return Err(error);
                }
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(self.pause) => self.pause = (self.pause * 2).min(LATER),
            }
        }
    }
}

impl Drop for PlaceSource {
    fn drop(&mut self) {
        self.issuer.shelf.close();
        // an answer that is on its way is given back with the channel, or here
        let (Some(asked), Ok(runtime)) = (self.asked.take(), tokio::runtime::Handle::try_current()) else { return };
        let issuer = self.issuer.clone();
        runtime.spawn(async move {
            if let Ok(Ok(Some((channel, got)))) = asked.await {
                issuer.put(&channel, got.delivery);
            }
        });
    }
}
