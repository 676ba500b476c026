//! The index made again from the records: it is derived, so damage in it is no loss.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rusqlite::Connection;

use super::connection::empty_wal;
use super::errors::{damaged, failed};
use super::index::{FLUSH, View};
use super::log_database::{open_writer, read_identity};
use super::merge::{Change, Index};
use super::rows;
use super::segment::Decoder;
use super::shape::{IndexEntry, hash_module};
use crate::store::{StoreError, StoredRecord};

/// Entries that a commit moves when only merging is left.
const MERGED_PER_COMMIT: u64 = 1 << 20;

/// Throws away the index of the log at `path` and makes it again. Returns how many records it
/// finds. `progress` is told how many are in it, and how many there are.
///
/// For a log that nobody has open. Stopped anywhere it leaves an index of the first records, which
/// the next start completes. A record that cannot be read is an error before anything is thrown
/// away: such a log must be restored.
pub fn rebuild_index(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<u64, StoreError> {
    if !path.exists() {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no log here");
        return Err(StoreError::File { path: path.display().to_string(), source });
    }
    let db = open_writer(path)?;
    let (_, key) = read_identity(&db, path, None)?;
    let mut decoder =
        Decoder::new().map_err(|source| StoreError::File { path: "zstd".to_owned(), source })?;
    let size = rows::stored_size(&db)?;
    for piece in pieces(0..size) {
        read(&db, &mut decoder, piece)?;
    }
    clear(&db)?;
    let view = Arc::new(ArcSwap::from_pointee(View::default()));
    let (mut index, runs) = Index::load(&db, view, key, &[])?;
    index.show(runs, Vec::new());
    let mut entries = |ids| entries(&db, &mut decoder, &key, ids);
    fill(&db, &mut index, size, &mut entries, &mut |done| progress(done, size))?;
    loop {
        let (change, idle): (Change, bool) = commit(&db, || index.tidy(&db, MERGED_PER_COMMIT))?;
        index.publish(change);
        if idle {
            break;
        }
    }
    empty_wal(&db)?;
    Ok(size)
}

/// Adds the records from the end of the runs to before `end`, a bounded number at a time. The index
/// must show its runs and nothing else.
pub(super) fn fill(
    db: &Connection,
    index: &mut Index,
    end: u64,
    entries: &mut dyn FnMut(Range<u64>) -> Result<Vec<IndexEntry>, StoreError>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), StoreError> {
    for piece in pieces(index.flushed..end) {
        let done = piece.end;
        let entries = entries(piece)?;
        let change = commit(db, || index.append(db, entries))?;
        index.publish(change);
        progress(done);
    }
    Ok(())
}

/// Throws the index away. Until it is filled again nothing can be found.
pub(super) fn clear(db: &Connection) -> Result<(), StoreError> {
    commit(db, || {
        let clear = "DELETE FROM index_bucket; DELETE FROM index_run";
        db.execute_batch(clear).map_err(failed("delete from index"))
    })
}

/// What the index has of these records of a log of ours.
pub(super) fn entries(
    db: &Connection,
    decoder: &mut Decoder,
    key: &[u8; 16],
    ids: Range<u64>,
) -> Result<Vec<IndexEntry>, StoreError> {
    let records = read(db, decoder, ids)?;
    Ok(records.iter().map(|record| (hash_module(key, &record.lines.module), record.id.0)).collect())
}

fn pieces(ids: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    ids.clone().step_by(FLUSH as usize).map(move |first| first..(first + FLUSH).min(ids.end))
}

fn read(db: &Connection, decoder: &mut Decoder, ids: Range<u64>) -> Result<Vec<StoredRecord>, StoreError> {
    let records = rows::records(db, decoder, ids.clone())?;
    if records.len() as u64 == ids.end - ids.start {
        return Ok(records);
    }
    let place = format!("record {}", ids.start + records.len() as u64);
    Err(damaged(place)("missing".to_owned()))
}

fn commit<T>(db: &Connection, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    db.execute_batch("BEGIN IMMEDIATE").map_err(failed("begin"))?;
    // Dropping the connection rolls back what fails.
    let done = work()?;
    db.execute_batch("COMMIT").map_err(failed("commit"))?;
    Ok(done)
}
