//! Dead letters as operators see them, whatever kind of queue holds them: read, matched, listed, and made ready to go again.

pub mod desk;
pub mod window;

use std::sync::Arc;

use jiff::Timestamp;

use crate::clock::between;
use crate::job::decode::{Received, decode};
use crate::job::failure::{Death, hex};
use crate::job::{DEFAULT_PRIORITY, Decoding, FAILURE_HEADER, FailureDocument, JOB_HEADER, Life, Message, Origin};
use crate::outcome::{Class, OtherReason, Reason};
use crate::ports::{Entry, Filter, State};

/// A dead letter, read.
pub struct Letter {
    pub message: Message,
    pub failure: FailureDocument,
    pub published: Option<Timestamp>,
}

/// What another system noted of a message that it gave up.
#[derive(Debug, PartialEq, Eq)]
pub struct Foreign {
    pub class: Class,
    /// A sentence: who, why, how often.
    pub message: String,
    pub at: Option<Timestamp>,
    /// Where the message was then.
    pub queue: Arc<str>,
}

/// The failure document that we wrote.
#[must_use]
pub fn ours(message: &Message) -> Option<FailureDocument> {
    serde_json::from_slice(message.header(FAILURE_HEADER)?).ok()
}

/// The failure document of a letter of another system: its reason is `foreign`. `id` is the message's own, where it has one.
#[must_use]
pub fn foreign(message: &Message, id: Option<Arc<str>>, published: Option<Timestamp>, told: Foreign) -> FailureDocument {
    let id = id.unwrap_or_else(|| digest(message));
    let now = told.at.or(published).unwrap_or(Timestamp::UNIX_EPOCH);
    let origin = Origin { queue: told.queue, id: Some(id.clone()), ..Origin::default() };
    let job = decode(message, &Decoding::Envelope, &Received { origin: origin.clone(), published, now }).ok();
    let id = job.as_ref().map_or(id, |job| job.id.clone());
    let life = Life { origin: Some(origin), first_seen: published, ..Life::default() };
    let reason = Reason::Other(OtherReason::Foreign);
    let death = Death { reason, class: told.class, message: &told.message, log_tail: String::new(), now };
    FailureDocument {
        kind: job.as_ref().map(|job| job.kind.clone()),
        tenant: job.map(|job| job.tenant),
        ..FailureDocument::new(&id, &life, death)
    }
}

/// Names a message that has no name: the same each time it is looked at.
fn digest(message: &Message) -> Arc<str> {
    let key = message.key.as_deref().unwrap_or_default();
    let parts = [xxhash_rust::xxh3::xxh3_128(&message.body), xxhash_rust::xxh3::xxh3_128(key)];
    format!("unnamed-{}", hex(&(parts[0] ^ parts[1].rotate_left(1)).to_be_bytes()[..8])).into()
}

/// Whether a filter asks for dead letters at all, and for those of this queue.
#[must_use]
pub fn asked_for(filter: &Filter, queue: &str) -> bool {
    let here = filter.queue.as_ref().is_none_or(|named| is_of(named, queue));
    here && filter.state.is_none_or(|state| state == State::Dead)
}

/// Whether a name means this queue, or the dead letters beside it.
#[must_use]
pub fn is_of(named: &str, queue: &str) -> bool {
    named == queue || named.strip_suffix(".dead") == Some(queue)
}

#[must_use]
pub fn matches(filter: &Filter, failure: &FailureDocument, message: &Message, now: Timestamp) -> bool {
    let is = |wanted: &Option<String>, found: Option<&str>| wanted.as_ref().is_none_or(|wanted| found == Some(wanted));
    let kind = filter.kind.as_ref().is_none_or(|glob| {
        let kind = failure.kind.as_deref().unwrap_or_default();
        glob.strip_suffix('*').map_or(kind == glob, |start| kind.starts_with(start))
    });
    let age = between(failure.last_failure, now);
    let text = filter
        .text
        .as_ref()
        .is_none_or(|text| failure.message.contains(text) || String::from_utf8_lossy(&message.body).contains(text.as_str()));
    kind && text
        && is(&filter.reason, Some(failure.reason.as_str()))
        && is(&filter.class, Some(failure.class.as_str()))
        && is(&filter.route, failure.route.as_deref())
        && is(&filter.tenant, failure.tenant.as_deref())
        && filter.older_than.is_none_or(|least| age >= least.0)
        && filter.newer_than.is_none_or(|most| age <= most.0)
}

/// A letter in a list; `whole` for one that is looked at alone.
#[must_use]
pub fn entry(queue: &Arc<str>, letter: &Letter, whole: bool) -> Entry {
    let Letter { message, failure, published } = letter;
    Entry {
        queue: queue.clone(),
        id: failure.id.clone(),
        state: State::Dead,
        kind: failure.kind.clone(),
        tenant: failure.tenant.clone(),
        priority: DEFAULT_PRIORITY,
        submitted: failure.first_seen.or(*published).unwrap_or(failure.last_failure),
        due: None,
        ended: Some(published.unwrap_or(failure.last_failure)),
        life: failure.life(),
        failure: Some(failure.clone()),
        event: None,
        size: message.size(),
        message: whole.then(|| message.clone()),
    }
}

/// The message of a letter as it goes back to be run: what is to be counted begins anew.
#[must_use]
pub fn again(letter: &Letter) -> Message {
    let mut message = letter.message.clone();
    message.remove_header(FAILURE_HEADER);
    message.set_header(JOB_HEADER, letter.failure.life().replayed().to_json());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Foreign {
        Foreign { class: Class::Rejected, message: "rejected twice".into(), at: None, queue: "orders".into() }
    }

    #[test]
    fn a_letter_of_another_system_is_named_after_its_job_its_message_or_its_bytes() {
        let named = |body: &str, id: Option<&str>| foreign(&Message::of(body.to_owned()), id.map(Into::into), None, told());
        let job = named(r#"{"id":"job-1","type":"t"}"#, Some("message-1"));
        assert_eq!((&*job.id, job.kind.as_deref()), ("job-1", Some("t")));
        assert_eq!(&*named(r#"{"type":"t"}"#, Some("message-1")).id, "message-1");
        let (one, other) = (named("one", None), named("other", None));
        assert_eq!(one.id, named("one", None).id, "it must be found again");
        assert_ne!(one.id, other.id);
        assert_eq!((one.reason.as_str(), one.kind), ("foreign", None));
    }

    #[test]
    fn a_job_that_goes_again_is_the_message_with_a_new_life() {
        let mut message = Message::of("x");
        let failure = FailureDocument { attempts: 7, crashes: 2, ..foreign(&message, Some("a".into()), None, told()) };
        message.set_header(FAILURE_HEADER, failure.to_json());
        let sent = again(&Letter { message, failure, published: None });
        assert!(sent.header(FAILURE_HEADER).is_none());
        let life: Life = serde_json::from_slice(sent.header(JOB_HEADER).unwrap()).unwrap();
        assert_eq!((life.attempt, life.crashes, life.replay, life.id.as_deref()), (0, 0, 1, Some("a")));
    }
}
