//! Jobs that wait in their slot, since one that may kill its worker is to run alone, or does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Key = (Arc<str>, Arc<str>);

/// Those that wait so, by queue and id.
#[derive(Default)]
pub struct Aside(Mutex<HashMap<Key, usize>>);

/// A job that waits aside, until this is dropped.
pub(super) struct Waiting<'a> {
    aside: &'a Aside,
    key: Key,
}

impl Aside {
    pub(super) fn wait(&self, queue: &Arc<str>, id: &Arc<str>) -> Waiting<'_> {
        let key = (queue.clone(), id.clone());
        *self.lock().entry(key.clone()).or_default() += 1;
        Waiting { aside: self, key }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[must_use]
    pub fn has(&self, queue: &str, id: &str) -> bool {
        self.lock().contains_key(&(queue.into(), id.into()) as &Key)
    }

    /// How many jobs of a queue wait so.
    #[must_use]
    pub fn of(&self, queue: &str) -> usize {
        self.lock().iter().filter(|((of, _), _)| **of == *queue).map(|(_, count)| count).sum()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut aside = self.aside.lock();
        // one whose lease was lost may be here a second time
        let left = aside.get_mut(&self.key).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            aside.remove(&self.key);
        }
    }
}
