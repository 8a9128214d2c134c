//! A sorted run of entries in chunks of one page each, with a filter that mostly tells without a read what is not in it.

use rusqlite::{Connection, OptionalExtension, params};

/// What is known of one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// A [`Standing`](super::super::place::Standing) as its column.
    pub standing: i64,
    /// When it came to stand there or ended, in seconds since 1970.
    pub at: i64,
}

/// Digest, standing, and 32 bits of the time; big-endian, so that bytes are in the order of the digests.
const ENTRY: usize = 16 + 8 + 4;
/// As many fit into one page of the file.
const CHUNK: usize = 580;
/// Chunks of a segment are numbered in the low bits of their row's key.
const CHUNK_BITS: u32 = 20;

pub(super) fn append(bytes: &mut Vec<u8>, digest: u128, entry: Entry) {
    bytes.extend_from_slice(&digest.to_be_bytes());
    bytes.extend_from_slice(&entry.standing.to_be_bytes());
    bytes.extend_from_slice(&u32::try_from(entry.at).unwrap_or_default().to_be_bytes());
}

pub(super) fn entries(bytes: &[u8]) -> impl Iterator<Item = (u128, Entry)> {
    bytes.as_chunks::<ENTRY>().0.iter().map(read)
}

fn read(bytes: &[u8; ENTRY]) -> (u128, Entry) {
    let (digest, rest) = bytes.split_at(16);
    let (standing, at) = rest.split_at(8);
    let standing = standing.try_into().map_or(0, i64::from_be_bytes);
    let at = at.try_into().map_or(0, u32::from_be_bytes);
    (digest.try_into().map_or(0, u128::from_be_bytes), Entry { standing, at: i64::from(at) })
}

/// What is kept of a segment in memory.
pub(crate) struct Segment {
    pub number: i64,
    pub count: i64,
    /// Entries of jobs that had ended.
    pub ended: i64,
    /// The latest time in it, in seconds since 1970.
    pub newest: i64,
    /// The first digest of each chunk.
    fences: Vec<u128>,
    filter: Filter,
}

impl Segment {
    pub fn read_all(connection: &Connection) -> rusqlite::Result<Vec<Self>> {
        let mut select =
            connection.prepare("SELECT number, count, ended, newest, fences, filter FROM known_segments ORDER BY number")?;
        let segments = select.query_map([], |row| {
            Ok(Segment {
                number: row.get(0)?,
                count: row.get(1)?,
                ended: row.get(2)?,
                newest: row.get(3)?,
                fences: row.get_ref(4)?.as_blob()?.as_chunks().0.iter().map(|bytes| u128::from_be_bytes(*bytes)).collect(),
                filter: Filter::from_bytes(row.get_ref(5)?.as_blob()?),
            })
        })?;
        segments.collect()
    }

    /// Writes sorted entries.
    pub fn write(connection: &Connection, number: i64, entries: &[(u128, Entry)]) -> rusqlite::Result<Self> {
        let mut segment = Segment {
            number,
            count: entries.len() as i64,
            ended: entries.iter().filter(|(_, entry)| entry.standing < 0).count() as i64,
            newest: entries.iter().map(|(_, entry)| entry.at).max().unwrap_or_default(),
            fences: entries.chunks(CHUNK).map(|chunk| chunk[0].0).collect(),
            filter: Filter::for_entries(entries.len()),
        };
        let mut insert = connection.prepare_cached("INSERT INTO known(place, entries) VALUES(?, ?)")?;
        let mut bytes = Vec::with_capacity(CHUNK * ENTRY);
        for (place, chunk) in (segment.rows().0..).zip(entries.chunks(CHUNK)) {
            bytes.clear();
            for (digest, entry) in chunk {
                append(&mut bytes, *digest, *entry);
                segment.filter.add(*digest);
            }
            insert.execute(params![place, bytes])?;
        }
        let fences: Vec<u8> = segment.fences.iter().flat_map(|fence| fence.to_be_bytes()).collect();
        let Segment { count, ended, newest, filter, .. } = &segment;
        connection
            .prepare_cached("INSERT INTO known_segments(number, count, ended, newest, fences, filter) VALUES(?, ?, ?, ?, ?, ?)")?
            .execute(params![number, count, ended, newest, fences, filter.to_bytes()])?;
        Ok(segment)
    }

    /// The keys of the first and the last row that its chunks may have.
    pub fn rows(&self) -> (i64, i64) {
        (self.number << CHUNK_BITS, ((self.number + 1) << CHUNK_BITS) - 1)
    }

    pub fn may_hold(&self, digest: u128) -> bool {
        self.filter.may_hold(digest)
    }

    pub fn get(&self, connection: &Connection, digest: u128) -> rusqlite::Result<Option<Entry>> {
        let Some(chunk) = self.fences.partition_point(|fence| *fence <= digest).checked_sub(1) else { return Ok(None) };
        let mut select = connection.prepare_cached("SELECT entries FROM known WHERE place = ?")?;
        let find = |row: &rusqlite::Row<'_>| {
            let entries = row.get_ref(0)?.as_blob()?.as_chunks::<ENTRY>().0;
            let at = entries.binary_search_by_key(&digest, |bytes| read(bytes).0);
            Ok(at.ok().map(|at| read(&entries[at]).1))
        };
        select.query_row([self.rows().0 + chunk as i64], find).optional().map(Option::flatten)
    }

    /// All its entries.
    pub fn entries(&self, connection: &Connection) -> rusqlite::Result<Vec<(u128, Entry)>> {
        let (first, last) = self.rows();
        let mut select = connection.prepare_cached("SELECT entries FROM known WHERE place BETWEEN ? AND ? ORDER BY place")?;
        let mut rows = select.query([first, last])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.extend(entries(row.get_ref(0)?.as_blob()?));
        }
        Ok(all)
    }
}

/// A Bloom filter whose bits for one digest lie in one word: a look costs one read of memory. With 16 bits for each entry
/// one digest in two hundred is taken for known and then looked up in vain.
struct Filter {
    words: Vec<u64>,
}

impl Filter {
    fn for_entries(count: usize) -> Self {
        Filter { words: vec![0; (count / 4).next_power_of_two()] }
    }

    /// The word of a digest by its upper half, five bits of the word by its lower half.
    fn place(&self, digest: u128) -> (usize, u64) {
        let lower = digest as u64;
        let bits = (0..5).fold(0, |bits, part| bits | 1 << (lower >> (6 * part) & 63));
        ((digest >> 64) as usize & (self.words.len() - 1), bits)
    }

    fn add(&mut self, digest: u128) {
        let (word, bits) = self.place(digest);
        self.words[word] |= bits;
    }

    fn may_hold(&self, digest: u128) -> bool {
        let (word, bits) = self.place(digest);
        self.words.get(word).is_some_and(|word| word & bits == bits)
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let words: Vec<u64> = bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        // a filter that was cut short says yes to everything
        if words.len().is_power_of_two() { Filter { words } } else { Filter { words: vec![u64::MAX] } }
    }
}
