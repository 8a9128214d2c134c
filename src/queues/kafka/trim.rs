//! Has records deleted that nobody needs any more, in topics that are kept for ever.

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{Options, PATIENCE, Plain, unavailable};
use crate::ports::QueueError;

/// Deletes what lies before these offsets.
///
/// # Errors
/// Why not all of it is deleted.
pub async fn trim(options: &Options, before: &[(&str, i32, i64)]) -> Result<(), QueueError> {
    let failed = |error: KafkaError| unavailable(options.brokers(), &error, None);
    let admin: AdminClient<Plain> = options.plain().create_with_context(Plain::default()).map_err(failed)?;
    let done = {
        let mut list = TopicPartitionList::new();
        for (topic, partition, offset) in before {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).map_err(failed)?;
        }
        admin.delete_records(&list, &AdminOptions::new().request_timeout(Some(PATIENCE)))
    };
    let list = done.await.map_err(failed)?;
    list.elements().into_iter().try_for_each(|element| element.error()).map_err(failed)
}
