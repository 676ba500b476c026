//! The database of an own log: how it is made, and whose it is.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, params};

use super::connection::{open_reader, open_writing};
use super::errors::{damaged, failed, from_micros, to_micros};
use crate::store::{FoundInstead, Identity, StoreError};

pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/0001_log.sql"),
    include_str!("../../../migrations/sqlite/0002_log.sql"),
    include_str!("../../../migrations/sqlite/0003_log.sql"),
];
/// "tall" in ASCII: marks the file as a log of ours.
pub(super) const APPLICATION_ID: i64 = 0x7461_6c6c;

/// Opens the writing connection of a log's database.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    open_writing(path, APPLICATION_ID, MIGRATIONS)
}

/// Says whose log the database is going to be, unless it has one.
pub(super) fn create_identity(db: &Connection, identity: &Identity) -> Result<(), StoreError> {
    let mut index_key = [0; 16];
    getrandom::fill(&mut index_key).expect("the system gives random bytes");
    let row = params![identity.name, identity.vkey, index_key, to_micros(identity.created_at)];
    db.execute("INSERT INTO identity (id, name, vkey, index_key, created_at) SELECT 1, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM identity)", row)
        .map(drop)
        .map_err(failed("insert into identity"))
}

/// Whether a log was created in the database at `path`. One that cannot be read, or is something
/// else, counts as one: who opens it says what is wrong.
pub(super) fn is_created(path: &Path) -> bool {
    let count = |db: &Connection, sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0));
    let created = |db: Connection| {
        if count(&db, "SELECT count(*) FROM sqlite_schema")? == 0 {
            return Ok(false);
        }
        match count(&db, "SELECT count(*) FROM sqlite_schema WHERE name = 'identity'")? {
            0 => Ok(true),
            _ => Ok(count(&db, "SELECT count(*) FROM identity")? > 0),
        }
    };
    let look = || {
        let db = open_reader(path, 64)?;
        // Whoever writes folds its write-ahead log, and says so when that fails.
        let quietly = db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        quietly.and_then(|_| created(db)).map_err(failed("read of identity"))
    };
    path.exists() && look().unwrap_or(true)
}

pub(super) fn read_identity(
    db: &Connection,
    path: &Path,
    wanted: Option<&Identity>,
) -> Result<(Identity, [u8; 16]), StoreError> {
    let found = db
        .query_row("SELECT name, vkey, created_at, index_key FROM identity", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, [u8; 16]>(3)?))
        })
        .optional()
        .map_err(failed("read of identity"))?;
    let foreign = |found| StoreError::Foreign { path: path.display().to_string(), found };
    let (name, vkey, created_at, index_key) = found.ok_or_else(|| foreign(FoundInstead::NoLog))?;
    let created_at = from_micros(created_at).map_err(damaged("identity".to_owned()))?;
    let identity = Identity { name, vkey, created_at };
    if !identity.vkey.starts_with(&format!("{}+", identity.name)) {
        let why = format!("the log {} has the key {}", identity.name, identity.vkey);
        return Err(damaged("identity".to_owned())(why));
    }
    match wanted {
        Some(wanted) if wanted.vkey != identity.vkey => {
            Err(foreign(FoundInstead::OtherLog { vkey: identity.vkey, wanted: wanted.vkey.clone() }))
        }
        _ => Ok((identity, index_key)),
    }
}
