//! The slot file beside the database: which jobs are running, so that a death of the process is held against them alone.
//!
//! It is never synced: the page cache outlives a killed process, and a power cut is nobody's suspicion. Entries of jobs
//! that have ended stay until their slot is used again; places are never reused, so they name nothing by then.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::place::Place;

const MAGIC: &[u8; 8] = b"windlass";
const HEADER: usize = 16;
const IN_USE: u64 = 1;
const CLEAN: u64 = 2;

pub(super) struct SlotFile {
    file: File,
    /// What the file holds behind its header.
    places: Vec<u8>,
}

/// `<path>.slots`.
pub(super) fn slots_path(database: &Path) -> PathBuf {
    super::file::beside(database, "slots")
}

/// The places that were leased when the last owner died; none after a clean close.
pub(super) fn left_running(database: &Path) -> io::Result<Vec<Place>> {
    let content = match std::fs::read(slots_path(database)) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let Some((header, places)) = content.split_at_checked(HEADER) else { return Ok(Vec::new()) };
    if header[..8] != *MAGIC || header[8..] != IN_USE.to_le_bytes() {
        return Ok(Vec::new());
    }
    let mut places: Vec<Place> = places.as_chunks::<8>().0.iter().map(|bytes| Place(i64::from_le_bytes(*bytes))).collect();
    places.sort_unstable();
    places.dedup();
    places.retain(|place| place.0 > 0);
    Ok(places)
}

impl SlotFile {
    /// Starts the file anew, without entries.
    pub fn create(database: &Path) -> io::Result<Self> {
        let file = File::create(slots_path(database))?;
        let slots = SlotFile { file, places: Vec::new() };
        slots.write_header(IN_USE)?;
        Ok(slots)
    }

    fn write_header(&self, state: u64) -> io::Result<()> {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..].copy_from_slice(&state.to_le_bytes());
        self.file.write_all_at(&header, 0)
    }

    /// Sets slots in one write. A failure costs suspicion, never a job, so it is only told to the log.
    pub fn set(&mut self, entries: &[(usize, Place)]) {
        let Some(first) = entries.iter().map(|(slot, _)| slot * 8).min() else { return };
        let end = entries.iter().map(|(slot, _)| slot * 8 + 8).max().unwrap_or(first);
        if self.places.len() < end {
            self.places.resize(end, 0);
        }
        for (slot, place) in entries {
            self.places[slot * 8..slot * 8 + 8].copy_from_slice(&place.0.to_le_bytes());
        }
        if let Err(error) = self.file.write_all_at(&self.places[first..end], (HEADER + first) as u64) {
            tracing::warn!(%error, "cannot note which jobs are running; a crash of this process would not be counted against them");
        }
    }

    /// Says that the owner stopped in order: nothing is suspected at the next start.
    pub fn mark_clean(&self) -> io::Result<()> {
        self.write_header(CLEAN)
    }
}

#[cfg(test)]
mod tests {
    use super::super::place::Lane;
    use super::*;

    fn place(sequence: i64) -> Place {
        Place::new(1, Lane(5), sequence)
    }

    #[test]
    fn what_was_running_is_known_after_an_unclean_end_and_only_then() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("windlass.db");
        assert!(left_running(&database).unwrap().is_empty());
        let mut slots = SlotFile::create(&database).unwrap();
        slots.set(&[(3, place(7)), (0, place(9))]);
        slots.set(&[(0, Place::NONE), (1, place(7))]);
        assert_eq!(left_running(&database).unwrap(), [place(7)]);
        slots.mark_clean().unwrap();
        assert!(left_running(&database).unwrap().is_empty());
    }

    #[test]
    fn a_torn_or_foreign_file_suspects_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("windlass.db");
        for content in [&b"wind"[..], b"something else entirely", b"windlass\x01\0\0\0\0\0\0\0\x07\x07"] {
            std::fs::write(slots_path(&database), content).unwrap();
            assert!(left_running(&database).unwrap().is_empty());
        }
    }
}
