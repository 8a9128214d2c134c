//! What sources are told: which parts of their queues the window has enough of.

use std::sync::Arc;

use foldhash::HashMap;

use crate::ports::Strand;

/// A strand of a queue.
pub(super) type Whose = (Arc<str>, Strand);

/// A strand is shut as long as anybody wants it shut.
#[derive(Default)]
pub(super) struct Strands {
    shut: HashMap<Whose, usize>,
    news: Vec<(Whose, bool)>,
}

impl Strands {
    pub fn tell(&mut self, strand: Whose, shut: bool) {
        if shut { self.shut(strand) } else { self.open(strand) }
    }

    fn shut(&mut self, strand: Whose) {
        let count = self.shut.entry(strand.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.news.push((strand, true));
        }
    }

    pub fn open(&mut self, strand: Whose) {
        let Some(count) = self.shut.get_mut(&strand) else { return };
        *count -= 1;
        if *count == 0 {
            self.shut.remove(&strand);
            self.news.push((strand, false));
        }
    }

    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// What was said since the last time, in order.
    pub fn take(&mut self) -> Vec<(Whose, bool)> {
        std::mem::take(&mut self.news)
    }
}
