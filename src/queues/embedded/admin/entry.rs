//! One job as operators see it, from its row or from its ending.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::value::RawValue;

use super::super::endings::{self, Kept};
use super::super::located::Located;
use super::super::place::{EndKind, Place, QueueNumber, Standing};
use super::super::rows::{self, COLUMNS};
use super::super::store::Shared;
use super::super::waiting::Waiting;
use super::super::writer::act::{ended_state, standing_state};
use crate::job::decode::{Received, decode};
use crate::job::{DEFAULT_PRIORITY, Decoding, FAILURE_HEADER, FailureDocument, Life, Message, Origin};
use crate::ports::{Entry, State};

/// A job's row; what must be decoded for it is decoded when it is asked for.
pub(super) struct Listed {
    pub job: Waiting,
    pub life: Life,
    pub due: Option<i64>,
    pub state: State,
    /// Of a dead letter, as it was published.
    event: Option<Vec<u8>>,
}

impl Listed {
    /// Reads the row at a place.
    pub fn read(shared: &Shared, connection: &Connection, place: Place) -> rusqlite::Result<Option<Self>> {
        let select = format!("SELECT {COLUMNS}, due, event FROM jobs WHERE place = ?");
        let read = |row: &Row<'_>| Ok((rows::waiting(row, &shared.registry)?, rows::life(row)?, row.get(11)?, row.get(12)?));
        let found = connection.prepare_cached(&select)?.query_row([place.0], read).optional()?;
        Ok(found.map(|(job, life, due, event)| {
            let queue = shared.registry.numbered(place.queue());
            let leased = place.lane().is_ready() && shared.leases().is_leased(place);
            let state = match queue {
                _ if leased => State::Running,
                Some(queue) => standing_state(&queue, place.lane()),
                None => State::Waiting,
            };
            Listed { job, life, due, state, event }
        }))
    }

    pub fn failure(&self) -> Option<FailureDocument> {
        self.job.message.header(FAILURE_HEADER).and_then(|json| serde_json::from_slice(json).ok())
    }

    /// When it died, or was submitted.
    pub fn since(&self, failure: Option<&FailureDocument>) -> Timestamp {
        failure.filter(|_| self.state == State::Dead).map_or(time(self.job.submitted), |failure| failure.last_failure)
    }

    pub fn into_entry(self, shared: &Shared) -> Entry {
        let failure = self.failure();
        let (kind, tenant) = match &failure {
            Some(FailureDocument { kind: Some(kind), tenant, .. }) => (Some(kind.clone()), tenant.clone()),
            _ => named(&self.job.message),
        };
        Entry {
            queue: queue_name(shared, self.job.home),
            id: self.job.id.clone(),
            state: self.state,
            kind,
            tenant,
            priority: self.job.priority,
            submitted: time(self.job.submitted),
            due: self.due.map(time),
            ended: failure.as_ref().filter(|_| self.state == State::Dead).map(|failure| failure.last_failure),
            life: self.life,
            failure,
            event: self.event.and_then(event_text),
            size: self.job.message.size(),
            message: None,
        }
    }
}

fn queue_name(shared: &Shared, number: QueueNumber) -> std::sync::Arc<str> {
    shared.registry.numbered(number).map_or_else(|| number.to_string().into(), |queue| queue.name.clone())
}

pub(super) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_default()
}

type Text = Option<std::sync::Arc<str>>;

/// The type and tenant of a message, where it carries them itself.
pub(super) fn named(message: &Message) -> (Text, Text) {
    let received = Received { origin: Origin::default(), published: None, now: Timestamp::UNIX_EPOCH };
    let job = decode(message, &Decoding::Envelope, &received).ok();
    job.map_or((None, None), |job| (Some(job.kind), Some(job.tenant)))
}

/// The parts of an event that name the job.
#[derive(Default, serde::Deserialize)]
pub(super) struct EventNames {
    #[serde(default)]
    pub jobtype: Text,
    #[serde(default)]
    pub tenant: Text,
}

pub(super) fn event_names(kept: &Kept) -> EventNames {
    kept.event.as_deref().and_then(|event| serde_json::from_slice(event).ok()).unwrap_or_default()
}

fn event_text(event: Vec<u8>) -> Option<Box<RawValue>> {
    RawValue::from_string(String::from_utf8(event).ok()?).ok()
}

/// A kept ending as an entry.
pub(super) fn of_ending(shared: &Shared, kept: Kept) -> Entry {
    let names = event_names(&kept);
    Entry {
        queue: queue_name(shared, kept.home),
        id: kept.id,
        state: ended_state(kept.kind),
        kind: names.jobtype,
        tenant: names.tenant,
        priority: kept.priority,
        submitted: time(kept.submitted),
        due: None,
        ended: Some(time(kept.at)),
        life: Life::default(),
        failure: None,
        event: kept.event.and_then(|event| event_text(event.into())),
        size: 0,
        message: None,
    }
}

/// The job that was located; none when it has moved since.
pub(super) fn read(shared: &Shared, connection: &Connection, located: Located, id: &str) -> rusqlite::Result<Option<Entry>> {
    match located.standing {
        Standing::At(place) => Ok(Listed::read(shared, connection, place)?.map(|listed| {
            let message = listed.job.message.clone();
            Entry { message: Some(message), ..listed.into_entry(shared) }
        })),
        Standing::Ended(kind, number) => {
            let kept = kept_ending(connection, number)?;
            let kept = kept.unwrap_or_else(|| forgotten(located.home, id, located.at * 1000, kind));
            Ok(Some(of_ending(shared, kept)))
        }
    }
}

fn kept_ending(connection: &Connection, number: i64) -> rusqlite::Result<Option<Kept>> {
    let mut select = connection.prepare_cached("SELECT block FROM endings WHERE first <= ? ORDER BY first DESC LIMIT 1")?;
    let block: Option<Vec<u8>> = select.query_row(params![number], |row| row.get(0)).optional()?;
    Ok(block.and_then(|block| endings::entries(&block.into()).find(|kept| kept.number == number)))
}

/// What is still known of a job whose ending is no longer kept: that it ended, and when.
fn forgotten(home: QueueNumber, id: &str, at: i64, kind: EndKind) -> Kept {
    let priority = DEFAULT_PRIORITY;
    Kept { number: 0, kind, home, priority, submitted: at, at, id: id.into(), note: "".into(), event: None }
}
