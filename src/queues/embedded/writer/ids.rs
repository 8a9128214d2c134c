//! What is known of ids, within the transaction at hand.

use super::super::known::Entry;
use super::super::ledger::{FILE, Line};
use super::super::located::Located;
use super::super::place::Standing;
use super::Writer;

impl Writer<'_> {
    /// What is known of a digest; an id whose job ended too long ago is unknown, even while its entry is still there.
    pub(super) fn known(&self, digest: u128) -> rusqlite::Result<Option<Entry>> {
        let entry = self.known.get(self.connection, digest)?;
        let forgotten = self.now / 1000 - seconds(self.shared.options.dedupe_for);
        Ok(entry.filter(|entry| entry.standing >= 0 || entry.at >= forgotten))
    }

    /// Notes where a job stands from now on, or that it ended; `at` in milliseconds.
    pub(super) fn stands(&mut self, digest: u128, standing: Standing, at: i64) {
        self.known.set(digest, Entry { standing: standing.to_column(), at: at / 1000 });
    }

    /// The jobs of all queues that have an id.
    pub(super) fn locate(&self, id: &str) -> rusqlite::Result<Vec<Located>> {
        let mut found = Vec::new();
        for queue in self.shared.registry.all() {
            if let (Some(home), Some(entry)) = (queue.number(), self.known(queue.digest(id))?) {
                found.push(Located { home, standing: Standing::from_column(entry.standing), at: entry.at });
            }
        }
        Ok(found)
    }

    /// After a commit: what is new becomes a segment once there is enough of it, and what is superfluous goes.
    pub(super) fn tidy_ids(&mut self) {
        if let Err(error) = self.try_tidy_ids() {
            self.roll_back();
            tracing::error!(%error, "cannot put the known ids in order; it is tried again");
        }
    }

    fn try_tidy_ids(&mut self) -> rusqlite::Result<()> {
        if self.known.is_full() {
            self.statements.begin.execute([])?;
            let segment = self.known.write_segment(self.connection)?;
            self.statements.commit.execute([])?;
            self.known.settle(segment);
        }
        // an entry may stay for longer than it holds, but not much
        let oldest = self.now / 1000 - seconds(self.shared.options.dedupe_for).max(3600);
        let limit = i64::try_from(self.shared.options.dedupe_rows).unwrap_or(i64::MAX);
        if self.known.is_crowded(oldest, limit, self.ledger.live()) {
            self.statements.begin.execute([])?;
            let evicted = self.known.drop_oldest(self.connection, oldest, self.now / 1000)?;
            self.ledger.count(FILE, Line::Evicted, evicted);
            self.commit()?;
            self.committed();
            self.known.dropped();
        }
        Ok(())
    }
}

fn seconds(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX).min(1 << 40)
}
