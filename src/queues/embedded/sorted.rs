//! What tells jobs apart in a backlog, as numbers: hashes of texts that stay where they are.

use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ports::{Facets, Strand};

/// Of a job or a strand. Two texts with one hash would share their turns, and nothing else; the salt of the file keeps
/// anybody from preparing such texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sorted {
    pub tenant: u64,
    /// Of the tenant and the type.
    pub stream: u64,
    /// 0 without a key.
    pub key: u64,
}

impl Sorted {
    pub fn new(salt: u64, facets: &Facets) -> Self {
        Self::from_texts(salt, &facets.tenant, &facets.kind, facets.key.as_deref())
    }

    pub fn of_strand(salt: u64, strand: &Strand) -> Self {
        match strand {
            Strand::Stream { tenant, kind } => Self::from_texts(salt, tenant, kind, None),
            Strand::Key { tenant, kind, key } => Self::from_texts(salt, tenant, kind, Some(key)),
        }
    }

    fn from_texts(salt: u64, tenant: &str, kind: &str, key: Option<&str>) -> Self {
        let tenant = xxh3_64_with_seed(tenant.as_bytes(), salt);
        let stream = xxh3_64_with_seed(kind.as_bytes(), tenant);
        Sorted { tenant, stream, key: key.map_or(0, |key| xxh3_64_with_seed(key.as_bytes(), stream).max(1)) }
    }
}

/// Spreads integers that are hashes or places already.
#[derive(Default)]
pub(super) struct Spread(u64);

pub(super) type Spreading = BuildHasherDefault<Spread>;

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        // only integers are hashed
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_i64(&mut self, number: i64) {
        self.write_u64(number as u64);
    }
}
