//! The duty for one record: finished in the tracker of its partition, as long as that is ours.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::state::{Shared, Taken};
use crate::job::Life;
use crate::ports::{Ending, QueueError, Receipt, Settled, Transfer, Unsettled};

pub struct KafkaReceipt {
    shared: Arc<Shared>,
    /// None once it is settled.
    taken: Option<Taken>,
    /// The life that was noted over the record's own.
    life: Mutex<Option<Life>>,
}

impl KafkaReceipt {
    pub fn new(shared: Arc<Shared>, taken: Taken) -> Self {
        let life = Mutex::new(taken.waiting.life.clone());
        KafkaReceipt { shared, taken: Some(taken), life }
    }
}

#[async_trait]
impl Receipt for KafkaReceipt {
    /// Counts as finished at once; the group hears of it within milliseconds, or the record comes again.
    async fn ack(mut self: Box<Self>, _ending: Ending) -> Result<Settled, Unsettled> {
        let ours = self.taken.take().is_some_and(|taken| self.shared.settle(&taken.spot, taken.epoch, taken.offset, None));
        Ok(if ours { Settled::Done } else { Settled::Fenced })
    }

    async fn transfer(self: Box<Self>, _copy: Transfer) -> Result<Settled, Unsettled> {
        let error = QueueError::Refused("kafka moves nothing in one step".into());
        Err(Unsettled { receipt: self, error })
    }

    /// A partition is ours until it is somebody else's, however long that is.
    async fn extend(&self, _lease: Duration) -> Result<(), QueueError> {
        let taken = self.taken.as_ref().ok_or(QueueError::LeaseLost)?;
        self.shared.part(&taken.spot, taken.epoch, |_| ()).ok_or(QueueError::LeaseLost)
    }

    async fn mark(&self, life: &Life) -> Result<(), QueueError> {
        let taken = self.taken.as_ref().ok_or(QueueError::LeaseLost)?;
        let heard = self.shared.mark(&taken.spot, taken.epoch, taken.offset, life)?;
        heard.await.map_err(|_| QueueError::LeaseLost)?;
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = Some(life.clone());
        Ok(())
    }
}

impl Drop for KafkaReceipt {
    fn drop(&mut self) {
        if let Some(mut taken) = self.taken.take() {
            taken.waiting.life = self.life.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.shared.settle(&taken.spot, taken.epoch, taken.offset, Some(taken.waiting));
        }
    }
}
