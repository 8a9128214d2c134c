//! What is kept for a time only: endings with their results, values of the state store.

use super::super::ledger::{FILE, Line};
use super::Writer;

impl Writer<'_> {
    /// Within each transaction: as much is forgotten as was added beyond the limits.
    pub(super) fn forget(&mut self) -> rusqlite::Result<()> {
        let most = i64::try_from(self.shared.options.results_rows).unwrap_or(i64::MAX);
        while self.ledger.get(FILE, Line::KeptEndings).count > most {
            if !self.forget_block(|kept, count, _| kept - count >= most)? {
                break;
            }
        }
        Ok(())
    }

    /// Once a second: what has become too old.
    pub(super) fn forget_old(&mut self) {
        let Err(error) = self.try_forget_old() else { return };
        self.roll_back();
        tracing::error!(%error, "cannot remove old results; it is tried again");
    }

    fn try_forget_old(&mut self) -> rusqlite::Result<()> {
        let endings = self.ledger.get(FILE, Line::KeptEndings).count > 0;
        if !endings && self.next_forgotten > self.now {
            return Ok(());
        }
        let oldest = self.now - millis(self.shared.options.results_for);
        self.statements.begin.execute([])?;
        let mut blocks = 0;
        while blocks < 256 && self.forget_block(|_, _, at| at < oldest)? {
            blocks += 1;
        }
        if self.next_forgotten <= self.now {
            self.forget_state()?;
        }
        self.commit()?;
        self.committed();
        Ok(())
    }

    /// Removes the oldest block of endings if `is_over` says so of (endings kept, endings in it, its time).
    fn forget_block(&mut self, is_over: impl FnOnce(i64, i64, i64) -> bool) -> rusqlite::Result<bool> {
        let mut oldest = self.connection.prepare_cached("SELECT first, count, at FROM endings ORDER BY first LIMIT 1")?;
        let mut rows = oldest.query([])?;
        let Some(row) = rows.next()? else { return Ok(false) };
        let (first, count, at): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        drop(rows);
        if !is_over(self.ledger.get(FILE, Line::KeptEndings).count, count, at) {
            return Ok(false);
        }
        self.connection.prepare_cached("DELETE FROM endings WHERE first = ?")?.execute([first])?;
        self.ledger.count(FILE, Line::KeptEndings, -count);
        Ok(true)
    }
}

fn millis(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX).min(1 << 52)
}
