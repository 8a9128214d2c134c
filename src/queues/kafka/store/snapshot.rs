//! What all records before one came to, written behind them so that they can go.

use std::sync::Arc;

use super::record::{Kept, What};
use crate::job::Message;
use crate::ports::QueueError;
use crate::queues::kafka::client::Options;
use crate::queues::kafka::sink::Producers;
use crate::queues::kafka::trim::trim;
use crate::queues::kafka::wire::Beside;

/// Bytes of one part, but for a value that is larger alone.
const PART: usize = 512 << 10;

/// The values as they were before the record at offset `up_to`.
pub struct Snapshot {
    pub up_to: i64,
    pub time: i64,
    pub values: Vec<Kept>,
}

impl Snapshot {
    /// Writes all of it; once it is confirmed, has the records before it deleted. One that ends half way is of no use to
    /// anybody, and harms nobody.
    pub async fn write(self, topic: &str, producers: &Producers, options: &Options) -> Result<(), QueueError> {
        let id: Arc<str> = uuid::Uuid::now_v7().simple().to_string().into();
        let send = async |what: What| producers.send(topic, &Message::of(what.encode()), &Beside::default()).await;
        let (mut parts, mut part, mut size) = (0, Vec::new(), 0);
        for kept in self.values {
            size += kept.weight();
            if size > PART && !part.is_empty() {
                parts += 1;
                size = kept.weight();
                send(What::Snapshot { id: id.clone(), values: std::mem::take(&mut part) }).await?;
            }
            part.push(kept);
        }
        // also of a store that is empty: whoever counts since the last one sees that there is a new one
        parts += 1;
        send(What::Snapshot { id: id.clone(), values: part }).await?;
        send(What::SnapshotEnd { id, up_to: self.up_to, time: self.time, parts }).await?;
        trim(options, &[(topic, 0, self.up_to)]).await
    }
}
