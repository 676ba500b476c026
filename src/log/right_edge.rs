//! The right edge of the tree: what is needed to append and to know the root, and nothing else.
//!
//! At each level the edge holds the hashes of the last, unfinished tile, at most 255. A hash of
//! level
//! *l* covers 256^*l* records. When a tile is full it leaves the edge and its root joins the level
//! above.

use std::sync::Arc;

use crate::store::{Complete, FullTile, LogReader, SUBTREE_WIDTH, StoreError, Subtrees};
use crate::tlog::{
    Hash, TILE_HEIGHT, TILE_WIDTH, TreeHead, TreeSize, edge_root, hashes_at, push_tile_root, tile_root,
};

const WIDTH: usize = TILE_WIDTH as usize;

/// The right edge of a tree of some size. Cloning shares the hashes.
#[derive(Clone, Debug, Default)]
pub(super) struct RightEdge {
    size: TreeSize,
    /// The hashes of the records in the unfinished tile of level 0.
    leaves: Arc<Vec<Hash>>,
    /// The hashes of the unfinished tiles of level 1, 2, …
    rows: Arc<Vec<Vec<Hash>>>,
}

impl RightEdge {
    /// The edge of the first `size` records of a log, computed again from what is stored.
    ///
    /// Reads at most 255 tiles a level. Because every hash above level 0 is recomputed from the
    /// level below, a stored tile that does not fit gives another root than the head says, and the
    /// caller finds it before it signs.
    pub(super) fn recover(size: TreeSize, reader: &dyn LogReader) -> Result<RightEdge, StoreError> {
        let leaves = Arc::new(unfinished_tile(reader, size, 0)?);
        let levels = (1..).take_while(|level| hashes_at(TILE_HEIGHT, *level, size) > 0);
        let rows = levels.map(|level| unfinished_tile(reader, size, level)).collect::<Result<_, _>>()?;
        Ok(RightEdge { size, leaves, rows: Arc::new(rows) })
    }

    /// The hashes of the unfinished tile of a level.
    pub(super) fn level(&self, level: u8) -> &[Hash] {
        match level.checked_sub(1) {
            None => &self.leaves,
            Some(row) => self.rows.get(usize::from(row)).map_or(&[], Vec::as_slice),
        }
    }

    /// Appends a record's hash. What it completes is added to `complete`.
    pub(super) fn push(&mut self, leaf: Hash, complete: &mut Complete) {
        self.size.0 += 1;
        let leaves = Arc::make_mut(&mut self.leaves);
        leaves.push(leaf);
        if leaves.len() < WIDTH {
            return;
        }
        let roots = subtree_roots(leaves);
        leaves.clear();
        // Each full tile is a hash of the next level, so the number of the last one follows from
        // it.
        let number = |level: u8| hashes_at(TILE_HEIGHT, level + 1, self.size) - 1;
        let full = push_tile_root(TILE_HEIGHT, Arc::make_mut(&mut self.rows), tile_root(&roots));
        complete.subtrees.push(Subtrees { tile: number(0), roots });
        let tile = |(level, hashes)| FullTile { level, number: number(level), hashes };
        complete.tiles.extend(full.into_iter().map(tile));
    }

    /// Size and root.
    pub(super) fn tree(&self) -> TreeHead {
        TreeHead { size: self.size, root: edge_root(&self.rows, &self.leaves) }
    }
}

/// The roots of the complete subtrees of sixteen records among the leaves of a level-0 tile.
pub(super) fn subtree_roots(leaves: &[Hash]) -> Vec<Hash> {
    leaves.chunks_exact(SUBTREE_WIDTH as usize).map(tile_root).collect()
}

/// The hashes of the unfinished tile of a level, from what is stored below it.
pub(super) fn unfinished_tile(
    reader: &dyn LogReader,
    size: TreeSize,
    level: u8,
) -> Result<Vec<Hash>, StoreError> {
    let end = hashes_at(TILE_HEIGHT, level, size);
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
