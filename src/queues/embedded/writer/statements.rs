//! The statements of the hot path, prepared once.

use rusqlite::{Connection, Statement};

use super::super::ledger::Ledger;

pub(super) struct Statements<'c> {
    pub begin: Statement<'c>,
    pub commit: Statement<'c>,
    pub rollback: Statement<'c>,
    pub upsert_ledger: Statement<'c>,
    /// Gives a queue a number.
    pub name_queue: Statement<'c>,
    pub pause: Statement<'c>,
    pub insert_job: Statement<'c>,
    pub delete_job: Statement<'c>,
    /// Moves a job to another place with another life.
    pub move_job: Statement<'c>,
    pub mark: Statement<'c>,
    pub insert_due: Statement<'c>,
    pub delete_due: Statement<'c>,
    pub insert_endings: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let prepare = |sql: &str| connection.prepare(sql);
        Ok(Statements {
            begin: prepare("BEGIN IMMEDIATE")?,
            commit: prepare("COMMIT")?,
            rollback: prepare("ROLLBACK")?,
            upsert_ledger: prepare(Ledger::UPSERT)?,
            name_queue: prepare(
                "INSERT INTO queues(number, name, paused) SELECT coalesce(max(number), 0) + 1, ?, 0 FROM queues RETURNING number",
            )?,
            pause: prepare("UPDATE queues SET paused = ? WHERE number = ?")?,
            insert_job: prepare(
                "INSERT INTO jobs(place, home, id, submitted, priority, unsettled, due, key, headers, life, failure, body)
                 VALUES(?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)",
            )?,
            delete_job: prepare("DELETE FROM jobs WHERE place = ?")?,
            move_job: prepare(
                "UPDATE jobs SET place = ?, due = ?, life = ?, failure = coalesce(?, failure), event = ?, unsettled = 0 WHERE place = ?",
            )?,
            mark: prepare("UPDATE jobs SET life = ?, unsettled = ? WHERE place = ?")?,
            insert_due: prepare("INSERT INTO due(at, place) VALUES(?, ?)")?,
            delete_due: prepare("DELETE FROM due WHERE at = ? AND place = ?")?,
            insert_endings: prepare("INSERT INTO endings(first, count, at, block) VALUES(?, ?, ?, ?)")?,
        })
    }
}
