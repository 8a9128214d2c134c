//! The state store in the embedded file: a table of its own, through the one writer and its group commit.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::operation::Operation;
use super::store::{Shared, Store};
use crate::state::{Change, Held, StateError, StateStore, check};

/// A value that lives now is one of `?`, the time.
const LIVES: &str = "(expires IS NULL OR expires > ?)";

#[async_trait]
impl StateStore for Store {
    async fn read(&self, keys: &[Arc<str>]) -> Result<Vec<Option<Held>>, StateError> {
        let keys = keys.to_vec();
        let read = move |shared: &Shared, connection: &Connection| {
            let now = shared.options.clock.now();
            let select = format!("SELECT value, version, expires FROM state WHERE key = ? AND {LIVES}");
            let mut select = connection.prepare_cached(&select)?;
            keys.iter().map(|key| select.query_row(params![&**key, now], |row| held(row, 0)).optional()).collect()
        };
        self.shared.read(read).await.map_err(|error| StateError(error.to_string()))
    }

    async fn change(&self, changes: Vec<Change>) -> Result<bool, StateError> {
        check(&changes)?;
        let asked = self.shared.ask(|reply| Operation::Change { changes, changed: false, reply }).await;
        asked.map_err(|error| StateError(error.to_string()))
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(Arc<str>, Held)>, StateError> {
        let (prefix, after) = (prefix.to_owned(), after.unwrap_or_default().to_owned());
        let read = move |shared: &Shared, connection: &Connection| {
            let select =
                format!("SELECT value, version, expires, key FROM state WHERE key >= ? AND key > ? AND {LIVES} ORDER BY key");
            let mut select = connection.prepare_cached(&select)?;
            let mut rows = select.query(params![prefix, after, shared.options.clock.now()])?;
            let mut found: Vec<(Arc<str>, Held)> = Vec::new();
            while found.len() < limit
                && let Some(row) = rows.next()?
            {
                let key = row.get_ref(3)?.as_str()?;
                if !key.starts_with(&prefix) {
                    break;
                }
                found.push((key.into(), held(row, 0)?));
            }
            Ok(found)
        };
        self.shared.read(read).await.map_err(|error| StateError(error.to_string()))
    }
}

fn held(row: &Row<'_>, column: usize) -> rusqlite::Result<Held> {
    let expires: Option<i64> = row.get(column + 2)?;
    Ok(Held {
        value: Bytes::from(row.get::<_, Vec<u8>>(column)?),
        version: row.get::<_, i64>(column + 1)?.unsigned_abs(),
        expires: expires.map(|at| Timestamp::from_millisecond(at).unwrap_or(Timestamp::MAX)),
    })
}
