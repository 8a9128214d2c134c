//! What waits in a queue, in fair turns: tenants in turn, within a tenant higher priorities first and types in turn,
//! within a type in order.
//!
//! Sixteen bytes for each job that waits, so that a tenant's ten jobs are found behind a million of another's. What a
//! taker has enough of (a [`Strand`](crate::ports::Strand)) is shut: passed over until it is opened, and then in order.

mod line;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use super::place::{Lane, Place};
use super::sorted::{Sorted, Spreading};
pub(super) use line::Entry;
use line::{Keys, Line};

/// Jobs that are held here at most; each stream counts as [`STREAM`] of them. What is beyond waits in the file, in the
/// order of its arrival, until there is room.
const MOST: usize = 4_000_000;
const STREAM: usize = 32;
/// Streams that are kept although nothing waits in them, since most fill again at once.
const IDLE: usize = 256;

#[derive(Default)]
pub(super) struct Backlog {
    jobs: usize,
    streams: HashMap<u64, Stream, Spreading>,
    tenants: HashMap<u64, Tenant, Spreading>,
    /// Tenants that have something to yield, or had when it was last looked at.
    turns: VecDeque<u64>,
    /// Streams that may be empty, oldest first.
    idle: VecDeque<u64>,
}

/// The jobs of one tenant and type.
#[derive(Default)]
struct Stream {
    tenant: u64,
    /// By lane.
    lines: Vec<(Lane, Line)>,
    shut: bool,
    shut_keys: Keys,
    idle: bool,
}

#[derive(Default)]
struct Tenant {
    streams: usize,
    listed: bool,
    /// By lane: the streams that take turns in it.
    lanes: Vec<(Lane, VecDeque<u64>)>,
}

/// A job whose turn it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub sorted: Sorted,
    pub place: Place,
}

impl Backlog {
    pub fn len(&self) -> usize {
        self.jobs
    }

    pub fn has_room(&self) -> bool {
        self.jobs + self.streams.len() * STREAM < MOST
    }

    /// Puts a job where its place says.
    pub fn insert(&mut self, sorted: Sorted, place: Place) {
        let stream = self.stream(sorted);
        stream.line(place.lane()).insert(Entry { place, key: sorted.key });
        self.jobs += 1;
        self.list(sorted.stream, place.lane());
    }

    /// The jobs of a stream in one lane that were never passed over.
    pub fn waiting(&self, stream: u64, lane: Lane) -> usize {
        let lines = self.streams.get(&stream).map(|stream| &stream.lines);
        lines.and_then(|lines| lines.iter().find(|(of, _)| *of == lane)).map_or(0, |(_, line)| line.len())
    }

    fn stream(&mut self, sorted: Sorted) -> &mut Stream {
        self.streams.entry(sorted.stream).or_insert_with(|| {
            self.tenants.entry(sorted.tenant).or_default().streams += 1;
            Stream { tenant: sorted.tenant, ..Stream::default() }
        })
    }

    /// Has a line take turns if it can.
    fn list(&mut self, id: u64, lane: Lane) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.shut) else { return };
        let line = stream.line(lane);
        if line.listed || line.is_empty() {
            return;
        }
        line.listed = true;
        let tenant = self.tenants.entry(stream.tenant).or_default();
        tenant.lane(lane).push_back(id);
        if !tenant.listed {
            tenant.listed = true;
            self.turns.push_back(stream.tenant);
        }
    }

    /// Whose turn it is.
    pub fn head(&mut self) -> Option<Head> {
        while let Some(id) = self.turns.front() {
            if let Some(tenant) = self.tenants.get_mut(id) {
                if let Some(head) = tenant.head(*id, &mut self.streams) {
                    return Some(head);
                }
                tenant.listed = false;
            }
            self.turns.pop_front();
        }
        None
    }

    /// Takes what [`Backlog::head`] has just answered; its tenant and stream go to the end of their lines.
    pub fn pop(&mut self, head: Head) {
        let Sorted { tenant, stream: id, key } = head.sorted;
        let (lane, place) = (head.place.lane(), head.place);
        let (Some(owner), Some(stream)) = (self.tenants.get_mut(&tenant), self.streams.get_mut(&id)) else { return };
        let line = stream.line(lane);
        line.pop(Entry { place, key });
        self.jobs -= 1;
        let ring = owner.lane(lane);
        if line.is_empty() {
            line.listed = false;
            ring.pop_front();
        } else {
            ring.rotate_left(1);
        }
        if owner.lanes.iter().any(|(_, ring)| !ring.is_empty()) {
            self.turns.rotate_left(1);
        } else {
            owner.listed = false;
            self.turns.pop_front();
        }
        self.retire(id);
    }

    /// Yields no more of a strand: of a key if it has one, else of a stream.
    pub fn shut(&mut self, strand: Sorted) {
        let stream = self.stream(strand);
        if strand.key == 0 {
            stream.shut = true;
            return;
        }
        stream.shut_keys.insert(strand.key);
        stream.lines.iter_mut().for_each(|(_, line)| line.shut(strand.key));
    }

    pub fn open(&mut self, strand: Sorted) {
        let Some(stream) = self.streams.get_mut(&strand.stream) else { return };
        if strand.key == 0 {
            stream.shut = false;
        } else if stream.shut_keys.remove(&strand.key) {
            if stream.shut_keys.is_empty() {
                stream.shut_keys = Keys::default();
            }
            stream.lines.iter_mut().for_each(|(_, line)| line.open(strand.key));
        }
        self.list_all(strand.stream);
    }

    /// For a new taker, which has shut nothing.
    pub fn open_all(&mut self) {
        let shut: Vec<u64> = self.streams.iter().filter(|(_, stream)| stream.is_shut()).map(|(id, _)| *id).collect();
        for id in shut {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.shut = false;
            for key in std::mem::take(&mut stream.shut_keys) {
                stream.lines.iter_mut().for_each(|(_, line)| line.open(key));
            }
            self.list_all(id);
        }
    }

    fn list_all(&mut self, id: u64) {
        let lanes: Vec<Lane> =
            self.streams.get(&id).into_iter().flat_map(|stream| &stream.lines).map(|(lane, _)| *lane).collect();
        lanes.into_iter().for_each(|lane| self.list(id, lane));
        self.retire(id);
    }

    /// A stream in which nothing waits is forgotten, in time, and with the last one its tenant.
    fn retire(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.idle && stream.is_unused()) else { return };
        stream.idle = true;
        self.idle.push_back(id);
        if self.idle.len() <= IDLE {
            return;
        }
        let Some(oldest) = self.idle.pop_front() else { return };
        let Some(stream) = self.streams.get_mut(&oldest) else { return };
        stream.idle = false;
        if !stream.is_unused() {
            return;
        }
        let tenant = stream.tenant;
        self.streams.remove(&oldest);
        if let Some(owner) = self.tenants.get_mut(&tenant) {
            owner.streams -= 1;
            if owner.streams == 0 {
                self.tenants.remove(&tenant);
            }
        }
    }

    /// About the next `most` jobs in the order of their turns, the first of them first, but for those to be left out.
    pub fn next(&self, most: usize, left_out: impl Fn(Place) -> bool) -> Vec<Head> {
        let share = most / self.turns.len().clamp(1, most);
        let mut next = Vec::new();
        for id in self.turns.iter().take(most) {
            let Some(tenant) = self.tenants.get(id) else { continue };
            let mut left = share;
            for (lane, ring) in &tenant.lanes {
                let share = left / ring.len().clamp(1, left.max(1));
                for stream in ring.iter().take(left) {
                    let Some((line, shut)) = self.streams.get(stream).and_then(|stream| stream.open_line(*lane)) else {
                        continue;
                    };
                    for entry in line.next(shut).take(share) {
                        left -= 1;
                        if !left_out(entry.place) {
                            let sorted = Sorted { tenant: *id, stream: *stream, key: entry.key };
                            next.push(Head { sorted, place: entry.place });
                        }
                    }
                }
            }
        }
        next
    }

    /// The first place by its sequence.
    pub fn oldest(&self) -> Option<Place> {
        let lines = self.streams.values().flat_map(|stream| &stream.lines);
        lines.filter_map(|(_, line)| line.first()).min_by_key(|place| place.sequence())
    }
}

impl Stream {
    fn line(&mut self, lane: Lane) -> &mut Line {
        let at = match self.lines.binary_search_by_key(&lane, |(of, _)| *of) {
            Ok(at) => at,
            Err(at) => {
                self.lines.reserve_exact(1);
                self.lines.insert(at, (lane, Line::default()));
                at
            }
        };
        &mut self.lines[at].1
    }

    fn open_line(&self, lane: Lane) -> Option<(&Line, &Keys)> {
        let line = self.lines.iter().find(|(of, _)| *of == lane).filter(|_| !self.shut);
        line.map(|(_, line)| (line, &self.shut_keys))
    }

    fn is_shut(&self) -> bool {
        self.shut || !self.shut_keys.is_empty()
    }

    fn is_unused(&self) -> bool {
        !self.is_shut() && self.lines.iter().all(|(_, line)| line.is_empty())
    }
}

impl Tenant {
    fn lane(&mut self, lane: Lane) -> &mut VecDeque<u64> {
        let at = match self.lanes.binary_search_by_key(&lane, |(of, _)| *of) {
            Ok(at) => at,
            Err(at) => {
                self.lanes.reserve_exact(1);
                self.lanes.insert(at, (lane, VecDeque::new()));
                at
            }
        };
        &mut self.lanes[at].1
    }

    /// Of the first lane that has one: the head of the stream whose turn it is. Streams without one leave the line.
    fn head(&mut self, tenant: u64, streams: &mut HashMap<u64, Stream, Spreading>) -> Option<Head> {
        for (lane, ring) in &mut self.lanes {
            while let Some(id) = ring.front().copied() {
                if let Some(stream) = streams.get_mut(&id) {
                    let Stream { lines, shut, shut_keys, .. } = stream;
                    let line = lines.iter_mut().find(|(of, _)| of == lane).map(|(_, line)| line);
                    if let Some(line) = line {
                        if let Some(Entry { place, key }) = (!*shut).then(|| line.head(shut_keys)).flatten() {
                            return Some(Head { sorted: Sorted { tenant, stream: id, key }, place });
                        }
                        line.listed = false;
                    }
                }
                ring.pop_front();
            }
        }
        None
    }
}
