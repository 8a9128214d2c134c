//! Brings home what was parked beside a queue for too long: nothing in SQS does so by itself.
//!
//! Looking at a message means to receive it, which counts as a delivery, so that nobody looks without need: this process
//! knows when the first of those that it parked is due, and of a place that others filled it looks once at the oldest.

use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::calls::{Ask, Calls};
use super::receipt::Issuer;
use super::source::home;
use super::system::System;
use super::topology;
use super::wire::{self, Came};
use crate::clock::{after, between};
use crate::job::Message;
use crate::ports::{Outgoing, QueueError};

/// How often places are counted that others may have filled.
const COUNT: Duration = Duration::from_secs(60);
/// For so long nobody else gets what is looked at.
const LOOK: Duration = Duration::from_secs(30);

/// Runs as long as somebody takes from the queue.
pub(super) async fn keep(issuer: Weak<Issuer>) {
    let mut count_at = Instant::now();
    loop {
        let Some(system) = issuer.upgrade().filter(|issuer| !issuer.shelf.is_closed()).map(|issuer| issuer.system.clone()) else {
            return;
        };
        let counts = count_at <= Instant::now();
        if counts {
            count_at = Instant::now() + COUNT;
        }
        let changed = system.places_changed.notified();
        let next = match round(&system, counts).await {
            Ok(next) => next.map_or(COUNT, |next| between(Timestamp::now(), next)),
            Err(error) => {
                tracing::warn!("cannot see whether parked jobs have waited for too long: {error}");
                Duration::from_secs(5)
            }
        };
        let next = next.clamp(Duration::from_millis(100), count_at.saturating_duration_since(Instant::now()).max(LOOK / 30));
        let _changed = tokio::time::timeout(next, changed).await;
    }
}

/// Looks at the places where something is due; answers when the next is.
async fn round(system: &Arc<System>, counts: bool) -> Result<Option<Timestamp>, QueueError> {
    let known: Vec<_> = system.places().iter().map(|(place, due)| (place.clone(), *due)).collect();
    let mut first: Option<Timestamp> = None;
    for (place, due) in known {
        let wanted = topology::place(&system.home, &place);
        let is_due = due.is_some_and(|due| due <= Timestamp::now());
        let unknown = due.is_none() && counts && topology::waiting(system, &wanted.name).await? > 0;
        let mut next = due;
        if is_due || unknown {
            // what is parked meanwhile notes its own time
            system.places().insert(place.clone(), None);
            next = look(system, &wanted.name).await?;
            let mut places = system.places();
            let noted = places.entry(place).or_default();
            next = next.into_iter().chain(*noted).min();
            *noted = next;
        }
        first = first.into_iter().chain(next).min();
    }
    Ok(first)
}

/// Brings home what is due, and answers when the next one is.
async fn look(system: &Arc<System>, queue: &Arc<str>) -> Result<Option<Timestamp>, QueueError> {
    let Some(url) = system.find(queue).await? else { return Ok(None) };
    let calls = Calls::new(system.client().await, &url, queue, &system.place);
    for issuer in system.taking(queue) {
        for (handle, item) in issuer.shelf.overdue(Timestamp::now()) {
            bring_home(system, &calls, item.message, item.id, handle).await?;
        }
    }
    loop {
        let messages = calls.receive(Ask { most: super::batch::MOST, lease: LOOK, wait: Duration::ZERO }).await?;
        let came: Vec<Came> = messages.into_iter().filter_map(|received| wire::read(received, system.fifo)).collect();
        let (none, now) = (came.is_empty(), Timestamp::now());
        let mut next = None;
        for Came { message, id, handle, due, .. } in came {
            match due.filter(|due| *due > now) {
                None => bring_home(system, &calls, message, id, handle).await?,
                Some(due) => {
                    next = next.into_iter().chain([due]).min();
                    calls.visibility.send((handle, 0), 0).await?;
                }
            }
        }
        if none || next.is_some() {
            // what somebody holds, or is hidden from us for another reason, is looked at again
            let held = || after(now, LOOK);
            return Ok(next.or_else(|| system.taking(queue).iter().any(|issuer| issuer.shelf.holds()).then(held)));
        }
    }
}

async fn bring_home(system: &System, calls: &Calls, message: Message, id: Arc<str>, handle: Arc<str>) -> Result<(), QueueError> {
    system.send(&home(&system.home), &Outgoing { message, id: Some(id), due: None, priority: None }).await?;
    match calls.deletes.send(handle, 0).await {
        // it may come twice
        Err(QueueError::LeaseLost) | Ok(()) => Ok(()),
        failed => failed,
    }
}
