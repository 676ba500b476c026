//! Connections: how a database of this program is opened, told from others, and brought up to date.

use std::io::ErrorKind;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::errors::{damaged, failed};
use super::schema;
use crate::store::{FoundInstead, StoreError, private};

/// Versions before this one can corrupt a write-ahead log that two connections use.
const OLDEST_SQLITE: i32 = 3_051_003;
/// Rows of 1 to 2 KB waste a third of a 4 KiB page, a tenth of this, a twentieth of 16 KiB; a
/// look-up reads a page or two.
const PAGE_BYTES: u32 = 8 << 10;
/// Page cache of the writing connection: the inner pages of every table and the edges that grow.
const WRITER_CACHE_KIB: u32 = 32 << 10;
/// The write-ahead log is checkpointed beyond this many pages (8 MiB) ...
const CHECKPOINT_PAGES: i32 = 1_000;
/// ... and its file is cut back to this size afterwards.
const WAL_BYTES_KEPT: u32 = 64 << 20;

/// Opens a writing connection and brings the schema up to date. The application id marks the kind
/// of database.
pub(super) fn open_writing(
    path: &Path,
    application: i64,
    migrations: &[&str],
) -> Result<Connection, StoreError> {
    open_writing_with(path, application, migrations, "none")
}

/// The same, with another way to give free pages back.
pub(super) fn open_writing_with(
    path: &Path,
    application: i64,
    migrations: &[&str],
    auto_vacuum: &str,
) -> Result<Connection, StoreError> {
    prepare(path, application, migrations, auto_vacuum).map_err(|error| error.of_database(path))
}

fn prepare(
    path: &Path,
    application: i64,
    migrations: &[&str],
    auto_vacuum: &str,
) -> Result<Connection, StoreError> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    // First of all: what is not ours stays as it is.
    check_owner(&connection, path, application, migrations)?;
    let set = |name, value: &dyn rusqlite::ToSql| {
        connection.pragma_update(None, name, value).map_err(failed("pragma"))
    };
    // These take effect in a new database only: an existing one keeps what it was made with.
    set("page_size", &PAGE_BYTES)?;
    set("auto_vacuum", &auto_vacuum)?;
    // A reader never waits for the writer, and a commit is one append and one fsync.
    set("journal_mode", &"wal")?;
    // With NORMAL a power cut may take back the last commits, and with them heads that clients have
    // seen.
    set("synchronous", &"full")?;
    set("cache_size", &-i64::from(WRITER_CACHE_KIB))?;
    set("journal_size_limit", &WAL_BYTES_KEPT)?;
    // INSERT OR REPLACE deletes silently unless this is on: with it, the triggers see the deletion.
    set("recursive_triggers", &true)?;
    migrate(&connection, application, migrations)?;
    schema::check(&connection, migrations)?;
    checkpoint_aloud(&mut connection, |_| {})?;
    Ok(connection)
}

/// Checkpoints after a commit that leaves the write-ahead log long, as SQLite would by itself, but
/// not in silence: when it fails nobody knows what is in the file, so the commit reports it and
/// nothing more is signed. The commit itself stands. `length` is told after each commit whether the
/// write-ahead log is long.
pub(super) fn checkpoint_aloud(
    connection: &mut Connection,
    length: impl Fn(bool) + Send + 'static,
) -> Result<(), StoreError> {
    let hook = move |wal: &mut Wal, pages: i32| {
        let is_long = pages >= CHECKPOINT_PAGES;
        length(is_long);
        if !is_long {
            return Ok(());
        }
        match wal.checkpoint().map_err(|error| (error.sqlite_error_code(), error)) {
            // Somebody else is at it, or there is no space now: the log stays long until the next
            // commit.
            Err((Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull), _)) => {
                Ok(())
            }
            Err((_, error)) => Err(error),
            Ok(()) => Ok(()),
        }
    };
    connection.wal_hook(Some(hook)).map_err(failed("wal hook"))
}

/// Reads every page, and compares each index with its table. For small databases only.
pub(super) fn check_pages(connection: &Connection) -> Result<(), StoreError> {
    let found: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(failed("check of the pages"))?;
    if found == "ok" { Ok(()) } else { Err(damaged("a page of the database".to_owned())(found)) }
}

/// Writes the whole write-ahead log back into the database and empties it.
pub(super) fn empty_wal(connection: &Connection) -> Result<(), StoreError> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed("checkpoint"))
}

/// Opens a reading connection.
pub(super) fn open_reader(path: &Path, cache_kib: u32) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let set = |name, value: &dyn rusqlite::ToSql| {
        connection.pragma_update(None, name, value).map_err(failed("pragma"))
    };
    // Read-write as a file, because readers of a WAL database share its memory file; read-only in
    // what it may do.
    set("query_only", &true)?;
    set("cache_size", &-i64::from(cache_kib))?;
    Ok(connection)
}

pub(super) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    assert!(rusqlite::version_number() >= OLDEST_SQLITE, "SQLite {} can corrupt a WAL", rusqlite::version());
    if flags.contains(OpenFlags::SQLITE_OPEN_CREATE) && path != Path::new(":memory:") {
        private::make_file(path).map_err(|source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
            _ => StoreError::File { path: path.display().to_string(), source },
        })?;
    }
    // No mutex: a connection belongs to one thread at a time, and Rust sees to that.
    let opened = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    let connection =
        opened.map_err(|error| match (error.sqlite_error_code(), why_not_opened(path, flags)) {
            (Some(ErrorCode::CannotOpen), Some(source)) => {
                StoreError::File { path: path.display().to_string(), source }
            }
            _ => failed("open")(error),
        })?;
    let set = |name, value: &dyn rusqlite::ToSql| {
        connection.pragma_update(None, name, value).map_err(failed("pragma"))
    };
    // A backup tool may hold a lock for a moment. Nothing of ours ever waits for this long.
    connection.busy_timeout(std::time::Duration::from_secs(2)).map_err(failed("pragma"))?;
    // A plan never depends on what is asked for: else a statement with a range is compiled again
    // each time it runs.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(failed("configuration"))?;
    // Nothing in the file is executed because it is in the file.
    set("trusted_schema", &false)?;
    // Mapped pages would count as our memory, and a bad disk would kill the process instead of
    // failing a read.
    set("mmap_size", &0)?;
    set("temp_store", &"memory")?;
    // Finds a damaged page when it is first used.
    set("cell_size_check", &true)?;
    // Each query is prepared once for the life of the connection.
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// What the system says where SQLite only says that it cannot open a file.
fn why_not_opened(path: &Path, flags: OpenFlags) -> Option<std::io::Error> {
    let creates = flags.contains(OpenFlags::SQLITE_OPEN_CREATE);
    std::fs::File::options().read(true).append(true).create(creates).open(path).err()
}

pub(super) fn pragma_value(connection: &Connection, name: &str) -> Result<i64, StoreError> {
    connection.pragma_query_value(None, name, |row| row.get(0)).map_err(failed("pragma"))
}

/// Refuses databases of others and of newer programs, having only read from them.
pub(super) fn check_owner(
    connection: &Connection,
    path: &Path,
    application: i64,
    migrations: &[&str],
) -> Result<(), StoreError> {
    let (marked, found) =
        (pragma_value(connection, "application_id")?, pragma_value(connection, "user_version")?);
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed("read of the schema"))?;
    if tables > 0 && marked != application {
        let found = FoundInstead::OtherKind { application_id: marked, tables };
        return Err(StoreError::Foreign { path: path.display().to_string(), found });
    }
    let known = migrations.len() as i64;
    if found > known { Err(StoreError::NewerSchema { found, known }) } else { Ok(()) }
}

/// Applies the migrations that the file has not seen, each in a transaction of its own.
fn migrate(connection: &Connection, application: i64, migrations: &[&str]) -> Result<(), StoreError> {
    let found = pragma_value(connection, "user_version")?;
    for (version, migration) in (1..).zip(migrations).skip(found as usize) {
        let script = format!(
            "BEGIN IMMEDIATE; {migration}; PRAGMA application_id = {application}; PRAGMA user_version = {version}; COMMIT;"
        );
        connection.execute_batch(&script).map_err(failed("migration"))?;
    }
    Ok(())
}
