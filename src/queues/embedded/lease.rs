//! Who holds which job until when, in memory: after a crash every lease is void anyway.

use std::time::{Duration, Instant};

use super::place::Place;
use super::slots::SlotFile;
use super::waiting::Waiting;

/// Names one lease for ever: a later lease of the same slot has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    slot: u32,
    generation: u32,
}

/// The leases of one store; each has a slot in the slot file.
pub(super) struct Leases {
    slots: Vec<Slot>,
    free: Vec<u32>,
    file: SlotFile,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    lease: Option<Lease>,
}

/// A job in somebody's hands.
pub(super) struct Lease {
    pub job: Waiting,
    until: Instant,
    /// The writer is about to settle it: it can neither expire nor be given back.
    settling: bool,
}

impl Leases {
    pub fn new(file: SlotFile) -> Self {
        Leases { slots: Vec::new(), free: Vec::new(), file }
    }

    /// Leases jobs until `until`; the tokens are in their order.
    pub fn grant(&mut self, jobs: &[Waiting], until: Instant) -> Vec<Token> {
        let mut entries = Vec::with_capacity(jobs.len());
        let tokens = jobs.iter().map(|job| {
            let slot = self.free.pop().unwrap_or_else(|| {
                self.slots.push(Slot::default());
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            });
            let entry = &mut self.slots[slot as usize];
            entry.lease = Some(Lease { job: job.clone(), until, settling: false });
            entries.push((slot as usize, job.place));
            Token { slot, generation: entry.generation }
        });
        let tokens = tokens.collect();
        self.file.set(&entries);
        tokens
    }

    fn held(&mut self, token: Token) -> Option<&mut Lease> {
        let slot = self.slots.get_mut(token.slot as usize).filter(|slot| slot.generation == token.generation)?;
        slot.lease.as_mut().filter(|lease| !lease.settling)
    }

    pub fn is_held(&mut self, token: Token) -> bool {
        self.held(token).is_some()
    }

    /// Renews a lease; false when it was lost.
    pub fn extend(&mut self, token: Token, until: Instant) -> bool {
        self.held(token).map(|lease| lease.until = until).is_some()
    }

    /// Hands a lease to the writer; false when it was lost.
    pub fn settle(&mut self, token: Token) -> bool {
        self.held(token).map(|lease| lease.settling = true).is_some()
    }

    /// The settlement has failed: the holder has it again.
    pub fn unsettle(&mut self, token: Token) {
        let slot = self.slots.get_mut(token.slot as usize).filter(|slot| slot.generation == token.generation);
        if let Some(lease) = slot.and_then(|slot| slot.lease.as_mut()) {
            lease.settling = false;
        }
    }

    /// Ends a lease whose job was settled.
    pub fn end(&mut self, token: Token) -> Option<Lease> {
        let slot = self.slots.get_mut(token.slot as usize).filter(|slot| slot.generation == token.generation)?;
        let lease = slot.lease.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(token.slot);
        Some(lease)
    }

    /// Ends a lease that its holder gives back; none when it was lost or is being settled.
    pub fn give_back(&mut self, token: Token) -> Option<Lease> {
        self.held(token)?;
        self.file.set(&[(token.slot as usize, Place::NONE)]);
        self.end(token)
    }

    /// Writes a new life over a held job; none when the lease was lost.
    pub fn rewrite(&mut self, token: Token, job: Waiting) -> bool {
        self.held(token).map(|lease| lease.job = job).is_some()
    }

    /// Ends the leases that were not renewed in time. Their slots keep their entries: a holder that went silent is
    /// suspicious if the process dies now.
    pub fn expire(&mut self, now: Instant) -> Vec<Lease> {
        let late = |lease: &Lease| !lease.settling && lease.until <= now;
        let expired: Vec<Token> = (0..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.lease.as_ref().is_some_and(late))
            .map(|(number, slot)| Token { slot: number, generation: slot.generation })
            .collect();
        expired.into_iter().filter_map(|token| self.end(token)).collect()
    }

    /// The first moment at which a lease may expire.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.slots.iter().filter_map(|slot| slot.lease.as_ref()).map(|lease| lease.until).min()
    }

    pub fn is_leased(&self, place: Place) -> bool {
        self.jobs().any(|job| job.place == place)
    }

    /// The jobs that are leased now.
    pub fn jobs(&self) -> impl Iterator<Item = &Waiting> {
        self.slots.iter().filter_map(|slot| slot.lease.as_ref()).map(|lease| &lease.job)
    }

    pub fn mark_clean(&self) -> std::io::Result<()> {
        self.file.mark_clean()
    }
}

/// `now + lease`, held at a day past which nobody asks.
pub(super) fn until(lease: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(lease).unwrap_or(now + Duration::from_secs(86_400))
}
