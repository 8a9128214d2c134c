//! What is kept for a time only: endings with their results, the ids of ended jobs, values of the state store.

use super::super::ledger::{FILE, Line};
use super::super::place::Standing;
use super::Writer;

/// Ids looked at per end in a commit, once too many are kept; a table of the allowed size and a seventh then stays so.
const LOOKED_AT: i64 = 8;
/// Looked at once a second where only time has passed.
const EACH_TICK: i64 = 4096;

/// Goes round and round through the table `ids`; where it stands is forgotten at the end of the process.
#[derive(Default)]
pub(super) struct Sweep {
    after: (String, u16),
}

impl Writer<'_> {
    /// Within each transaction: as much is forgotten as was added beyond the limits.
    pub(super) fn forget(&mut self) -> rusqlite::Result<()> {
        let options = &self.shared.options;
        let (most_endings, most_ids) = (limit(options.results_rows), limit(options.dedupe_rows));
        while self.ledger.get(FILE, Line::KeptEndings).count > most_endings {
            if !self.forget_block(|kept, count, _| kept - count >= most_endings)? {
                break;
            }
        }
        let ended = self.ends - self.ledger.get(FILE, Line::Ends).count;
        if ended > 0 && self.ledger.get(FILE, Line::KnownEnded).count > most_ids {
            self.sweep(ended * LOOKED_AT)?;
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
        let kept = [Line::KnownEnded, Line::KeptEndings].iter().any(|line| self.ledger.get(FILE, *line).count > 0);
        if !kept && self.next_forgotten > self.now {
            return Ok(());
        }
        let oldest = self.now - millis(self.shared.options.results_for);
        self.statements.begin.execute([])?;
        let mut blocks = 0;
        while blocks < 256 && self.forget_block(|_, _, at| at < oldest)? {
            blocks += 1;
        }
        if self.ledger.get(FILE, Line::KnownEnded).count > 0 {
            self.sweep(EACH_TICK)?;
        }
        if self.next_forgotten <= self.now {
            self.forget_state()?;
        }
        self.commit()?;
        self.ledger.committed();
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

    /// Looks at the next ids and forgets those of jobs that ended long ago, or of all but the latest ends.
    fn sweep(&mut self, look_at: i64) -> rusqlite::Result<()> {
        let options = &self.shared.options;
        let oldest_end = self.now - millis(options.dedupe_for);
        let last_evicted = self.ends - limit(options.dedupe_rows);
        let mut select = self
            .connection
            .prepare_cached("SELECT id, queue, standing, at FROM ids WHERE (id, queue) > (?, ?) ORDER BY id, queue LIMIT ?")?;
        let mut delete = self.connection.prepare_cached("DELETE FROM ids WHERE id = ? AND queue = ?")?;
        let (mut looked_at, mut forgotten) = (0, Vec::new());
        let mut rows = select.query((&self.sweep.after.0, self.sweep.after.1, look_at))?;
        while let Some(row) = rows.next()? {
            looked_at += 1;
            let Standing::Ended(_, number) = Standing::from_column(row.get(2)?) else { continue };
            let old = row.get::<_, i64>(3)? < oldest_end;
            if old || number <= last_evicted {
                forgotten.push((row.get::<_, String>(0)?, row.get::<_, u16>(1)?));
                self.ledger.count(FILE, Line::KnownEnded, -1);
                self.ledger.count(FILE, Line::Evicted, i64::from(!old));
            }
            if looked_at == look_at {
                self.sweep.after = (row.get(0)?, row.get(1)?);
            }
        }
        drop(rows);
        if looked_at < look_at {
            self.sweep = Sweep::default();
        }
        forgotten.iter().try_for_each(|key| delete.execute((&key.0, key.1)).map(|_| ()))
    }
}

fn limit(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

fn millis(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX).min(1 << 52)
}
