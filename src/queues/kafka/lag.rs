//! How far a group is behind, partition by partition: how many, since when, and how many share the work.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{PATIENCE, unavailable};
use super::topics::{Asking, Topics};
use super::wire;
use crate::ports::{PartitionLag, QueueError};

/// How long the first records that wait are waited for: an age is worth no more.
const GLANCE: Duration = Duration::from_secs(1);

/// What a group has not finished of a partition.
pub struct Lag {
    pub topic: String,
    pub partition: i32,
    /// The offset of the first of it.
    pub at: i64,
    /// How much there is, by offsets.
    pub records: u64,
}

impl From<Lag> for PartitionLag {
    fn from(lag: Lag) -> Self {
        PartitionLag { topic: lag.topic.into(), partition: lag.partition, lag: lag.records }
    }
}

impl Topics {
    /// When the oldest record was published that is not finished.
    pub async fn oldest(&self, lags: &[Lag]) -> Result<Option<Timestamp>, QueueError> {
        let behind = lags.iter().filter(|lag| lag.records > 0);
        let spots: Vec<(String, i32, i64)> = behind.map(|lag| (lag.topic.clone(), lag.partition, lag.at)).collect();
        if spots.is_empty() {
            return Ok(None);
        }
        let options = self.options.clone();
        let look = move || {
            let mut config = options.consumer("windlass-desk");
            // one record of each partition is looked at, not what a worker would take ahead
            config.set("queued.min.messages", "1").set("fetch.message.max.bytes", "1024");
            let failed = |error: KafkaError| unavailable(options.brokers(), &error, None);
            let client: BaseConsumer<Asking> = config.create_with_context(Asking::default()).map_err(failed)?;
            let mut list = TopicPartitionList::with_capacity(spots.len());
            for (topic, partition, at) in &spots {
                list.add_partition_offset(topic, *partition, Offset::Offset(*at)).map_err(failed)?;
            }
            client.assign(&list).map_err(failed)?;
            drop(list); // a list that outlives its client keeps it from ending
            Ok(first_of_each(&client, spots.len()))
        };
        tokio::task::spawn_blocking(look).await.map_err(|error| QueueError::Unavailable(error.to_string()))?
    }

    /// How many members the group has; none where the cluster does not tell.
    pub async fn members(&self) -> Option<u64> {
        let (options, group) = (self.options.clone(), self.names.group.to_string());
        let ask = move || {
            let client: BaseConsumer<Asking> = options.plain().create_with_context(Asking::default()).ok()?;
            let groups = client.fetch_group_list(Some(&group), PATIENCE).ok()?;
            match groups.groups().iter().find(|known| known.name() == group) {
                None => Some(0),
                // of the newer protocol: the question that this client asks tells nothing of it
                Some(known) if known.state() == "Dead" => None,
                Some(known) => Some(known.members().len() as u64),
            }
        };
        tokio::task::spawn_blocking(ask).await.ok()?
    }
}

fn first_of_each(client: &BaseConsumer<Asking>, partitions: usize) -> Option<Timestamp> {
    let (end, mut seen, mut oldest): (_, HashSet<(Arc<str>, i32)>, Option<Timestamp>) =
        (Instant::now() + GLANCE, HashSet::new(), None);
    while seen.len() < partitions && Instant::now() < end {
        let Some(Ok(record)) = client.poll(Duration::from_millis(100)) else { continue };
        if seen.insert((record.topic().into(), record.partition())) {
            oldest = [oldest, wire::published(&record)].into_iter().flatten().min();
        }
    }
    oldest
}
