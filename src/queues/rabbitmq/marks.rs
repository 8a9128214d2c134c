//! What is written over a message that lies in the server and cannot be changed there: a queue beside it, for one message,
//! named after what the marked one is. It is there as long as the marked message is, and forgotten a week later.

use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicNackOptions, QueueDeleteOptions};
use lapin::protocol::AMQPSoftError;
use lapin::types::{AMQPValue, FieldTable};
use serde::{Deserialize, Serialize};

use super::publisher::To;
use super::shelf::Item;
use super::system::System;
use super::{topology, trouble};
use crate::job::{JOB_HEADER, Life};
use crate::ports::QueueError;

/// A mark that nobody has looked at for so long is nobody's.
const FORGOTTEN: i64 = 7 * 24 * 3600 * 1000;

/// What stands between a queue's name and that of a mark beside it.
const MARK: &str = ".mark.";

/// What a mark says.
#[derive(Serialize, Deserialize)]
struct Written {
    life: Life,
    /// Deliveries up to now that are not held against the job.
    deliveries: u32,
}

/// The queue for the mark of a message as it came from the server: the same at each delivery of it, and another for each
/// copy that we publish.
pub(super) fn name(queue: &str, item: &Item) -> String {
    let mut identity = Vec::with_capacity(item.message.body.len() + 512);
    let parts = [
        item.id.as_deref().map_or(&[][..], str::as_bytes),
        item.message.key.as_deref().unwrap_or_default(),
        item.message.header(JOB_HEADER).map_or(&[][..], |life| life),
        &item.message.body,
    ];
    for part in parts {
        identity.extend_from_slice(&part.len().to_le_bytes());
        identity.extend_from_slice(part);
    }
    format!("{queue}{MARK}{:032x}", xxhash_rust::xxh3::xxh3_128(&identity))
}

fn arguments() -> FieldTable {
    let mut table = FieldTable::default();
    table.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    table.insert("x-max-length".into(), AMQPValue::LongLongInt(1)); // a new mark pushes the old one out
    table.insert("x-expires".into(), AMQPValue::LongLongInt(FORGOTTEN));
    table
}

/// Writes a mark, durably.
///
/// # Errors
/// Why it is not written, or not known to be.
pub(super) async fn write(system: &System, name: &str, life: &Life, deliveries: u32) -> Result<(), QueueError> {
    let channel = system.sending.channel().await?;
    topology::declare(&channel, name, arguments()).await.map_err(|error| refused(name, &error))?;
    // values of plain types cannot fail to be written
    let body = serde_json::to_vec(&Written { life: life.clone(), deliveries }).unwrap_or_default();
    let to = To { exchange: "", routing_key: name, queue: name };
    system.publisher.publish(&system.sending, to, BasicProperties::default().with_delivery_mode(2), &body).await
}

fn refused(name: &str, error: &lapin::Error) -> QueueError {
    if !trouble::is(error, AMQPSoftError::ACCESSREFUSED) {
        return trouble::doing(&format!("the mark {name:?}"), error);
    }
    let queue = name.rsplit_once(MARK).map_or(name, |(queue, _)| queue);
    QueueError::Unavailable(format!(
        "the user may not make the queues {queue}{MARK}…, which tell a job that kills its worker from the others: such a job waits \
         for ever; let the user configure, write and read them (rabbitmqctl set_permissions)"
    ))
}

/// Says whether marks can be written, before the first must be.
///
/// # Errors
/// A sentence with the fix.
pub(super) async fn try_out(system: &System, queue: &str) -> Result<(), QueueError> {
    let name = format!("{queue}{MARK}try");
    let channel = system.sending.channel().await?;
    topology::declare(&channel, &name, arguments()).await.map_err(|error| refused(&name, &error))?;
    remove(system, &name).await;
    Ok(())
}

/// Reads a mark; none when there is none.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn read(system: &System, name: &str) -> Result<Option<(Life, u32)>, QueueError> {
    let failed = |error| trouble::doing(&format!("the mark {name:?}"), &error);
    let channel = system.sending.channel().await?;
    let got = match channel.basic_get(name.into(), BasicGetOptions::default()).await {
        Err(error) if trouble::is(&error, AMQPSoftError::NOTFOUND) => return Ok(None),
        got => got.map_err(failed)?,
    };
    let Some(got) = got else { return Ok(None) };
    let written: Option<Written> = serde_json::from_slice(&got.data).ok();
    got.nack(BasicNackOptions { requeue: true, multiple: false }).await.map_err(failed)?;
    Ok(written.map(|written| (written.life, written.deliveries)))
}

/// The marked message is settled.
pub(super) async fn remove(system: &System, name: &str) {
    let Ok(channel) = system.sending.channel().await else { return };
    if let Err(error) = channel.queue_delete(name.into(), QueueDeleteOptions::default()).await {
        tracing::debug!("the mark {name:?} is left to be forgotten: {error}");
    }
}
