//! How far a mirror is, seen from another process than the one that may be writing it: two small
//! reads, and nothing is opened for writing.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::super::connection::{open_reader, pragma_value};
use super::super::errors::failed;
use super::super::seen_heads;
use super::copy::extent;
use super::{KEPT_TWICE, segments};
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
    // What the server commits in between must not make the two copies differ.
    let state = db.unchecked_transaction().map_err(failed("begin"))?;
    let (size, head) = if pragma_value(&state, "user_version")? >= KEPT_TWICE {
        let size = extent(&state)?.map(|(size, _)| TreeSize(size as u64));
        (size, seen_heads::newest(&state)?.map(|head| head.tree.size))
    } else {
        (
            number(&state, "SELECT size FROM edge")?,
            number(&state, "SELECT size FROM head ORDER BY size DESC LIMIT 1")?,
        )
    };
    let size = size.unwrap_or_default();
    Ok(Some(Extent { size, head, bytes: file_bytes(path) }))
}

/// Bytes of a mirror's files: database, write-ahead log, segments, places. What cannot be looked at
/// counts nothing.
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
