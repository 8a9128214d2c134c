//! The tables of the file, and how connections to it are opened.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::file::{self, OpenError};

/// Marks the file as ours: "WNDL".
const APPLICATION_ID: i64 = 0x574e_444c;
/// Raised when the tables change. A file of a later layout is left alone, one from [`OLDEST`] on is taken through the
/// [`STEPS`] it lacks when it is opened.
const LAYOUT: i64 = OLDEST + STEPS.len() as i64;
const OLDEST: i64 = 2;
const STEPS: [&str; 2] = [STATE, DEAD_EVENT];

/// `jobs` holds everything that waits or is dead, in the order in which it is run: `place` is queue, lane and sequence
/// in one integer, see `place.rs`. `endings` keeps blocks of ends with their events, see `endings.rs`; `ledger` the
/// counts and sums that `audit` compares the rows with.
const TABLES: &str = "
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
    CREATE TABLE endings(first INTEGER PRIMARY KEY, count INTEGER NOT NULL, at INTEGER NOT NULL, block BLOB NOT NULL) STRICT;
    CREATE TABLE ledger(
        queue INTEGER NOT NULL, line TEXT NOT NULL, count INTEGER NOT NULL, sum BLOB NOT NULL, PRIMARY KEY(queue, line)
    ) WITHOUT ROWID, STRICT;";

/// The values of the state store, see `state.rs`.
const STATE: &str = "
    CREATE TABLE state(key TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL, expires INTEGER) WITHOUT ROWID, STRICT;
    CREATE INDEX state_expires ON state(expires) WHERE expires IS NOT NULL;";

/// The event of a dead letter's death: the last column, since nobody else reads past the body for it.
const DEAD_EVENT: &str = "ALTER TABLE jobs ADD COLUMN event BLOB;";

/// Finds a job by its id, and remembers ids after the end, see `known.rs`.
pub(super) const KNOWN: &str = "
    CREATE TABLE known(place INTEGER PRIMARY KEY, entries BLOB NOT NULL) STRICT;
    CREATE TABLE known_segments(
        number INTEGER PRIMARY KEY, count INTEGER NOT NULL, ended INTEGER NOT NULL, newest INTEGER NOT NULL,
        fences BLOB NOT NULL, filter BLOB NOT NULL
    ) STRICT;
    CREATE TABLE known_log(number INTEGER PRIMARY KEY, entries BLOB NOT NULL) STRICT;";

/// Large pages write fewer, longer pieces per commit; a commit costs the same wait either way.
pub(super) const PAGE_SIZE: u32 = 16 * 1024;
const WRITER_CACHE_KIB: u32 = 64 * 1024;
const READER_CACHE_KIB: u32 = 2 * 1024;

/// Opens the writer's connection; makes the tables in an empty file. Its commits are on the disk once `sync.rs` has synced
/// the log; SQLite itself syncs what a fold and a new start of the log need.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let explain = |error: rusqlite::Error| explain(path, &error);
    let connection = Connection::open(path).map_err(explain)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(explain)?;
    check_identity(path, &connection)?;
    let pragmas = format!(
        "PRAGMA page_size = {PAGE_SIZE}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
         PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -{WRITER_CACHE_KIB}; \
         PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY;"
    );
    connection.execute_batch(&pragmas).map_err(explain)?;
    upgrade(&connection).map_err(explain)?;
    Ok(connection)
}

/// Takes the file through the steps it lacks, in one transaction; an empty one gets all tables.
fn upgrade(connection: &Connection) -> rusqlite::Result<()> {
    let (application, version) = identity(connection)?;
    let written_by = env!("CARGO_PKG_VERSION");
    let salt = RandomState::new().hash_one(0);
    let first = format!("{TABLES} {KNOWN} INSERT INTO meta VALUES('salt', '{salt}');");
    let (first, from) = if application == 0 { (&*first, OLDEST) } else { ("", version) };
    let missing = STEPS.get(usize::try_from(from - OLDEST).unwrap_or_default()..).unwrap_or_default();
    if first.is_empty() && missing.is_empty() {
        return Ok(());
    }
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {first} {} INSERT OR REPLACE INTO meta VALUES('written_by', '{written_by}'); \
         PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {LAYOUT}; COMMIT;",
        missing.concat()
    ))
}

/// The number that makes the digests of this file its own, so that nobody can prepare two ids with one digest.
pub(super) fn salt(connection: &Connection) -> rusqlite::Result<u64> {
    let salt: String = connection.query_row("SELECT value FROM meta WHERE key = 'salt'", [], |row| row.get(0))?;
    Ok(salt.parse().unwrap_or_default())
}

/// Opens a connection that folds the log into the file.
pub(super) fn open_folder(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // how a fold is synced is a matter of the connection that does it
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 0;")?;
    Ok(connection)
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
        (APPLICATION_ID, version) if !(OLDEST..=LAYOUT).contains(&version) => {
            let written_by = connection.query_row("SELECT value FROM meta WHERE key = 'written_by'", [], |row| row.get(0));
            let written_by = written_by.unwrap_or_else(|_| "of unknown version".to_owned());
            let (path, known) = (path.into(), LAYOUT);
            if version > LAYOUT {
                Err(OpenError::Newer { path, written_by, version, known })
            } else {
                Err(OpenError::Older { path, written_by, version, known })
            }
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
