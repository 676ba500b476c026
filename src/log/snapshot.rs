//! One consistent view of the log: size, root, records and tiles that belong together.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;

use super::checkpoint::SignedCheckpoint;
use super::head::check_note;
use super::right_edge::{RightEdge, full_tile, subtree_roots, unfinished_tile};
use crate::module::ModuleVersion;
use crate::note::VerifierKey;
use crate::store::evidence::StoredEvidence;
use crate::store::{LogReader, SUBTREE_WIDTH, StoreError, StoredHead, StoredRecord};
use crate::tlog::{
    Hash, HashIndex, RecordId, TILE_HEIGHT, TILE_WIDTH, Tile, TileLevel, TreeSize, hashes_at, tile_root,
    tree_hash, tree_hash_indexes,
};

/// The log as it was when this snapshot was taken: what is appended later is not in it.
#[derive(Clone)]
pub struct Snapshot {
    pub(super) head: Arc<StoredHead>,
    /// Absent where the right edge is damaged: then each of its tiles is read when it is asked for,
    /// as far as it can be.
    pub(super) edge: Option<Arc<RightEdge>>,
    pub(super) reader: Arc<dyn LogReader>,
    /// The head as a checkpoint; absent in a log that signs nothing.
    pub(super) checkpoint: Option<Arc<SignedCheckpoint>>,
    /// The log's key: a head that is read again is verified before anybody sees it.
    pub(super) verifier: Arc<VerifierKey>,
    /// What was damaged when the log was opened. With it, a row that is not found may be a row that
    /// is lost, so no answer may say that something does not exist.
    pub(super) damage: Option<Arc<Damage>>,
}

/// The damage that a log was opened with, in the words of [`StoreError::Damaged`].
#[derive(Debug)]
pub(super) struct Damage {
    place: String,
    why: String,
}

impl Damage {
    pub(super) fn of(error: &StoreError) -> Arc<Damage> {
        let (place, why) = match error {
            StoreError::Damaged { place, why } => (place.clone(), why.clone()),
            error => ("the log".to_owned(), error.to_string()),
        };
        Arc::new(Damage { place, why })
    }

    fn error(&self) -> StoreError {
        StoreError::Damaged { place: self.place.clone(), why: self.why.clone() }
    }
}

impl Snapshot {
    /// The checkpoint of this snapshot's head. None in a log that signs nothing.
    pub fn checkpoint(&self) -> Option<&Arc<SignedCheckpoint>> {
        self.checkpoint.as_ref()
    }

    /// The signed head that everything else in this snapshot is under.
    pub fn head(&self) -> &Arc<StoredHead> {
        &self.head
    }

    /// Number of records.
    pub fn size(&self) -> TreeSize {
        self.head.tree.size
    }

    /// The record of a module version. In a log that was opened damaged, a module version that is
    /// not found is an error: its record may be among those that are lost.
    pub fn find(&self, module: &ModuleVersion) -> Result<Option<StoredRecord>, StoreError> {
        let found = self.reader.find(module, self.size())?;
        found.map_or_else(|| self.absent(), |record| Ok(Some(record)))
    }

    /// Says that something does not exist, where the log can know that.
    fn absent<T>(&self) -> Result<Option<T>, StoreError> {
        self.damage.as_ref().map_or(Ok(None), |damage| Err(damage.error()))
    }

    /// A record by its number.
    pub fn record(&self, id: RecordId) -> Result<Option<StoredRecord>, StoreError> {
        if id.0 >= self.size().0 {
            return Ok(None);
        }
        Ok(Some(self.records(id.0..id.0 + 1)?.swap_remove(0)))
    }

    /// The records in `ids`, as far as the log goes.
    pub fn records(&self, ids: Range<u64>) -> Result<Vec<StoredRecord>, StoreError> {
        let ids = ids.start..ids.end.min(self.size().0);
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let records = self.reader.records(ids.clone())?;
        complete(&ids, records.len(), "record")?;
        Ok(records)
    }

    /// Where a record comes from, and when it was appended.
    pub fn evidence(&self, id: RecordId) -> Result<Option<StoredEvidence>, StoreError> {
        if id.0 >= self.size().0 {
            return Ok(None);
        }
        // Each commit writes the evidence of each of its records.
        let lost =
            || StoreError::Damaged { place: format!("evidence of record {id}"), why: "missing".to_owned() };
        self.reader.evidence(id)?.map_or_else(|| Err(lost()), |kept| Ok(Some(kept)))
    }

    /// Up to `limit` published heads smaller than `before`, newest first.
    pub fn heads(&self, before: TreeSize, limit: usize) -> Result<Vec<StoredHead>, StoreError> {
        let heads = self.reader.heads(before.min(TreeSize(self.size().0 + 1)), limit)?;
        heads.iter().try_for_each(|head| self.prove(head))?;
        // The first head of each log is of size 0: a list that ends before it has lost rows.
        let is_whole = heads.len() == limit || heads.last().is_some_and(|head| head.tree.size.0 == 0);
        if !is_whole && before.0 > 0 {
            self.absent::<()>()?;
        }
        Ok(heads)
    }

    /// Verifies the signature of a head that was read from the store.
    fn prove(&self, head: &StoredHead) -> Result<(), StoreError> {
        if *head == *self.head {
            return Ok(());
        }
        let place = || format!("head {}", head.tree.size);
        check_note(head, &self.verifier).map_err(|why| StoreError::Damaged { place: place(), why })
    }

    /// The published head of exactly this size.
    pub fn head_at(&self, size: TreeSize) -> Result<Option<StoredHead>, StoreError> {
        match self.readable_head(size)? {
            None if size <= self.size() => self.absent(),
            found => Ok(found),
        }
    }

    /// The published head of exactly this size, if it can be read. A log that was opened damaged
    /// may have lost it.
    pub(super) fn readable_head(&self, size: TreeSize) -> Result<Option<StoredHead>, StoreError> {
        if size > self.size() {
            return Ok(None);
        }
        let head = self.reader.head(size)?;
        head.map(|head| self.prove(&head).map(|()| head)).transpose()
    }

    /// The head that was newest at a time, by the clock that it was signed by; none before the
    /// first.
    ///
    /// Heads are kept by size, so this halves the sizes until one head is left: some thirty point
    /// reads.
    pub(crate) fn head_at_time(&self, time: Timestamp) -> Result<Option<StoredHead>, StoreError> {
        let newest_up_to = |size: u64| Ok(self.heads(TreeSize(size + 1), 1)?.pop());
        let was = |head: &Option<StoredHead>| head.as_ref().is_some_and(|head| head.signed_at <= time);
        if self.head.signed_at <= time {
            return Ok(Some((*self.head).clone()));
        }
        let mut found = newest_up_to(0)?;
        // Heads up to `low` records were there, the newest of up to `high` was not.
        let (mut low, mut high) = (0, self.size().0);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            let head = newest_up_to(middle)?;
            if was(&head) {
                (low, found) = (middle, head);
            } else {
                // The next head below is the only one that can still be it.
                high = head.map_or(middle, |head| head.tree.size.0.max(low + 1));
            }
        }
        Ok(found.filter(|head| head.signed_at <= time))
    }

    /// The body of a tile of height 8, or `None` when the tree does not reach so far.
    ///
    /// A hash tile is `width` hashes of 32 bytes, a data tile is `width` records, each followed by
    /// a blank line.
    pub fn tile(&self, tile: &Tile) -> Result<Option<Vec<u8>>, StoreError> {
        if tile.height != TILE_HEIGHT {
            return Ok(None);
        }
        let level = match tile.level {
            TileLevel::Hash(level) => level,
            TileLevel::Data => 0,
        };
        let first = tile.number.saturating_mul(TILE_WIDTH);
        let end = first.saturating_add(u64::from(tile.width));
        if end > hashes_at(TILE_HEIGHT, level, self.size()) {
            return Ok(None);
        }
        if tile.level == TileLevel::Data {
            return self.records(first..end).map(|records| Some(data_tile(&records)));
        }
        let hashes = self.tile_hashes(level, tile.number)?;
        let mut body = Vec::with_capacity(tile.width as usize * 32);
        hashes[..tile.width as usize].iter().for_each(|hash| body.extend(hash.as_bytes()));
        Ok(Some(body))
    }

    /// The hashes of a tile, as many as this tree has.
    pub(super) fn tile_hashes(&self, level: u8, number: u64) -> Result<Vec<Hash>, StoreError> {
        if number < hashes_at(TILE_HEIGHT, level, self.size()) / TILE_WIDTH {
            return full_tile(&*self.reader, level, number);
        }
        match &self.edge {
            Some(edge) => Ok(edge.level(level).to_vec()),
            None => unfinished_tile(&*self.reader, self.size(), level),
        }
    }

    /// The roots of the subtrees of sixteen records in a level-0 tile, as many as are complete in
    /// this tree.
    pub(super) fn subtrees(&self, tile: u64) -> Result<Vec<Hash>, StoreError> {
        if tile < self.size().0 / TILE_WIDTH
            && let Some(roots) = self.reader.subtrees(tile)?
        {
            return Ok(roots);
        }
        Ok(subtree_roots(&self.tile_hashes(0, tile)?))
    }

    /// The leaves of a subtree of sixteen records, by its number in the log, as many as this tree
    /// has.
    pub(super) fn subtree_leaves(&self, subtree: u64) -> Result<Vec<Hash>, StoreError> {
        let (first, sealed) = (subtree * SUBTREE_WIDTH, self.size().0 / TILE_WIDTH * TILE_WIDTH);
        let ids = first..(first + SUBTREE_WIDTH).min(self.size().0);
        let leaves = match &self.edge {
            Some(edge) if first >= sealed => {
                edge.level(0)[(first - sealed) as usize..(ids.end - sealed) as usize].to_vec()
            }
            _ => self.reader.leaves(ids.clone())?,
        };
        complete(&ids, leaves.len(), "leaf of record")?;
        Ok(leaves)
    }

    /// Stored hashes of the tree, for proofs and for the roots of smaller trees. Each tile is read
    /// once: most hashes of a proof lie in the same few.
    pub fn hashes(&self, indexes: &[HashIndex]) -> Result<Vec<Hash>, StoreError> {
        let mut tiles: HashMap<(u8, u64), Vec<Hash>> = HashMap::new();
        let mut hash = |index: &HashIndex| {
            let (tile, under) = Tile::over(TILE_HEIGHT, *index);
            let TileLevel::Hash(level) = tile.level else {
                unreachable!("a stored hash lies in a hash tile")
            };
            let hashes = match tiles.entry((level, tile.number)) {
                Entry::Occupied(read) => read.into_mut(),
                Entry::Vacant(unread) => unread.insert(self.tile_hashes(level, tile.number)?),
            };
            Ok(tile_root(&hashes[under]))
        };
        indexes.iter().map(&mut hash).collect()
    }

    /// The root of the first `size` records.
    pub fn root_at(&self, size: TreeSize) -> Result<Hash, StoreError> {
        assert!(size <= self.size(), "the log has {} records, not {size}", self.size());
        let hashes = self.hashes(&tree_hash_indexes(size))?;
        Ok(tree_hash(size, &hashes).expect("as many hashes as were asked for"))
    }
}

fn data_tile(records: &[StoredRecord]) -> Vec<u8> {
    let mut body = String::with_capacity(records.len() * 256);
    for record in records {
        record.lines.push_text(&mut body);
        body.push('\n');
    }
    body.into_bytes()
}

fn complete(ids: &Range<u64>, found: usize, what: &str) -> Result<(), StoreError> {
    if found as u64 == ids.end - ids.start {
        return Ok(());
    }
    Err(StoreError::Damaged {
        place: format!("{what} {}", ids.start + found as u64),
        why: "missing".to_owned(),
    })
}
