//! What a re-verification needs of a mirror: names, whether the index leads to each record, and a
//! way to say that something is not what it was, so that it is not answered any more.

use std::ops::Range;
use std::sync::Arc;

use super::super::errors::damaged;
use rusqlite::Connection;

use super::super::index::View;
use super::super::readers::ReadConnection;
use super::super::runs;
use super::super::shape::{IndexEntry, hash_name};
use super::{ReplicaReader, ReplicaShared};
use crate::store::StoreError;
use crate::tlog::RecordId;

/// Probes of the index in one read. A write-ahead log that is looked at cannot be emptied, so not
/// for long.
const PROBES: usize = 8_192;

/// What was found to be wrong although its checksum is right.
#[derive(Clone, Debug, Default)]
pub(super) struct Condemned {
    records: Vec<Range<u64>>,
    /// Hash tiles by level and number.
    tiles: Vec<(u8, u64)>,
}

impl Condemned {
    /// An error if one of these records is condemned.
    pub(super) fn check(&self, ids: &Range<u64>) -> Result<(), StoreError> {
        match self.records.iter().find(|bad| bad.start < ids.end && ids.start < bad.end) {
            None => Ok(()),
            Some(bad) => Err(found_wrong(format!("records {} to {}", bad.start, bad.end - 1))),
        }
    }

    pub(super) fn check_tile(&self, level: u8, number: u64) -> Result<(), StoreError> {
        if !self.tiles.contains(&(level, number)) {
            return Ok(());
        }
        Err(found_wrong(format!("hash tile {number} of level {level}")))
    }
}

fn found_wrong(place: String) -> StoreError {
    damaged(place)("a re-verification found that it is not what was verified".to_owned())
}

/// Whether the index has a record, as it is on disk: what memory holds was right when it was read.
fn leads_to(db: &Connection, view: &View, hash: u64, id: u64) -> Result<bool, StoreError> {
    if view.recent_with(hash).contains(&id) {
        return Ok(true);
    }
    let run = view.runs.iter().find(|run| (run.shape.first..run.shape.finish).contains(&id));
    run.map_or(Ok(false), |run| Ok(runs::probe_row(db, run, hash)?.contains(&id)))
}

impl ReplicaReader {
    /// Tells number, path and version of each record in `ids`, in order. A record that is not two
    /// go.sum lines has no version and its whole text for a path.
    pub(crate) fn each_name(
        &self,
        ids: Range<u64>,
        mut tell: impl FnMut(RecordId, &str, &str),
    ) -> Result<(), StoreError> {
        let mut id = ids.start;
        self.each(ids, |parts| {
            tell(RecordId(id), parts.path, parts.version);
            id += 1;
        })
    }

    /// Those of the records in `ids` to which the index does not lead from their names.
    pub(crate) fn unindexed(&self, ids: Range<u64>) -> Result<Vec<RecordId>, StoreError> {
        let ReplicaShared { view, readers, index_key, .. } = &*self.0;
        let mut entries: Vec<IndexEntry> = Vec::new();
        self.each_name(ids, |id, path, version| entries.push((hash_name(index_key, path, version), id.0)))?;
        // In the order of the index, so that each of its pages is read once.
        entries.sort_unstable();
        let mut lost = Vec::new();
        for entries in entries.chunks(PROBES) {
            let view = view.load();
            readers.read(|ReadConnection { db, .. }| {
                for &(hash, id) in entries {
                    if !leads_to(db, &view, hash, id)? {
                        lost.push(RecordId(id));
                    }
                }
                Ok(())
            })?;
        }
        lost.sort_unstable();
        Ok(lost)
    }

    /// From now on, and as long as this process lives, these records are answered with an error.
    /// For damage that their checksums do not show.
    pub(crate) fn condemn(&self, ids: Range<u64>) {
        self.condemned(|condemned| {
            if !condemned.records.contains(&ids) {
                condemned.records.push(ids.clone());
            }
        });
    }

    /// The same, of a hash tile.
    pub(crate) fn condemn_tile(&self, level: u8, number: u64) {
        self.condemned(|condemned| {
            if !condemned.tiles.contains(&(level, number)) {
                condemned.tiles.push((level, number));
            }
        });
    }

    fn condemned(&self, change: impl Fn(&mut Condemned)) {
        self.0.condemned.rcu(|condemned| {
            let mut condemned = Condemned::clone(condemned);
            change(&mut condemned);
            Arc::new(condemned)
        });
    }
}
