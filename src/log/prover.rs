//! Proofs from stored tiles: which hashes are needed, the few tiles that hold them, the proof.
//!
//! A proof in a tree of ten million records needs some two dozen hashes, and they lie in three
//! tiles: that of the record, and one on each level above. A tile holds 256 hashes of its lowest
//! row, and what lies between two levels is computed. Of level 0, of which there is too much to be
//! kept in memory, half of the rows are made from sixteen hashes that are stored for it:
//!
//! ```text
//! level 2   ▁▁▁▁▁▂…          one tile for 16.7 million records      ┐ kept in memory with all their rows
//! level 1   ▁▁▁▁▁▁▁▁▁▂…      one for 65,536                         ┘
//!           ▁▁▁▁▁▁▁▁▁▁▁▂…    sixteen subtrees for 256               as many as there is room for
//! level 0   ▁▁▁▁▁▁▁▁▁▁▁▁▂…   sixteen leaves of one of them          read each time, the rows above computed
//! ```
//!
//! What is made is verified before it is given away, up to the signed root where there is one for
//! that size: a proof that does not lead there is damage of what is stored, never an answer.

use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::snapshot::Snapshot;
use crate::store::{SUBTREE_HEIGHT, SUBTREE_WIDTH, StoreError};
use crate::tlog::{
    ConsistencyProof, HASH_SIZE, Hash, HashIndex, InclusionProof, ProofError, RecordId, TILE_HEIGHT,
    TILE_WIDTH, TreeHead, TreeSize, consistency_proof_indexes, hashes_at, inclusion_proof_indexes,
    prove_consistency, prove_inclusion, root_by_inclusion, split_stored_hash_index, stored_hash_index,
    tree_hash, tree_hash_indexes, verify_consistency,
};

/// Memory for tiles of level 1 and up with all their rows, 16 KiB each: as many as 67 million
/// records have. What they leave is for subtrees of level-0 tiles, a kilobyte each: clients come
/// from the same few trees.
const KEPT_BYTES: u64 = 16 << 20;
/// What a kept place costs beside its hashes.
const ENTRY_BYTES: u64 = 256;
/// How many records are searched for a hash: the log has no index by hash, and a client must not
/// make it read all of itself. A millisecond's work.
pub const HASH_SEARCH_RECORDS: u64 = 4096;

/// A record's place in a tree, proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inclusion {
    /// The record.
    pub record: RecordId,
    /// Its hash.
    pub leaf: Hash,
    /// Size and root of the tree.
    pub tree: TreeHead,
    /// From the record's sibling upwards.
    pub proof: InclusionProof,
    /// The signed note of exactly this tree, if it was published.
    pub note: Option<String>,
}

/// That an older tree is the beginning of a newer one, proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consistency {
    /// The older tree.
    pub older: TreeHead,
    /// The newer tree.
    pub newer: TreeHead,
    /// The deepest hash first; empty when both are of one size.
    pub proof: ConsistencyProof,
    /// The signed note of exactly the newer tree, if it was published.
    pub note: Option<String>,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProverError {
    /// There is no such proof in any log: a record beyond its tree, an older tree that is larger or
    /// empty.
    #[error(transparent)]
    Impossible(#[from] ProofError),
    /// The log has not grown to this size.
    #[error("the log has {}, not {size}: there is no tree of that size yet", .newest.records())]
    NoSuchTree {
        /// The size asked for.
        size: TreeSize,
        /// The size of the newest published tree.
        newest: TreeSize,
    },
    /// What is stored cannot be read, or does not give what was signed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes proofs. One for a log: it remembers the tiles that most proofs need.
pub struct Prover {
    /// Full of verified and unverified rows alike: each use compares them with the hashes above.
    kept: Cache<(u8, u64, u16), Arc<Rows>, ByRows>,
}

/// Where hashes lie together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The leaves of a subtree of sixteen records, by its number in the log.
    Leaves(u64),
    /// The roots of the sixteen subtrees of a level-0 tile, by its number.
    Subtrees(u64),
    /// A tile of level 1 and up: level and number.
    Tile(u8, u64),
}

impl Place {
    /// The place of a hash of the tree, the row above the hashes there, and its number within that
    /// row.
    fn of(index: HashIndex) -> (Place, usize, usize) {
        let (level, offset) = split_stored_hash_index(index);
        let (base, width) = match level {
            0..SUBTREE_HEIGHT => (0, SUBTREE_WIDTH),
            SUBTREE_HEIGHT..TILE_HEIGHT => (SUBTREE_HEIGHT, SUBTREE_WIDTH),
            _ => (level / TILE_HEIGHT * TILE_HEIGHT, TILE_WIDTH),
        };
        let row = level - base;
        let number = (offset << row) / width;
        let place = match base {
            0 => Place::Leaves(number),
            SUBTREE_HEIGHT => Place::Subtrees(number),
            _ => Place::Tile(base / TILE_HEIGHT, number),
        };
        (place, usize::from(row), (offset - ((number * width) >> row)) as usize)
    }

    /// Where the root of these hashes is stored, if there are all of them in a tree of this size:
    /// the place and the number in its lowest row.
    fn above(self, size: TreeSize) -> Option<(Place, usize)> {
        let (number, height, above) = match self {
            Place::Leaves(subtree) => (subtree, SUBTREE_HEIGHT, Place::Subtrees(subtree / SUBTREE_WIDTH)),
            Place::Subtrees(tile) => (tile, TILE_HEIGHT, Place::Tile(1, tile / TILE_WIDTH)),
            Place::Tile(level, number) => {
                (number, (level + 1) * TILE_HEIGHT, Place::Tile(level + 1, number / TILE_WIDTH))
            }
        };
        let width = if let Place::Leaves(_) = self { SUBTREE_WIDTH } else { TILE_WIDTH };
        (number < hashes_at(height, 1, size)).then_some((above, (number % width) as usize))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Leaves(subtree) => {
                let first = subtree * SUBTREE_WIDTH;
                write!(f, "leaves of records {first} to {}", first + SUBTREE_WIDTH - 1)
            }
            Place::Subtrees(tile) => write!(f, "subtrees of tile {tile} of level 0"),
            Place::Tile(level, number) => write!(f, "tile {number} of level {level}"),
        }
    }
}

/// Hashes that lie together, their parents, the parents of those, and so on, as far as they are
/// complete.
struct Rows {
    /// How many lie together.
    width: usize,
    /// Row by row from the lowest.
    hashes: Vec<Hash>,
}

#[derive(Clone, Copy)]
struct ByRows;

impl Weighter<(u8, u64, u16), Arc<Rows>> for ByRows {
    fn weight(&self, _: &(u8, u64, u16), rows: &Arc<Rows>) -> u64 {
        (rows.hashes.capacity() * HASH_SIZE) as u64 + ENTRY_BYTES
    }
}

impl Rows {
    fn over(mut hashes: Vec<Hash>) -> Rows {
        let width = hashes.len();
        hashes.reserve_exact(width);
        let mut row = 0..width;
        while row.len() > 1 {
            let next = row.end..row.end + row.len() / 2;
            for left in row.step_by(2).take(next.len()) {
                hashes.push(Hash::of_node(&hashes[left], &hashes[left + 1]));
            }
            row = next;
        }
        Rows { width, hashes }
    }

    /// The last of all, where the others lead to one.
    fn root(&self) -> Option<Hash> {
        self.hashes.last().copied().filter(|_| self.width.is_power_of_two())
    }

    fn hash(&self, row: usize, at: usize) -> Hash {
        assert!(at < self.width >> row, "hash {at} of row {row} above {} hashes", self.width);
        let before: usize = (0..row).map(|row| self.width >> row).sum();
        self.hashes[before + at]
    }
}

impl Default for Prover {
    fn default() -> Prover {
        Prover::new()
    }
}

impl Prover {
    /// A prover that remembers nothing yet.
    pub fn new() -> Prover {
        let each = 2 * TILE_WIDTH * HASH_SIZE as u64;
        Prover { kept: Cache::with_weighter((KEPT_BYTES / each) as usize, KEPT_BYTES, ByRows) }
    }

    /// The proof that a record is in the first `size` records.
    pub fn inclusion(
        &self,
        log: &Snapshot,
        record: RecordId,
        size: TreeSize,
    ) -> Result<Inclusion, ProverError> {
        check_size(log, size)?;
        let mut indexes = inclusion_proof_indexes(size, record)?;
        indexes.push(stored_hash_index(0, record.0));
        let mut hashes = self.hashes(log, &indexes)?;
        let leaf = hashes.pop().expect("the leaf was asked for");
        let proof = prove_inclusion(size, record, &hashes)?;
        let root = root_by_inclusion(&proof, size, record, &leaf)?;
        let note = note_of(log, &TreeHead { size, root })?;
        Ok(Inclusion { record, leaf, tree: TreeHead { size, root }, proof, note })
    }

    /// The proof that the first `older` records are the beginning of the first `newer` records.
    pub fn consistency(
        &self,
        log: &Snapshot,
        older: TreeSize,
        newer: TreeSize,
    ) -> Result<Consistency, ProverError> {
        let indexes = consistency_proof_indexes(newer, older)?;
        check_size(log, newer)?;
        let (old_indexes, new_indexes) = (tree_hash_indexes(older), tree_hash_indexes(newer));
        let all: Vec<HashIndex> = [&indexes[..], &old_indexes, &new_indexes].concat();
        let hashes = self.hashes(log, &all)?;
        let (hashes, rest) = hashes.split_at(indexes.len());
        let (old_hashes, new_hashes) = rest.split_at(old_indexes.len());
        let proof = prove_consistency(newer, older, hashes)?;
        let older = TreeHead { size: older, root: tree_hash(older, old_hashes)? };
        let newer = TreeHead { size: newer, root: tree_hash(newer, new_hashes)? };
        verify_consistency(&proof, newer.size, &newer.root, older.size, &older.root)?;
        note_of(log, &older)?;
        let note = note_of(log, &newer)?;
        Ok(Consistency { older, newer, proof, note })
    }

    /// The root of the first `size` records.
    pub fn root(&self, log: &Snapshot, size: TreeSize) -> Result<Hash, ProverError> {
        check_size(log, size)?;
        Ok(tree_hash(size, &self.hashes(log, &tree_hash_indexes(size))?)?)
    }

    /// The newest record with this hash among the last [`HASH_SEARCH_RECORDS`] of the first `size`
    /// records.
    pub fn find(&self, log: &Snapshot, leaf: &Hash, size: TreeSize) -> Result<Option<RecordId>, ProverError> {
        check_size(log, size)?;
        let first = size.0.saturating_sub(HASH_SEARCH_RECORDS);
        for tile in (first / TILE_WIDTH..size.0.div_ceil(TILE_WIDTH)).rev() {
            let hashes = log.tile_hashes(0, tile)?;
            let ids = tile * TILE_WIDTH..;
            let mut numbered = ids.zip(&hashes).filter(|(id, _)| (first..size.0).contains(id));
            if let Some((id, _)) = numbered.find(|(_, hash)| *hash == leaf) {
                return Ok(Some(RecordId(id)));
            }
        }
        Ok(None)
    }

    /// Stored hashes, each place read once.
    fn hashes(&self, log: &Snapshot, indexes: &[HashIndex]) -> Result<Vec<Hash>, StoreError> {
        let mut read = Vec::with_capacity(8);
        let mut hashes = Vec::with_capacity(indexes.len());
        for index in indexes {
            let (place, row, within) = Place::of(*index);
            let at = self.read(log, place, &mut read)?;
            hashes.push(read[at].1.hash(row, within));
        }
        Ok(hashes)
    }

    /// Reads the hashes of a place, which must have the root that is stored above them, and so on
    /// up to the right edge: of most sizes no root was signed, and what leads to none that is known
    /// must not make a proof either. Returns where in `read` they are.
    fn read(
        &self,
        log: &Snapshot,
        place: Place,
        read: &mut Vec<(Place, Arc<Rows>)>,
    ) -> Result<usize, StoreError> {
        if let Some(at) = read.iter().position(|(known, _)| *known == place) {
            return Ok(at);
        }
        let rows = self.rows(log, place)?;
        let (at, root) = (read.len(), rows.root());
        read.push((place, rows));
        if let (Some(root), Some((above, number))) = (root, place.above(log.size())) {
            let above = self.read(log, above, read)?;
            let stored = read[above].1.hash(0, number);
            if root != stored {
                let why = format!("have the root {root}, above them {stored} is stored");
                return Err(StoreError::Damaged { place: place.to_string(), why });
            }
        }
        Ok(at)
    }

    fn rows(&self, log: &Snapshot, place: Place) -> Result<Arc<Rows>, StoreError> {
        let (level, number) = match place {
            Place::Leaves(subtree) => return Ok(Arc::new(Rows::over(log.subtree_leaves(subtree)?))),
            Place::Subtrees(tile) => (0, tile),
            Place::Tile(level, number) => (level, number),
        };
        let width = (hashes_at(TILE_HEIGHT, level, log.size()) - number * TILE_WIDTH).min(TILE_WIDTH) as u16;
        let key = (level, number, width);
        if let Some(rows) = self.kept.get(&key) {
            return Ok(rows);
        }
        let hashes = if level == 0 { log.subtrees(number)? } else { log.tile_hashes(level, number)? };
        let rows = Arc::new(Rows::over(hashes));
        self.kept.insert(key, rows.clone());
        Ok(rows)
    }
}

fn check_size(log: &Snapshot, size: TreeSize) -> Result<(), ProverError> {
    if size > log.size() { Err(ProverError::NoSuchTree { size, newest: log.size() }) } else { Ok(()) }
}

/// The note of the published head of this size, which must have this root. A proof holds without
/// it.
fn note_of(log: &Snapshot, tree: &TreeHead) -> Result<Option<String>, StoreError> {
    let differs = |signed: &Hash| StoreError::Damaged {
        place: format!("proof in the tree of size {}", tree.size),
        why: format!("its root is {} by what is stored, and {signed} was signed", tree.root),
    };
    if tree.size == log.size() {
        let head = log.head();
        return if head.tree == *tree { Ok(Some(head.note.clone())) } else { Err(differs(&head.tree.root)) };
    }
    match log.readable_head(tree.size)? {
        Some(head) if head.tree == *tree => Ok(Some(head.note)),
        Some(head) => Err(differs(&head.tree.root)),
        None => Ok(None),
    }
}
