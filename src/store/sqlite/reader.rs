//! The reading half of a log, for its writer and beside it.
//!
//! A read is a handful of point reads and costs less than handing it to another thread would, so it
//! runs where it is asked for. What spans several statements runs in one read transaction.

use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::index::View;
use super::readers::{ReadConnection, ReaderPool};
use super::rows;
use super::segment::{SEGMENT_WIDTH, decode_tail, segment_leaves};
use crate::module::ModuleVersion;
use crate::store::evidence::{KeptIncident, StoredEvidence};
use crate::store::{LogReader, SUBTREE_WIDTH, StoreError, StoredHead, StoredRecord};
use crate::tlog::{Hash, RecordId, TILE_WIDTH, TreeSize};

/// Reads the tables of one log through its index. Any number of threads share it.
pub(super) struct TableReader {
    /// The secret of the database under which the index hashes module versions.
    pub(super) index_key: [u8; 16],
    /// The index as it is shown. Only the writer's index replaces it, after a commit.
    pub(super) view: Arc<ArcSwap<View>>,
    pub(super) pool: Arc<ReaderPool>,
}

impl LogReader for TableReader {
    fn find(&self, module: &ModuleVersion, below: TreeSize) -> Result<Option<StoredRecord>, StoreError> {
        // The view first: its rows were committed before it was shown.
        let view = self.view.load();
        self.pool.read(|ReadConnection { db, decoder, .. }| {
            rows::find(db, decoder, &view, &self.index_key, module, below.0)
        })
    }

    fn records(&self, ids: Range<u64>) -> Result<Vec<StoredRecord>, StoreError> {
        self.pool.read(|ReadConnection { db, decoder, .. }| rows::records(db, decoder, ids))
    }

    fn leaves(&self, ids: Range<u64>) -> Result<Vec<Hash>, StoreError> {
        self.pool.read(|ReadConnection { db, .. }| {
            let mut leaves = Vec::with_capacity((ids.end - ids.start).min(TILE_WIDTH) as usize);
            rows::segments(db, ids.clone(), |segment, body| {
                let first = segment * SEGMENT_WIDTH;
                let skip = ids.start.saturating_sub(first) as usize;
                let take = (ids.end - first.max(ids.start)) as usize;
                leaves.extend(segment_leaves(segment, body)?.skip(skip).take(take));
                Ok(())
            })?;
            let from = ids.start + leaves.len() as u64;
            rows::tail_rows(db, from..ids.end, |id, body| {
                leaves.push(decode_tail(id.0, body)?.leaf);
                Ok(())
            })?;
            Ok(leaves)
        })
    }

    fn tile(&self, level: u8, number: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        self.hashes(rows::tile_id(level, number), TILE_WIDTH)
    }

    fn subtrees(&self, tile: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        self.hashes(rows::subtrees_id(tile), SUBTREE_WIDTH)
    }

    fn evidence(&self, id: RecordId) -> Result<Option<StoredEvidence>, StoreError> {
        self.pool.read(|ReadConnection { db, .. }| rows::evidence(db, id))
    }

    fn head(&self, size: TreeSize) -> Result<Option<StoredHead>, StoreError> {
        let Ok(size) = i64::try_from(size.0) else { return Ok(None) };
        self.pool.read(|reader| rows::head(&reader.db, size))
    }

    fn heads(&self, before: TreeSize, limit: usize) -> Result<Vec<StoredHead>, StoreError> {
        let before = i64::try_from(before.0).unwrap_or(i64::MAX);
        self.pool.read(|reader| rows::heads(&reader.db, before, limit))
    }

    fn incidents(&self, limit: usize) -> Result<Vec<KeptIncident>, StoreError> {
        self.pool.read(|reader| rows::incidents(&reader.db, limit))
    }
}

impl TableReader {
    fn hashes(&self, id: i64, count: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        self.pool.read(|reader| rows::hashes(&reader.db, id, count))
    }
}
