//! Mirrors that an older program wrote: their segments lie in a table, from which they are moved
//! once.

use std::path::Path;

use rusqlite::{Connection, params};

use super::super::errors::{damaged, failed};
use super::super::rows::Numbered;
use super::segments::{Bounds, Segments};
use crate::store::StoreError;
use crate::store::lock::{DISK_RESERVE_BYTES, free_bytes};

const LEFT: Numbered = Numbered {
    table: "segment",
    action: "read of segment",
    select: "SELECT segment_id, body FROM segment_to_move WHERE segment_id >= ? AND segment_id < ? ORDER BY segment_id",
};
/// Bytes that are written at a time.
const RUN_BYTES: usize = 1 << 20;

/// Whether there is such a table. A new database has one, too, without a row.
pub(super) fn is_left(db: &Connection) -> Result<bool, StoreError> {
    let select = "SELECT count(*) FROM sqlite_schema WHERE name = 'segment_to_move'";
    db.query_row(select, [], |row| row.get(0)).map_err(failed("read of the schema"))
}

/// Moves `count` segments of the mirror at `path` to new files, and does away with their table,
/// whose pages are given back when the mirror settles. Killed on the way, it begins anew.
pub(super) fn move_segments(
    db: &Connection,
    path: &Path,
    segments: &Segments,
    count: u64,
) -> Result<(), StoreError> {
    if count > 0 {
        let failed = |source| StoreError::File { path: path.display().to_string(), source };
        let (needed, free) = (std::fs::metadata(path).map_err(failed)?.len(), free_bytes(path)?);
        if free < needed.saturating_add(DISK_RESERVE_BYTES) {
            tracing::error!(
                needed,
                free,
                "no space to move the records of an older mirror to a file of their own"
            );
            return Err(StoreError::Full);
        }
        tracing::info!(
            segments = count,
            "a mirror of an older program: its records move to a file of their own"
        );
    }
    let (mut bounds, mut bodies, mut ends) = (Bounds::NONE, Vec::new(), Vec::new());
    let next = LEFT.each(db, 0..count, |_, body| {
        bodies.extend_from_slice(body);
        ends.push(bodies.len());
        if bodies.len() >= RUN_BYTES {
            bounds = segments.append(bounds, std::iter::once((bodies.as_slice(), ends.as_slice())))?;
            bodies.clear();
            ends.clear();
        }
        Ok(())
    })?;
    if next < count {
        return Err(damaged(format!("segment {next}"))("missing".to_owned()));
    }
    bounds = segments.append(bounds, std::iter::once((bodies.as_slice(), ends.as_slice())))?;
    segments.sync()?;
    let transaction = db.unchecked_transaction().map_err(failed("begin"))?;
    transaction
        .execute("UPDATE edge SET segments_end = ?", params![bounds.end as i64])
        .and_then(|_| transaction.execute_batch("DROP TABLE segment_to_move"))
        .and_then(|()| transaction.commit())
        .map_err(failed("move of segments"))
}
