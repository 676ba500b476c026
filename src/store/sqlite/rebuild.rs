//! The index made again from the records: it is derived, so damage in it is no loss.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rusqlite::Connection;

use super::index::{FLUSH, View, hash_module};
use super::merge::{Change, Index};
use super::segment::Decoder;
use super::writer::read_identity;
use super::{failed, open_writer, reader};
use crate::store::StoreError;

/// Entries that a commit moves when only merging is left.
const MERGED_PER_COMMIT: u64 = 1 << 20;

/// Throws away the index of the log at `path` and makes it again. Returns how many records it finds. `progress` is told how many
/// are in it, and how many there are.
///
/// For a log that nobody has open. Stopped anywhere it leaves an index of the first records, and the next start knows the
/// others from the records themselves. A record that cannot be read is an error: such a log must be restored.
pub fn rebuild_index(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<u64, StoreError> {
    if !path.exists() {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no log here");
        return Err(StoreError::File { path: path.display().to_string(), source });
    }
    let db = open_writer(path)?;
    let (_, key) = read_identity(&db, path, None)?;
    let mut decoder =
        Decoder::new().map_err(|source| StoreError::File { path: "zstd".to_owned(), source })?;
    let size = reader::stored_size(&db)?;
    commit(&db, || {
        let clear = "DELETE FROM index_bucket; DELETE FROM index_filter; DELETE FROM index_run";
        db.execute_batch(clear).map_err(failed("delete from index"))
    })?;
    let view = Arc::new(ArcSwap::from_pointee(View { runs: Vec::new(), recent: Default::default() }));
    let (mut index, runs) = Index::load(&db, view, &[])?;
    index.show(runs, Vec::new());
    for first in (0..size).step_by(FLUSH as usize) {
        let end = (first + FLUSH).min(size);
        let records = reader::records(&db, &mut decoder, first..end)?;
        let entries =
            records.iter().map(|record| (hash_module(&key, &record.lines.module), record.id.0)).collect();
        let change = commit(&db, || index.append(&db, entries))?;
        index.publish(change);
        progress(end, size);
    }
    loop {
        let (change, idle): (Change, bool) = commit(&db, || index.tidy(&db, MERGED_PER_COMMIT))?;
        index.publish(change);
        if idle {
            break;
        }
    }
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed("checkpoint"))?;
    Ok(size)
}

fn commit<T>(db: &Connection, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    db.execute_batch("BEGIN IMMEDIATE").map_err(failed("begin"))?;
    // Dropping the connection rolls back what fails.
    let done = work()?;
    db.execute_batch("COMMIT").map_err(failed("commit"))?;
    Ok(done)
}
