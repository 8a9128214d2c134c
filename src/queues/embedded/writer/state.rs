//! Values of the state store: changed all or none, forgotten at their time.

use rusqlite::{OptionalExtension, params};

use super::Writer;
use crate::state::Change;

/// Expired values removed once a second.
const EACH_TICK: i64 = 4096;

impl Writer<'_> {
    /// Whether the conditions of all changes held; nothing is changed otherwise.
    pub(super) fn change(&mut self, changes: &[Change]) -> rusqlite::Result<bool> {
        let select = "SELECT version FROM state WHERE key = ? AND (expires IS NULL OR expires > ?)";
        let mut select = self.connection.prepare_cached(select)?;
        for change in changes {
            let version: Option<i64> = select.query_row(params![&*change.key, self.now], |row| row.get(0)).optional()?;
            if !change.when.holds(version.map(i64::unsigned_abs)) {
                return Ok(false);
            }
        }
        let mut put =
            self.connection.prepare_cached("INSERT OR REPLACE INTO state(key, value, version, expires) VALUES(?, ?, ?, ?)")?;
        let mut remove = self.connection.prepare_cached("DELETE FROM state WHERE key = ?")?;
        for Change { key, to, .. } in changes {
            match to {
                Some(new) => {
                    // shares the numbers of places: never given out twice, over restarts too
                    self.sequence += 1;
                    let expires = new.expires.map(jiff::Timestamp::as_millisecond);
                    self.next_forgotten = self.next_forgotten.min(expires.unwrap_or(i64::MAX));
                    put.execute(params![&**key, &*new.value, self.sequence, expires])?
                }
                None => remove.execute([&**key])?,
            };
        }
        Ok(true)
    }

    /// Removes values whose time is over; looks only once there can be one.
    pub(super) fn forget_state(&mut self) -> rusqlite::Result<()> {
        let delete = "DELETE FROM state WHERE key IN (SELECT key FROM state WHERE expires <= ? ORDER BY expires LIMIT ?)";
        self.connection.prepare_cached(delete)?.execute([self.now, EACH_TICK])?;
        let next: Option<i64> = self.connection.query_row("SELECT min(expires) FROM state", [], |row| row.get(0))?;
        self.next_forgotten = next.unwrap_or(i64::MAX);
        Ok(())
    }
}
