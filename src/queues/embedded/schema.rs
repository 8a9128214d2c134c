//! The tables of the file, and how connections to it are opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::file::{self, OpenError};

/// Marks the file as ours: "WNDL".
const APPLICATION_ID: i64 = 0x574e_444c;
/// The steps from an empty file to the present tables; a file of an earlier layout is taken through those it lacks when
/// it is opened, one of a later layout is left alone.
const LAYOUTS: [&str; 2] = [JOBS, STATE];
const LAYOUT: i64 = LAYOUTS.len() as i64;

/// `jobs` holds everything that waits or is dead, in the order in which it is run: `place` is queue, lane and sequence
/// in one integer, see `place.rs`. `ids` finds a job by its id and remembers ids after the end, in `standing`.
/// `endings` keeps blocks of ends with their events, see `endings.rs`; `ledger` the counts and sums that `audit`
/// compares the rows with.
const JOBS: &str = "
    CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID, STRICT;
    CREATE TABLE queues(
        number INTEGER PRIMARY KEY CHECK(number BETWEEN 1 AND 16383), name TEXT NOT NULL UNIQUE, paused INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE jobs(
        place INTEGER PRIMARY KEY, home INTEGER NOT NULL, id TEXT NOT NULL, submitted INTEGER NOT NULL,
        priority INTEGER NOT NULL, unsettled INTEGER NOT NULL, due INTEGER, key BLOB, headers BLOB,
        life BLOB, failure BLOB, body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE due(at INTEGER NOT NULL, place INTEGER NOT NULL, PRIMARY KEY(at, place)) WITHOUT ROWID, STRICT;
    CREATE TABLE ids(
        id TEXT NOT NULL, queue INTEGER NOT NULL, standing INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(id, queue)
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE endings(first INTEGER PRIMARY KEY, count INTEGER NOT NULL, at INTEGER NOT NULL, block BLOB NOT NULL) STRICT;
    CREATE TABLE ledger(
        queue INTEGER NOT NULL, line TEXT NOT NULL, count INTEGER NOT NULL, sum BLOB NOT NULL, PRIMARY KEY(queue, line)
    ) WITHOUT ROWID, STRICT;";

/// The values of the state store, see `state.rs`.
const STATE: &str = "
    CREATE TABLE state(key TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL, expires INTEGER) WITHOUT ROWID, STRICT;
    CREATE INDEX state_expires ON state(expires) WHERE expires IS NOT NULL;";

/// Large pages write fewer, longer pieces per commit; a commit costs the same wait either way.
const PAGE_SIZE: u32 = 16 * 1024;
/// The write-ahead log is copied into the file when it holds this many pages (64 MiB).
const CHECKPOINT_PAGES: u32 = 4096;
const WRITER_CACHE_KIB: u32 = 64 * 1024;
const READER_CACHE_KIB: u32 = 2 * 1024;

/// Opens the writer's connection; makes the tables in an empty file.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let explain = |error: rusqlite::Error| explain(path, &error);
    let connection = Connection::open(path).map_err(explain)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(explain)?;
    check_identity(path, &connection)?;
    let pragmas = format!(
        "PRAGMA page_size = {PAGE_SIZE}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}; PRAGMA cache_size = -{WRITER_CACHE_KIB}; \
         PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY;"
    );
    connection.execute_batch(&pragmas).map_err(explain)?;
    upgrade(&connection).map_err(explain)?;
    Ok(connection)
}

/// Takes the file through the steps it lacks, in one transaction; an empty one lacks all.
fn upgrade(connection: &Connection) -> rusqlite::Result<()> {
    let (_, version) = identity(connection)?;
    let missing = LAYOUTS.get(usize::try_from(version).unwrap_or_default()..).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    let (steps, written_by) = (missing.concat(), env!("CARGO_PKG_VERSION"));
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {steps} INSERT OR REPLACE INTO meta VALUES('written_by', '{written_by}'); \
         PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {LAYOUT}; COMMIT;"
    ))
}

/// Opens a connection that only reads; it never waits for the writer, nor the writer for it.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.execute_batch(&format!("PRAGMA cache_size = -{READER_CACHE_KIB}; PRAGMA query_only = ON;"))?;
    Ok(connection)
}

/// Opens a reader on a file whose owner may be somebody else, or nobody.
pub(super) fn open_foreign_reader(path: &Path) -> Result<Connection, OpenError> {
    file::check_file(path)?;
    let connection = open_reader(path).map_err(|error| explain(path, &error))?;
    check_identity(path, &connection)?;
    Ok(connection)
}

fn identity(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let read = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    Ok((read("application_id")?, read("user_version")?))
}

/// The file is empty, or ours and not newer than this program.
fn check_identity(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let explain = |error: rusqlite::Error| explain(path, &error);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(explain)?;
    match identity(connection).map_err(explain)? {
        (0, 0) if tables == 0 => Ok(()),
        (APPLICATION_ID, version) if version > LAYOUT => {
            let written_by = connection.query_row("SELECT value FROM meta WHERE key = 'written_by'", [], |row| row.get(0));
            let written_by = written_by.unwrap_or_else(|_| "of unknown version".to_owned());
            Err(OpenError::Newer { path: path.into(), written_by, version, known: LAYOUT })
        }
        (APPLICATION_ID, _) => Ok(()),
        _ => Err(OpenError::Foreign(path.into())),
    }
}

/// Why SQLite refused to open or read the file, with the way out.
pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> OpenError {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, PermissionDenied, ReadOnly};
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => OpenError::Damaged { path, detail: error.to_string() },
        Some(ReadOnly | PermissionDenied | CannotOpen) => {
            OpenError::ReadOnly { path, error: std::io::Error::other(error.to_string()) }
        }
        _ => OpenError::Other { path, detail: error.to_string() },
    }
}
