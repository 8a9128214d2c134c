//! How much of a queue's dead letters a command could look at, where that is not all: said once, beside its output.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::words::grouped;
use crate::ports::Looked;

/// The last that was heard of each queue.
#[derive(Default)]
pub(super) struct LookedAt(BTreeMap<Arc<str>, Looked>);

impl LookedAt {
    pub fn note(&mut self, looked: impl IntoIterator<Item = Looked>) {
        self.0.extend(looked.into_iter().map(|looked| (looked.queue.clone(), looked)));
    }

    /// Of queues of which nothing is left unseen, only where that is news.
    pub fn tell(&self, all_too: bool) {
        for looked in self.0.values().filter(|looked| all_too || looked.at < looked.of || looked.others) {
            eprintln!("{}", sentence(looked));
        }
    }
}

fn sentence(Looked { queue, at, of, others }: &Looked) -> String {
    let mut text = format!("looked at {} of {} dead letters of {queue}", grouped(*at), grouped(*of));
    if at < of {
        text.push_str("; those behind them are seen once these are replayed or discarded");
    }
    if *others {
        text.push_str("; others receive from there too, and may hold some: look again in a moment");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_looked_at_is_said() {
        let looked = |at, of, others| sentence(&Looked { queue: "orders".into(), at, of, others });
        assert_eq!(looked(12, 12, false), "looked at 12 of 12 dead letters of orders");
        assert!(looked(10_000, 52_000, false).starts_with("looked at 10,000 of 52,000 dead letters of orders; those behind"));
        assert!(looked(0, 0, true).ends_with("look again in a moment"));
    }
}
