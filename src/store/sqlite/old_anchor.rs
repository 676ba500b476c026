//! Anchors of older programs: a SQLite database of one row, in WAL mode.
//!
//! `migrations/sqlite/anchor_0001.sql` is their layout. This program writes none, and reads one to
//! convert it ([`crate::store::anchor`]).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::connection::{check_owner, connect};
use super::errors::{damaged, failed, from_micros};
use crate::store::StoreError;
use crate::store::anchor::Anchored;
use crate::store::durable::sync_name;
use crate::tlog::{Hash, TreeHead, TreeSize};

/// "anch" in ASCII: an anchor is not mistaken for a log, nor a log for an anchor.
const APPLICATION_ID: i64 = 0x616e_6368;
/// The one layout that there was.
const VERSIONS: &[&str] = &[""];
/// How a SQLite database begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

type Row = Option<(Anchored, Timestamp)>;

/// An old anchor that is whole in one file. Nobody else can open it while this lives.
pub(in crate::store) struct Whole {
    pub(in crate::store) row: Row,
    _exclusive: Connection,
}

/// Whether the file at `path` is a SQLite database, or an empty file whose content lies in a
/// `-wal`.
pub(in crate::store) fn is_old(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAGIC.len() as u64).read_to_end(&mut start)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let has_wal = || std::fs::metadata(beside(path, "-wal")).is_ok_and(|found| found.len() > 0);
    Ok(start == MAGIC || start.is_empty() && has_wal())
}

/// Reads an old anchor, also beside an old server that writes it.
pub(in crate::store) fn read(path: &Path) -> Result<Row, StoreError> {
    row(&open(path)?)
}

/// Folds the `-wal` into the database, so that the file alone is the whole truth, and reads it.
pub(in crate::store) fn make_whole(path: &Path) -> Result<Whole, StoreError> {
    let db = open(path)?;
    let in_use = |_| StoreError::Locked { path: path.display().to_string(), holder: None };
    // SQLite leaves WAL mode only for who is alone: an old server that runs keeps its anchor. It
    // syncs the database before it removes the `-wal`.
    let mode: String =
        db.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0)).map_err(in_use)?;
    if mode != "delete" {
        return Err(StoreError::Locked { path: path.display().to_string(), holder: None });
    }
    db.execute_batch("BEGIN EXCLUSIVE").map_err(in_use)?;
    let row = row(&db)?;
    // A `-wal` that stayed would be folded by an old program into whatever has this name later.
    let failed = |source| StoreError::File { path: path.display().to_string(), source };
    for suffix in ["-wal", "-shm"] {
        match std::fs::remove_file(beside(path, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    sync_name(path).map_err(failed)?;
    Ok(Whole { row, _exclusive: db })
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    check_owner(&db, path, APPLICATION_ID, VERSIONS)?;
    Ok(db)
}

fn row(db: &Connection) -> Result<Row, StoreError> {
    let tables: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'anchor'", [], |row| row.get(0))
        .map_err(failed("read of the schema"))?;
    if tables == 0 {
        return Ok(None);
    }
    let read = db.query_row("SELECT vkey, epoch, size, root, updated_at FROM anchor", [], |row| {
        let (epoch, size) = (row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64);
        let tree = TreeHead { size: TreeSize(size), root: Hash::from_bytes(row.get(3)?) };
        Ok((Anchored { vkey: row.get(0)?, epoch, tree, stops: 0 }, row.get::<_, i64>(4)?))
    });
    let Some((anchored, at)) = read.optional().map_err(failed("read of anchor"))? else { return Ok(None) };
    let at = from_micros(at).map_err(damaged("anchor".to_owned()))?;
    Ok(Some((anchored, at)))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}
