//! Partitions come and go: what the group remembers of them is read before the first record, and written before they leave.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::util::Timeout;

use super::client::{Complaints, PATIENCE, unavailable};
use super::commits::{self, Turn};
use super::config::Start;
use super::progress::Progress;
use super::state::{Shared, Spot};
use super::tracker::Tracker;

/// Which place a topic belongs to; none for the queue's own.
pub type PlaceOf = Box<dyn Fn(&str) -> Option<Arc<str>> + Send + Sync>;

/// The context of a consumer; all of it runs on the thread that polls.
pub struct Assignment {
    pub shared: Arc<Shared>,
    pub turn: Turn,
    pub complaints: Complaints,
    pub place_of: PlaceOf,
    pub brokers: Arc<str>,
    /// The topic that need not be read from its beginning.
    pub start: (Arc<str>, Start),
    /// How long what runs is waited for when a partition is handed over.
    pub drain: Duration,
}

impl ClientContext for Assignment {
    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.note(&error, reason);
        tracing::debug!("kafka: {error}: {reason}");
    }

    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, message: &str) {
        tracing::debug!("kafka: {message}");
    }
}

impl ConsumerContext for Assignment {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let increments = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let done = if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.arrive(consumer, list).and_then(|()| match increments {
                true => consumer.incremental_assign(list),
                false => consumer.assign(list),
            })
        } else {
            self.leave(consumer, &spots(list), consumer.assignment_lost());
            match increments {
                true => consumer.incremental_unassign(list),
                false => consumer.unassign(),
            }
        };
        if let Err(error) = done {
            self.shared.fail(unavailable(&self.brokers, &error, self.complaints.take()));
        }
    }

    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(Duration::from_millis(100))
    }
}

fn spots(list: &TopicPartitionList) -> Vec<Spot> {
    list.elements().iter().map(|element| (element.topic().into(), element.partition())).collect()
}

impl Assignment {
    /// Reads where partitions stand, and has them fetched from there.
    fn arrive(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) -> KafkaResult<()> {
        let spots = spots(list);
        let mut asked = TopicPartitionList::with_capacity(spots.len());
        for (topic, partition) in &spots {
            asked.add_partition(topic, *partition);
        }
        let mut answer = consumer.committed_offsets(asked.clone(), PATIENCE * 2);
        if answer.is_err() {
            answer = consumer.committed_offsets(asked, PATIENCE * 2); // its coordinator may have moved
        }
        let answer = answer?;
        for (topic, partition) in spots {
            let found = answer.find_partition(&topic, partition);
            let (offset, text) = found.map_or((Offset::Invalid, String::new()), |at| (at.offset(), at.metadata().to_owned()));
            let (offset, progress) = match offset {
                Offset::Offset(offset) => (offset, self.remembered(&topic, partition, &text)),
                _ => (self.beginning(consumer, &topic, partition)?, Progress::default()),
            };
            list.set_partition_offset(&topic, partition, Offset::Offset(offset))?;
            let tracker = Tracker::resume(offset, &progress);
            tracing::debug!("kafka: {topic}/{partition} is ours from {offset}");
            self.shared.state().add((topic.clone(), partition), (self.place_of)(&topic), tracker);
        }
        Ok(())
    }

    fn remembered(&self, topic: &str, partition: i32, text: &str) -> Progress {
        Progress::decode(text).unwrap_or_else(|| {
            if !text.is_empty() {
                tracing::warn!("kafka: {topic}/{partition}: the group's metadata was written by another program: {text:?}");
            }
            Progress::default()
        })
    }

    /// Where a group starts that has committed nothing yet.
    fn beginning(&self, consumer: &BaseConsumer<Self>, topic: &str, partition: i32) -> KafkaResult<i64> {
        let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
        match self.start.1 {
            Start::Latest if *self.start.0 == *topic => Ok(high),
            Start::At(at) if *self.start.0 == *topic => {
                let mut asked = TopicPartitionList::new();
                asked.add_partition_offset(topic, partition, Offset::Offset(at.as_millisecond()))?;
                let found = consumer.offsets_for_times(asked, PATIENCE)?;
                let offset = found.elements().first().map(|element| element.offset());
                Ok(offset.and_then(Offset::to_raw).filter(|offset| *offset >= 0).unwrap_or(high))
            }
            _ => Ok(low),
        }
    }

    /// Hands partitions over: what runs is waited for, the group is told, and whatever comes later changes nothing. Of
    /// those that were lost there is nobody to tell.
    fn leave(&self, consumer: &BaseConsumer<Self>, spots: &[Spot], lost: bool) {
        if !lost {
            self.drain(spots);
            commits::last(consumer, &self.shared, spots);
        }
        let mut state = self.shared.state();
        spots.iter().for_each(|spot| state.remove(spot));
    }

    fn drain(&self, spots: &[Spot]) {
        let end = Instant::now() + self.drain;
        let mut state = self.shared.state();
        for spot in spots {
            state.parts.get_mut(spot).into_iter().for_each(|part| part.leaving = true);
        }
        loop {
            let runs = spots.iter().filter_map(|spot| state.parts.get(spot)).any(|part| part.taken > 0);
            let left = end.saturating_duration_since(Instant::now());
            if !runs || left.is_zero() || state.stopping {
                return;
            }
            let waited = self.shared.settled.wait_timeout(state, left.min(Duration::from_millis(100)));
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }
}
