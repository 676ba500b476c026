//! The tiles that follow from the records: what the tower passes by on its way up, collected by
//! level.

use super::super::tower::Tower;
use crate::store::{Complete, FullTile, SUBTREE_HEIGHT, SUBTREE_WIDTH, Subtrees};
use crate::tlog::{Hash, TILE_HEIGHT, TILE_WIDTH, TreeHead};

/// A tower that keeps the unfinished tile of each level.
#[derive(Default)]
pub(super) struct TiledTower {
    tower: Tower,
    /// The hashes of the unfinished tile of each level from 1 on.
    tiles: Vec<Vec<Hash>>,
    /// The subtrees of the unfinished level-0 tile.
    subtrees: Vec<Hash>,
}

impl TiledTower {
    /// Appends the root of a complete subtree; see [`Tower::push`]. What it completes is added to
    /// `complete`.
    pub(super) fn push(&mut self, height: u8, root: Hash, complete: &mut Complete) {
        let size = self.tower.size() + (1 << height);
        let (tiles, subtrees) = (&mut self.tiles, &mut self.subtrees);
        self.tower.push(height, root, |height, hash| {
            if height == SUBTREE_HEIGHT {
                subtrees.push(hash);
            }
            if height == 0 || !height.is_multiple_of(TILE_HEIGHT) {
                return;
            }
            // A tile that was stepped over as a whole has given no subtrees.
            if height == TILE_HEIGHT
                && let roots = std::mem::take(subtrees)
                && roots.len() as u64 == SUBTREE_WIDTH
            {
                complete.subtrees.push(Subtrees { tile: size / TILE_WIDTH - 1, roots });
            }
            let level = height / TILE_HEIGHT;
            let at = usize::from(level) - 1;
            tiles.resize(tiles.len().max(at + 1), Vec::new());
            tiles[at].push(hash);
            if tiles[at].len() as u64 == TILE_WIDTH {
                let number = (size >> (TILE_HEIGHT * (level + 1))) - 1;
                complete.tiles.push(FullTile { level, number, hashes: std::mem::take(&mut tiles[at]) });
            }
        });
    }

    /// Size and root.
    pub(super) fn head(&self) -> TreeHead {
        self.tower.head()
    }
}
