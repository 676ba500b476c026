//! The rows of the index: writing a run, reading its buckets, and taking it away again.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, params};

use super::errors::failed;
use super::index::View;
use super::resident::Resident;
use super::segment::{RowPlace, SEGMENT_WIDTH, unwrap_at, wrap_at};
use super::shape::{IndexEntry, IndexRun};
use crate::store::StoreError;

/// States of a run, as `index_run.state` holds them.
pub(super) const MERGING: i64 = 0;
pub(super) const LIVE: i64 = 1;
pub(super) const SWEPT: i64 = 2;

/// Merged runs are numbered from here, so that flushes and merges each write to a place of their
/// own in the table.
pub(super) const FIRST_MERGED: u64 = 1 << 30;

pub(super) fn bucket_id(run: u64, bucket: u64) -> i64 {
    (run << 32 | bucket) as i64
}

/// Writes the row that describes a run.
pub(super) fn insert_run(db: &Connection, run: &IndexRun, state: i64) -> Result<(), StoreError> {
    let IndexRun { id, shape, .. } = *run;
    db.prepare_cached("INSERT INTO index_run (run_id, state, first, finish, bits) VALUES (?, ?, ?, ?, ?)")
        .and_then(|mut insert| {
            insert.execute(params![id as i64, state, shape.first as i64, shape.finish as i64, shape.bits])
        })
        .map(drop)
        .map_err(failed("insert into index_run"))
}

pub(super) fn set_state(db: &Connection, id: u64, state: i64) -> Result<(), StoreError> {
    let changed = db
        .prepare_cached("UPDATE index_run SET state = ? WHERE run_id = ?")
        .and_then(|mut update| update.execute(params![state, id as i64]))
        .map_err(failed("update of index_run"))?;
    if changed == 1 {
        return Ok(());
    }
    // Somebody else has swept it: nothing that is built on it may stand.
    Err(StoreError::Conflict { expected: format!("index run {id}"), found: "none".to_owned() })
}

/// Writes sorted entries as these buckets, of which they must be all the entries. A bucket without
/// entries is written, too: whoever finds no row knows that it is lost.
pub(super) fn insert_buckets(
    db: &Connection,
    run: &IndexRun,
    buckets: Range<u64>,
    mut entries: &[IndexEntry],
) -> Result<(), StoreError> {
    let mut insert = db
        .prepare_cached("INSERT INTO index_bucket (bucket_id, body) VALUES (?, ?)")
        .map_err(failed("insert into index_bucket"))?;
    for number in buckets {
        let end = entries.partition_point(|entry| run.shape.bucket_of(entry.0) == number);
        let (bucket, rest) = entries.split_at(end);
        entries = rest;
        insert
            .execute(params![
                bucket_id(run.id, number),
                wrap_at(place(run, number), &run.shape.encode(bucket))
            ])
            .map_err(failed("insert into index_bucket"))?;
    }
    assert!(entries.is_empty(), "entries of other buckets");
    Ok(())
}

/// What the checksum of a bucket is bound to: the run with its records, the key of the index and
/// the bucket's number.
fn place(run: &IndexRun, bucket: u64) -> RowPlace {
    RowPlace::Bucket(run.mark.wrapping_add(bucket))
}

/// Appends all entries of the buckets from `from` to before `to`, sorted. Each bucket must be
/// there.
pub(super) fn read_buckets(
    db: &Connection,
    run: &IndexRun,
    from: u64,
    to: u64,
    out: &mut Vec<IndexEntry>,
) -> Result<(), StoreError> {
    let mut select = db
        .prepare_cached("SELECT bucket_id, body FROM index_bucket WHERE bucket_id >= ? AND bucket_id < ? ORDER BY bucket_id")
        .map_err(failed("read of index_bucket"))?;
    let mut rows = select
        .query(params![bucket_id(run.id, from), bucket_id(run.id, to)])
        .map_err(failed("read of index_bucket"))?;
    for bucket in from..to {
        let id = bucket_id(run.id, bucket);
        let Some(row) = rows.next().map_err(failed("read of index_bucket"))? else {
            return Err(damaged_bucket(id, "missing".to_owned()));
        };
        if row.get::<_, i64>(0).map_err(failed("read of index_bucket"))? != id {
            return Err(damaged_bucket(id, "missing".to_owned()));
        }
        let body =
            row.get_ref(1).and_then(|body| Ok(body.as_blob()?)).map_err(failed("read of index_bucket"))?;
        let decoded = unwrap_at(place(run, bucket), body).and_then(|body| {
            run.shape.decode(bucket, body, out).ok_or_else(|| "not a bucket of this run".to_owned())
        });
        decoded.map_err(|why| damaged_bucket(id, why))?;
    }
    Ok(())
}

/// The segments in which a run may have a record under a hash: from memory, where it is to be
/// there.
pub(super) fn probe(
    db: &Connection,
    run: &IndexRun,
    resident: Option<&Resident>,
    hash: u64,
) -> Result<Vec<u64>, StoreError> {
    match resident.map(|resident| resident.segments(hash, |buckets| read_piece(db, run, buckets))) {
        // A damaged bucket is an error for what is in it, and not for those that are read with it.
        None | Some(Err(StoreError::Damaged { .. })) => {
            let records = probe_row(db, run, hash)?;
            Ok(records.into_iter().map(|record| record / SEGMENT_WIDTH).collect())
        }
        Some(found) => found,
    }
}

/// Whether a record may be under each of these hashes. Run by run, so that the memory that one hash
/// needs is on its way while the next one is looked at.
pub(super) fn may_have(db: &Connection, view: &View, hashes: &[u64]) -> Result<Vec<bool>, StoreError> {
    let mut may = view.recent_has(hashes);
    for (run, resident) in view.each() {
        match resident {
            Some(resident) => resident.may_have(hashes, &mut may, |buckets| read_piece(db, run, buckets))?,
            None => {
                // In the order in which the buckets lie on disk: of many hashes several are in one
                // page.
                let mut open: Vec<usize> = (0..hashes.len()).filter(|at| !may[*at]).collect();
                open.sort_unstable_by_key(|at| hashes[*at]);
                for at in open {
                    may[at] = !probe(db, run, None, hashes[at])?.is_empty();
                }
            }
        }
    }
    Ok(may)
}

fn read_piece(db: &Connection, run: &IndexRun, buckets: Range<u64>) -> Result<Vec<IndexEntry>, StoreError> {
    let mut entries = Vec::new();
    read_buckets(db, run, buckets.start, buckets.end, &mut entries)?;
    Ok(entries)
}

/// The records that a run has under a hash, as they are on disk.
pub(super) fn probe_row(db: &Connection, run: &IndexRun, hash: u64) -> Result<Vec<u64>, StoreError> {
    let bucket = run.shape.bucket_of(hash);
    let id = bucket_id(run.id, bucket);
    let found = db
        .prepare_cached("SELECT body FROM index_bucket WHERE bucket_id = ?")
        .and_then(|mut select| {
            select
                .query_row([id], |row| {
                    let body = row.get_ref(0)?.as_blob()?;
                    Ok(unwrap_at(place(run, bucket), body).and_then(|body| {
                        run.shape.search(hash, body).ok_or_else(|| "not a bucket of this run".to_owned())
                    }))
                })
                .optional()
        })
        .map_err(failed("read of index_bucket"))?;
    // Each bucket has a row, also one that nobody hashed into: without it nobody knows what was in
    // it.
    found.unwrap_or_else(|| Err("missing".to_owned())).map_err(|why| damaged_bucket(id, why))
}

fn damaged_bucket(id: i64, why: String) -> StoreError {
    StoreError::Damaged { place: format!("index_bucket {id}"), why }
}

/// Deletes up to `limit` rows of a dead run. True when nothing of it is left.
pub(super) fn sweep(db: &Connection, id: u64, limit: u64) -> Result<bool, StoreError> {
    let range = [bucket_id(id, 0), bucket_id(id + 1, 0), limit as i64];
    let gone = db
        .prepare_cached(
            "DELETE FROM index_bucket WHERE bucket_id IN
             (SELECT bucket_id FROM index_bucket WHERE bucket_id >= ? AND bucket_id < ? LIMIT ?)",
        )
        .and_then(|mut delete| delete.execute(range))
        .map_err(failed("delete from index_bucket"))?;
    if gone as u64 == limit {
        return Ok(false);
    }
    db.prepare_cached("DELETE FROM index_run WHERE run_id = ?")
        .and_then(|mut delete| delete.execute([id as i64]))
        .map(|_| true)
        .map_err(failed("delete from index_run"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::super::index::RESIDENT;
    use super::super::shape::Shape;
    use super::*;

    /// A small run in memory, and one so large that it is asked on disk.
    #[test]
    fn what_is_there_may_be_there_in_memory_and_on_disk() {
        let directory = tempfile::tempdir().unwrap();
        let db = super::super::log_database::open_writer(&directory.path().join("log.db")).unwrap();
        let hash = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
        let key = [7; 16];
        let large = IndexRun::new(1, Shape::over(0, RESIDENT + 1), &key);
        let small = IndexRun::new(2, Shape::over(RESIDENT + 1, RESIDENT + 301), &key);
        db.execute_batch("BEGIN").unwrap();
        for run in [&large, &small] {
            let mut entries: Vec<IndexEntry> =
                (run.shape.first..run.shape.first + 300).map(|id| (hash(id), id)).collect();
            entries.sort_unstable();
            insert_buckets(&db, run, 0..1 << run.shape.bits, &entries).unwrap();
        }
        db.execute_batch("COMMIT").unwrap();
        let recent = BTreeSet::from([(hash(77), 99_999_999)]);
        let view = View::new(vec![large.clone(), small], recent, &View::default());
        assert_eq!(view.each().map(|(_, resident)| resident.is_some()).collect::<Vec<_>>(), [false, true]);
        let there = [0, 299, 150, 150, RESIDENT + 1, 77, RESIDENT + 300].map(hash);
        assert_eq!(may_have(&db, &view, &there).unwrap(), [true; 7]);
        let absent: Vec<u64> = (1_000..3_000).map(hash).collect();
        let taken = may_have(&db, &view, &absent).unwrap().into_iter().filter(|may| *may).count();
        assert!(taken < 10, "{taken} of 2000 that are not there");
        // Damage is never taken for absence: on disk it is an error, in memory the look-up will say
        // it.
        let spoil =
            "UPDATE index_bucket SET body = CAST(X'00' || substr(body, 2) AS BLOB) WHERE bucket_id >> 32 = ?";
        db.execute(spoil, [2]).unwrap();
        let again = View::new(
            vec![IndexRun::new(2, Shape::over(RESIDENT + 1, RESIDENT + 301), &key)],
            BTreeSet::new(),
            &View::default(),
        );
        assert_eq!(may_have(&db, &again, &absent[..3]).unwrap(), [true; 3]);
        db.execute(spoil, [1]).unwrap();
        let again = View::new(vec![Arc::clone(&large)], BTreeSet::new(), &View::default());
        assert!(matches!(may_have(&db, &again, &there[..1]), Err(StoreError::Damaged { .. })));
    }
}
