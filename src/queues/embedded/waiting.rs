//! A job as the store holds it in memory, and its message in the columns of its row.

use std::sync::Arc;

use bytes::Bytes;

use super::place::{Place, QueueNumber};
use super::sorted::Sorted;
use crate::job::{FAILURE_HEADER, Header, JOB_HEADER, Life, Message};

/// A job that is ready or leased: what changes with its place, and the rest, which is shared.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub place: Place,
    /// The queue it was submitted to.
    pub home: QueueNumber,
    /// Milliseconds since 1970.
    pub submitted: i64,
    /// Leases that ended neither settled nor given back.
    pub unsettled: u32,
    pub job: Arc<Stored>,
}

/// What stays the same wherever a job stands.
#[derive(Debug)]
pub(super) struct Stored {
    pub id: Arc<str>,
    /// Its part of the sums in its home's ledger.
    pub digest: u128,
    pub priority: u8,
    /// Its part of the backlog; none where no source has said how to sort.
    pub sorted: Option<Sorted>,
    /// As it is delivered: with the header of its life or, in dead letters, of its failure.
    pub message: Message,
}

impl std::ops::Deref for Waiting {
    type Target = Stored;

    fn deref(&self) -> &Stored {
        &self.job
    }
}

impl Waiting {
    /// The same job with a rewritten life.
    pub fn with_life(&self, place: Place, life: &Bytes) -> Self {
        let mut message = self.message.clone();
        message.set_header(JOB_HEADER, life.clone());
        let job = Arc::new(Stored { id: self.id.clone(), message, ..*self.job });
        Waiting { place, job, ..*self }
    }
}

/// The parts of a message that have columns of their own.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    /// The headers but for the two below; none is `None`.
    pub headers: Option<Vec<u8>>,
    pub life: Option<Bytes>,
    pub failure: Option<Bytes>,
}

impl Parts {
    /// None of a message without headers.
    pub fn of(message: &Message) -> Option<Box<Self>> {
        (!message.headers.is_empty()).then(|| {
            Box::new(Parts {
                headers: encode_headers(&message.headers),
                life: message.header(JOB_HEADER).cloned(),
                failure: message.header(FAILURE_HEADER).cloned(),
            })
        })
    }

    /// Whether the job waits without spending attempts.
    pub fn is_parked(&self) -> bool {
        let life = self.life.as_deref().and_then(|life| serde_json::from_slice::<Life>(life).ok());
        life.is_some_and(|life| life.park.is_some())
    }

    /// All headers of the message. Of a dead letter the life is in the failure.
    pub fn into_headers(self) -> Vec<Header> {
        let mut headers = self.headers.map_or_else(Vec::new, |encoded| decode_headers(&Bytes::from(encoded)));
        headers.extend(self.life.filter(|_| self.failure.is_none()).map(|life| Header::new(JOB_HEADER, life)));
        headers.extend(self.failure.map(|failure| Header::new(FAILURE_HEADER, failure)));
        headers
    }
}

/// Each header as the lengths of its name and value (two and four bytes, little-endian) and the two themselves.
fn encode_headers(headers: &[Header]) -> Option<Vec<u8>> {
    let mut encoded = Vec::new();
    for header in headers.iter().filter(|header| !is_ours(&header.name)) {
        let (Ok(name), Ok(value)) = (u16::try_from(header.name.len()), u32::try_from(header.value.len())) else { continue };
        encoded.extend_from_slice(&name.to_le_bytes());
        encoded.extend_from_slice(&value.to_le_bytes());
        encoded.extend_from_slice(header.name.as_bytes());
        encoded.extend_from_slice(&header.value);
    }
    (!encoded.is_empty()).then_some(encoded)
}

fn is_ours(name: &str) -> bool {
    name == JOB_HEADER || name == FAILURE_HEADER
}

fn decode_headers(encoded: &Bytes) -> Vec<Header> {
    let mut headers = Vec::new();
    let mut at = 0;
    while let Some(lengths) = encoded.get(at..at + 6) {
        let name = usize::from(u16::from_le_bytes([lengths[0], lengths[1]]));
        let value = u32::from_le_bytes([lengths[2], lengths[3], lengths[4], lengths[5]]) as usize;
        let (start, end) = (at + 6 + name, at + 6 + name + value);
        if end > encoded.len() {
            break;
        }
        let name = String::from_utf8_lossy(&encoded[at + 6..start]);
        headers.push(Header { name: name.into(), value: encoded.slice(start..end) });
        at = end;
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_any_bytes_are_read_back_with_ours_last() {
        let mut message = Message::of("body");
        message.headers.push(Header::new(JOB_HEADER, "{}"));
        message.headers.push(Header::new("x", vec![0xff, 0]));
        message.headers.push(Header::new("x", ""));
        let headers = Parts::of(&message).unwrap().into_headers();
        assert_eq!(headers, [Header::new("x", vec![0xff, 0]), Header::new("x", ""), Header::new(JOB_HEADER, "{}")]);
    }

    #[test]
    fn a_message_without_headers_has_no_header_column() {
        assert!(Parts::of(&Message::of("body")).is_none());
        let mut message = Message::of("body");
        message.headers.push(Header::new(JOB_HEADER, "{}"));
        assert!(Parts::of(&message).unwrap().headers.is_none());
    }
}
