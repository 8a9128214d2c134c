//! Hands out what the consumer has fetched: of the queue itself, or of a place beside it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::queue::Claim;
use super::receipt::KafkaReceipt;
use super::state::{Shared, Taken};
use super::taker::Taker;
use crate::clock::between;
use crate::job::decode::life_of;
use crate::job::{JOB_HEADER, Life, Origin};
use crate::ports::{Delivery, QueueError, Room, Source};

/// The longest wait for a parked record to be due: those behind it may be due sooner.
const LOOK: Duration = Duration::from_secs(1);

/// So many deaths make a suspect that runs alone.
const SUSPECT: u32 = 3;

pub struct KafkaSource {
    pub taker: Arc<Taker>,
    pub place: Option<Arc<str>>,
    /// Held so that nobody else takes from it.
    pub _claim: Claim,
}

#[async_trait]
impl Source for KafkaSource {
    async fn next(&mut self, room: Room) -> Result<Vec<Delivery>, QueueError> {
        if room.jobs == 0 {
            return Ok(Vec::new());
        }
        loop {
            let shared = &self.taker.shared;
            let arrived = shared.arrived.notified();
            let taken = shared.take(self.place.as_deref(), room)?;
            if !taken.is_empty() {
                return Ok(taken.into_iter().map(|taken| deliver(shared, taken)).collect());
            }
            let due = if self.place.is_none() { shared.state().next_due() } else { None };
            match due {
                Some(due) => drop(tokio::time::timeout(between(Timestamp::now(), due).min(LOOK), arrived).await),
                None => arrived.await,
            }
        }
    }
}

fn deliver(shared: &Arc<Shared>, taken: Taken) -> Delivery {
    let mut message = taken.waiting.message.clone();
    let life = match life(&taken) {
        Some(life) => {
            message.set_header(JOB_HEADER, life.to_json());
            Some(life)
        }
        None => message.header(JOB_HEADER).and_then(|_| life_of(&message).ok()),
    };
    // a copy of a job that was charged a crash need not kill three workers more to be suspected
    let charged = life.is_some_and(|life| life.crashes > 0 && !life.suspect);
    let unsettled = if charged { taken.unsettled.max(SUSPECT) } else { taken.unsettled };
    let (topic, partition) = &taken.spot;
    let origin = Origin { queue: topic.clone(), partition: Some(*partition), offset: Some(taken.offset), id: None };
    let published = taken.waiting.published;
    Delivery { message, origin, published, unsettled, receipt: Box::new(KafkaReceipt::new(shared.clone(), taken)) }
}

/// The life that was noted over the one in the record, here or by whoever had the partition before.
fn life(taken: &Taken) -> Option<Life> {
    if let Some(life) = &taken.waiting.life {
        return Some(life.clone());
    }
    let held = taken.held.as_ref()?;
    let mut life = life_of(&taken.waiting.message).ok()?;
    held.onto(&mut life);
    Some(life)
}
