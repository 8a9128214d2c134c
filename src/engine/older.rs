//! Which keys have older jobs in a place beside their queue, so that newer ones of theirs must go there too.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::job::Job;

/// Keys are counted by digest in so many buckets, so that a million parked jobs take no more memory than one. Two keys in
/// one bucket cost one of them a move, no more.
const BUCKETS: usize = 1 << 14;

/// A job whose key keeps its order, as it is counted.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    bucket: usize,
    id: Arc<str>,
}

impl Keyed {
    /// None of a job without a key.
    pub fn new(job: &Job) -> Option<Keyed> {
        let key = job.key.as_ref()?;
        let mut digest = Xxh3::new();
        for part in [job.tenant.as_bytes(), &[0xff], key.as_bytes()] {
            digest.update(part);
        }
        let bucket = usize::try_from(digest.digest() % BUCKETS as u64).unwrap_or(0);
        Some(Keyed { bucket, id: job.id.clone() })
    }
}

/// What is known of the keyed jobs in one place.
pub(super) struct Older {
    /// There may be jobs in it that nobody here has counted: of before the start, or of other workers.
    uncounted: bool,
    /// The first that was counted since. A place keeps its order: once this one comes out, no uncounted one is left.
    first: Option<Arc<str>>,
    keys: Option<Box<[u32]>>,
}

impl Older {
    pub fn new(uncounted: bool) -> Self {
        Older { uncounted, first: None, keys: None }
    }

    /// Whether older jobs of its key may be there.
    pub fn than(&self, job: &Keyed) -> bool {
        self.uncounted || self.keys.as_ref().is_some_and(|keys| keys[job.bucket] > 0)
    }

    /// It goes there.
    pub fn enters(&mut self, job: &Keyed) {
        self.keys.get_or_insert_with(|| vec![0; BUCKETS].into_boxed_slice())[job.bucket] += 1;
        if self.uncounted {
            self.first.get_or_insert_with(|| job.id.clone());
        }
    }

    /// It was taken from there and goes back to where it was.
    pub fn returns(&mut self, job: &Keyed) {
        if !self.uncounted {
            self.enters(job);
        }
    }

    /// Other jobs are counted from now on, so that those that are there are not known any more.
    pub fn lose_count(&mut self) {
        (self.uncounted, self.first) = (true, None);
    }

    /// It was taken from there: from now on the lane of its key keeps its order.
    pub fn leaves(&mut self, job: &Keyed) {
        if self.uncounted && self.first.as_ref() != Some(&job.id) {
            return;
        }
        self.uncounted = false;
        self.forget(job);
    }

    /// It has not gone there after all.
    pub fn forget(&mut self, job: &Keyed) {
        if let Some(keys) = &mut self.keys {
            keys[job.bucket] = keys[job.bucket].saturating_sub(1);
        }
        self.first.take_if(|first| *first == job.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(bucket: usize, id: &str) -> Keyed {
        Keyed { bucket, id: id.into() }
    }

    #[test]
    fn a_key_has_older_jobs_there_from_the_first_that_goes_to_the_last_that_comes() {
        let mut older = Older::new(false);
        assert!(!older.than(&keyed(1, "c")));
        older.enters(&keyed(1, "a"));
        older.enters(&keyed(1, "b"));
        assert!(older.than(&keyed(1, "c")) && !older.than(&keyed(2, "d")));
        older.leaves(&keyed(1, "a"));
        assert!(older.than(&keyed(1, "c")));
        older.leaves(&keyed(1, "b"));
        assert!(!older.than(&keyed(1, "c")));
    }

    #[test]
    fn until_the_first_counted_job_comes_out_every_key_may_have_older_ones() {
        let mut older = Older::new(true);
        older.enters(&keyed(1, "a"));
        older.enters(&keyed(1, "b"));
        older.leaves(&keyed(1, "from before"));
        assert!(older.than(&keyed(2, "c")));
        older.leaves(&keyed(1, "a"));
        assert!(older.than(&keyed(1, "c")) && !older.than(&keyed(2, "c")), "b is still there");
    }

    #[test]
    fn a_job_that_did_not_get_there_holds_up_nobody() {
        let mut older = Older::new(true);
        older.enters(&keyed(1, "a"));
        older.forget(&keyed(1, "a"));
        older.enters(&keyed(2, "b"));
        older.leaves(&keyed(2, "b"));
        assert!(!older.than(&keyed(1, "c")) && !older.than(&keyed(2, "c")));
    }

    #[test]
    fn once_the_count_is_lost_what_comes_out_is_not_taken_for_what_was_counted() {
        let mut older = Older::new(false);
        older.enters(&keyed(1, "a"));
        older.lose_count();
        older.enters(&keyed(1, "b"));
        older.leaves(&keyed(1, "never counted"));
        assert!(older.than(&keyed(2, "c")), "a and b are still there");
        older.leaves(&keyed(1, "a"));
        older.leaves(&keyed(1, "b"));
        assert!(older.than(&keyed(1, "c")) && !older.than(&keyed(2, "c")), "a is counted until the place is empty");
    }
}
