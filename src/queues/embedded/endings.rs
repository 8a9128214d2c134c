//! The ends of jobs with their events, many to a row: a commit adds one block, however many jobs ended in it.
//!
//! A block is a sequence of entries, each led by its length; numbers are little-endian.

use std::sync::Arc;

use bytes::Bytes;

use super::place::{EndKind, QueueNumber};
use super::waiting::Waiting;
use crate::ports::{End, Ending};

/// A block that has grown to this many bytes is closed; larger ones cost fresh memory from the kernel each time.
pub(super) const FULL_BLOCK: usize = 60 << 10;

/// One kept ending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub number: i64,
    pub kind: EndKind,
    pub home: QueueNumber,
    pub priority: u8,
    /// Milliseconds since 1970, as are all times here.
    pub submitted: i64,
    pub at: i64,
    pub id: Arc<str>,
    /// Who discarded it, or the reason of a dead letter kept elsewhere.
    pub note: Arc<str>,
    pub event: Option<Bytes>,
}

/// The numbers that lead an entry: its length, number, kind, home, priority, submitted, at.
const LEAD: usize = 4 + 8 + 1 + 2 + 1 + 8 + 8;

/// Appends the ending of a job to a block.
pub(super) fn append(block: &mut Vec<u8>, number: i64, job: &Waiting, ending: &Ending) {
    let note: &str = match &ending.end {
        End::Completed | End::Moved => "",
        End::Discarded { by } => by,
        End::DeadLettered(reason) => reason.as_str(),
    };
    let start = block.len();
    block.extend_from_slice(&[0; 4]);
    block.extend_from_slice(&number.to_le_bytes());
    block.push(EndKind::of(&ending.end) as u8);
    block.extend_from_slice(&job.home.to_le_bytes());
    block.push(job.priority);
    block.extend_from_slice(&job.submitted.to_le_bytes());
    block.extend_from_slice(&ending.at.as_millisecond().to_le_bytes());
    for text in [&*job.id, note] {
        block.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        block.extend_from_slice(text.as_bytes());
    }
    block.extend_from_slice(ending.event.as_deref().unwrap_or_default());
    let length = u32::try_from(block.len() - start - 4).unwrap_or(u32::MAX);
    block[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// The entries of a block, oldest first; ends early where the block is torn.
pub(super) fn entries(block: &Bytes) -> impl Iterator<Item = Kept> {
    let mut rest = block.clone();
    std::iter::from_fn(move || {
        let length = u32::from_le_bytes(*rest.first_chunk()?) as usize;
        if rest.len() < 4 + length {
            return None;
        }
        let entry = rest.split_to(4 + length);
        read(&entry)
    })
}

fn read(entry: &Bytes) -> Option<Kept> {
    let mut rest = entry.slice(LEAD.min(entry.len())..);
    let number = |at: usize| entry.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(i64::from_le_bytes);
    let mut text = || {
        let length = u32::from_le_bytes(*rest.first_chunk()?) as usize;
        let found = std::str::from_utf8(rest.get(4..4 + length)?).ok()?.into();
        rest = rest.slice(4 + length..);
        Some(found)
    };
    Some(Kept {
        number: number(4)?,
        kind: EndKind::from_number(i64::from(*entry.get(12)?)),
        home: u16::from_le_bytes([*entry.get(13)?, *entry.get(14)?]),
        priority: *entry.get(15)?,
        submitted: number(16)?,
        at: number(24)?,
        id: text()?,
        note: text()?,
        event: Some(rest).filter(|event| !event.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::place::Place;
    use super::super::waiting::Stored;
    use super::*;
    use crate::job::Message;

    #[test]
    fn endings_are_read_back_from_their_block_and_a_torn_block_ends_early() {
        let job = Stored { id: "order-1".into(), digest: 0, priority: 9, sorted: None, message: Message::default() };
        let job = Waiting { place: Place::NONE, home: 7, submitted: 5, unsettled: 0, job: job.into() };
        let at = jiff::Timestamp::from_millisecond(1_790_000_000_123).unwrap();
        let mut block = Vec::new();
        append(&mut block, 1, &job, &Ending { end: End::Completed, event: Some(Bytes::from_static(b"{}")), at });
        append(&mut block, 2, &job, &Ending { end: End::Discarded { by: "ann".into() }, event: None, at });
        let block = Bytes::from(block);
        let read: Vec<Kept> = entries(&block).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].number, &*read[0].id, read[0].event.as_deref()), (1, "order-1", Some(&b"{}"[..])));
        assert_eq!((read[1].kind, read[1].home, read[1].priority, &*read[1].note), (EndKind::Discarded, 7, 9, "ann"));
        assert_eq!((read[1].submitted, read[1].at), (5, 1_790_000_000_123));
        assert_eq!(entries(&block.slice(..block.len() - 1)).count(), 1);
    }
}
