//! What all records before one came to, written behind them so that they can go.

use std::sync::Arc;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::record::{Kept, What};
use crate::job::Message;
use crate::ports::QueueError;
use crate::queues::kafka::client::{Options, PATIENCE, Plain, unavailable};
use crate::queues::kafka::sink::Producers;
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
        trim(topic, self.up_to, options).await
    }
}

async fn trim(topic: &str, up_to: i64, options: &Options) -> Result<(), QueueError> {
    let failed = |error: KafkaError| unavailable(options.brokers(), &error, None);
    let admin: AdminClient<Plain> = options.plain().create_with_context(Plain::default()).map_err(failed)?;
    let done = {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(up_to)).map_err(failed)?;
        admin.delete_records(&list, &AdminOptions::new().request_timeout(Some(PATIENCE)))
    };
    let list = done.await.map_err(failed)?;
    list.elements().into_iter().try_for_each(|element| element.error()).map_err(failed)
}
