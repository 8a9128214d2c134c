//! What the group is told, from a thread of its own: the client answers only commits that are waited for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::assignment::Assignment;
use super::state::{Mark, Shared, Spot};

/// Between two commits while jobs run, unless somebody waits for one; and while none runs.
const EVERY: Duration = Duration::from_millis(20);
const IDLE: Duration = Duration::from_millis(100);
/// After a commit that failed.
const AGAIN: Duration = Duration::from_millis(200);

/// Held from the moment at which it is decided what a commit says until it is done: an older one never comes after a newer.
pub type Turn = Mutex<()>;

/// What a commit said of a partition.
struct Said {
    spot: Spot,
    epoch: u64,
    ceiling: i64,
}

/// Commits whenever something is new, until the consumer stops.
pub fn run(consumer: &BaseConsumer<Assignment>, shared: &Arc<Shared>) {
    loop {
        let mut state = shared.state();
        let busy = state.parts.values().any(|part| part.taken > 0 || part.dirty);
        if !state.urgent && !state.stopping {
            state = shared.wait_for_news(state, if busy { EVERY } else { IDLE });
        }
        if state.stopping {
            return;
        }
        state.urgent = false;
        drop(state);
        if commit(consumer, shared).is_err() {
            drop(shared.wait_for_news(shared.state(), AGAIN));
        }
    }
}

fn commit(consumer: &BaseConsumer<Assignment>, shared: &Shared) -> Result<(), KafkaError> {
    let _turn = consumer.context().turn.lock().unwrap_or_else(PoisonError::into_inner);
    let (list, said, marks) = next(shared);
    if said.is_empty() {
        return Ok(());
    }
    let done = consumer.commit(&list, CommitMode::Sync);
    drop(list); // a list that outlives its consumer makes its end hang
    let mut state = shared.state();
    for said in said {
        let Some(part) = state.parts.get_mut(&said.spot).filter(|part| part.epoch == said.epoch) else { continue };
        match done {
            Ok(()) => part.tracker.ceiling = part.tracker.ceiling.max(said.ceiling),
            Err(_) => part.dirty = true,
        }
    }
    match &done {
        Ok(()) => marks.into_iter().for_each(Mark::tell),
        Err(error) => {
            let parts = &state.parts;
            let ours: Vec<Mark> = marks.into_iter().filter(|mark| parts.contains_key(&mark.spot)).collect();
            state.marks.extend(ours);
            tracing::warn!("kafka: a commit failed, it is tried again: {error}");
        }
    }
    drop(state);
    shared.arrived.notify_waiters();
    done
}

/// What the group is to hear now.
fn next(shared: &Shared) -> (TopicPartitionList, Vec<Said>, Vec<Mark>) {
    let mut state = shared.state();
    let (mut list, mut said) = (TopicPartitionList::new(), Vec::new());
    for (spot, part) in &mut state.parts {
        let rests = part.rests() && part.tracker.ceiling > 0;
        if !(part.dirty || rests || part.waits_for_the_group()) || part.leaving {
            continue;
        }
        part.dirty = false;
        let (progress, ceiling) = part.tracker.progress(part.rests());
        add(&mut list, spot, part.tracker.low(), &progress.encode());
        said.push(Said { spot: spot.clone(), epoch: part.epoch, ceiling });
    }
    let marks = if said.is_empty() { Vec::new() } else { std::mem::take(&mut state.marks) };
    (list, said, marks)
}

/// Tells the group where partitions stand that leave. From here on they are not ours: what comes later changes nothing, and
/// is not in what was told.
pub fn last(consumer: &BaseConsumer<Assignment>, shared: &Shared, spots: &[Spot]) {
    let _turn = consumer.context().turn.lock().unwrap_or_else(PoisonError::into_inner);
    let mut list = TopicPartitionList::new();
    let mut state = shared.state();
    for spot in spots {
        if let Some(part) = state.parts.get_mut(spot) {
            let (progress, _) = part.tracker.progress(true);
            add(&mut list, spot, part.tracker.low(), &progress.encode());
        }
        state.remove(spot);
    }
    drop(state);
    if list.count() > 0
        && let Err(error) = consumer.commit(&list, CommitMode::Sync)
    {
        tracing::warn!("kafka: the last commit of partitions that leave failed, some jobs run again: {error}");
    }
}

fn add(list: &mut TopicPartitionList, spot: &Spot, low: i64, text: &str) {
    let mut element = list.add_partition(&spot.0, spot.1);
    // neither fails for an offset that was fetched and a text without a zero byte
    let _ = element.set_offset(Offset::Offset(low));
    element.set_metadata(text);
}
