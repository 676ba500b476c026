//! The right edge of the tree: what is needed to append and to know the root, and nothing else.
//!
//! At each level the edge holds the hashes of the last, unfinished tile, at most 255. A hash of level *l* covers
//! 256^*l* records. When a tile is full it leaves the edge and its root joins the level above.

use std::sync::Arc;

use crate::store::{Complete, FullTile, LogReader, SUBTREE_WIDTH, StoreError, Subtrees, TILE_WIDTH};
use crate::tlog::{Hash, TreeHead, TreeSize, tile_root};

const WIDTH: usize = TILE_WIDTH as usize;

/// The right edge of a tree of some size. Cloning shares the levels.
#[derive(Clone, Debug, Default)]
pub(super) struct Edge {
    size: u64,
    levels: Vec<Arc<Vec<Hash>>>,
}

impl Edge {
    /// The edge of the first `size` records of a log, computed again from what is stored.
    ///
    /// Reads at most 255 tiles a level. Because every hash above level 0 is recomputed from the level below, a stored
    /// tile that does not fit gives another root than the head says, and the caller finds it before it signs.
    pub(super) fn recover(size: TreeSize, reader: &dyn LogReader) -> Result<Edge, StoreError> {
        let mut edge = Edge { size: size.0, levels: Vec::new() };
        for level in 0.. {
            if level > 0 && hashes_at(size, level) == 0 {
                break;
            }
            edge.levels.push(Arc::new(unfinished_tile(reader, size, level)?));
        }
        Ok(edge)
    }

    /// The hashes of the unfinished tile of a level.
    pub(super) fn level(&self, level: u8) -> &[Hash] {
        self.levels.get(usize::from(level)).map_or(&[], |hashes| hashes)
    }

    /// Appends a record's hash. What it completes is added to `complete`.
    pub(super) fn push(&mut self, leaf: Hash, complete: &mut Complete) {
        self.size += 1;
        let mut carry = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Arc::default());
            }
            let hashes = Arc::make_mut(&mut self.levels[level]);
            hashes.push(carry);
            if hashes.len() < WIDTH {
                return;
            }
            let number = (self.size >> (8 * (level + 1))) - 1;
            if level == 0 {
                let roots = subtree_roots(hashes);
                carry = tile_root(&roots);
                hashes.clear();
                complete.subtrees.push(Subtrees { tile: number, roots });
            } else {
                carry = tile_root(hashes);
                let hashes = std::mem::take(hashes);
                complete.tiles.push(FullTile { level: level as u8, number, hashes });
            }
        }
    }

    /// Size and root.
    pub(super) fn tree(&self) -> TreeHead {
        let mut root: Option<Hash> = None;
        for hashes in &self.levels {
            // What lies to the right of a level's hashes is shorter than what one of them covers. RFC 6962 splits at
            // the largest power of two, so it is as if it were one more leaf of this level.
            let mut row = Vec::with_capacity(hashes.len() + 1);
            row.extend_from_slice(hashes);
            row.extend(root);
            root = merkle(&row);
        }
        TreeHead { size: TreeSize(self.size), root: root.unwrap_or(Hash::EMPTY_TREE) }
    }
}

/// The Merkle tree hash over hashes that are leaves already, RFC 6962 section 2.1; `None` of none.
fn merkle(row: &[Hash]) -> Option<Hash> {
    match row {
        [] => None,
        [one] => Some(*one),
        _ => {
            let (left, right) = row.split_at((row.len().div_ceil(2)).next_power_of_two());
            let left = merkle(left).expect("the left half is never empty");
            Some(Hash::of_node(&left, &merkle(right).expect("the split leaves something on the right")))
        }
    }
}

/// The roots of the complete subtrees of sixteen records among the leaves of a level-0 tile.
pub(super) fn subtree_roots(leaves: &[Hash]) -> Vec<Hash> {
    leaves.chunks_exact(SUBTREE_WIDTH as usize).map(tile_root).collect()
}

/// How many hashes a tree has at a tile level.
pub(super) fn hashes_at(size: TreeSize, level: u8) -> u64 {
    size.0.checked_shr(u32::from(level) * 8).unwrap_or(0)
}

/// The hashes of the unfinished tile of a level, from what is stored below it.
pub(super) fn unfinished_tile(
    reader: &dyn LogReader,
    size: TreeSize,
    level: u8,
) -> Result<Vec<Hash>, StoreError> {
    let end = hashes_at(size, level);
    let first = end / TILE_WIDTH * TILE_WIDTH;
    if level > 0 {
        return (first..end).map(|number| Ok(tile_root(&full_tile(reader, level - 1, number)?))).collect();
    }
    let leaves = reader.leaves(first..end)?;
    if leaves.len() as u64 == end - first {
        return Ok(leaves);
    }
    let place = format!("leaf of record {}", first + leaves.len() as u64);
    Err(StoreError::Damaged { place, why: "missing".to_owned() })
}

/// A full tile of any level.
pub(super) fn full_tile(reader: &dyn LogReader, level: u8, number: u64) -> Result<Vec<Hash>, StoreError> {
    let hashes = if level == 0 {
        reader.leaves(number * TILE_WIDTH..(number + 1) * TILE_WIDTH)?
    } else {
        reader.tile(level, number)?.unwrap_or_default()
    };
    if hashes.len() == WIDTH {
        return Ok(hashes);
    }
    Err(StoreError::Damaged {
        place: format!("tile {number} of level {level}"),
        why: format!("{} of its {WIDTH} hashes are there", hashes.len()),
    })
}
