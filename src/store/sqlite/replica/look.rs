//! How far a mirror is, seen from another process than the one that may be writing it: two small reads, and nothing is opened
//! for writing.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::super::{failed, open_reader};
use super::segments;
use crate::store::StoreError;
use crate::tlog::TreeSize;

/// Reads one row of each of two tables.
const CACHE_KIB: u32 = 256;

/// How far a mirror is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Records that are there, verified.
    pub size: TreeSize,
    /// The size of the newest head whose every record is there.
    pub head: Option<TreeSize>,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Looks at the mirror at `path`; none when there is no such file.
pub fn look(path: &Path) -> Result<Option<Extent>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    let db = open_reader(path, CACHE_KIB)?;
    let size = number(&db, "SELECT size FROM edge")?.unwrap_or_default();
    let head = number(&db, "SELECT size FROM head ORDER BY size DESC LIMIT 1")?;
    Ok(Some(Extent { size, head, bytes: file_bytes(path) }))
}

/// Bytes of a mirror's files: database, write-ahead log, segments, places. What cannot be looked at counts nothing.
pub fn file_bytes(path: &Path) -> u64 {
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let segments: u64 = segments::paths(path).iter().map(|path| length(path)).sum();
    length(path) + length(Path::new(&log)) + segments
}

fn number(db: &Connection, select: &str) -> Result<Option<TreeSize>, StoreError> {
    let found = db.query_row(select, [], |row| row.get::<_, i64>(0)).optional();
    Ok(found.map_err(failed("read of edge"))?.map(|number| TreeSize(number as u64)))
}
