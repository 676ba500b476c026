//! The tiles that follow from the records: what the tower passes by on its way up, collected by level.

use super::super::tower::Tower;
use crate::store::{FullTile, TILE_WIDTH};
use crate::tlog::{Hash, TreeHead};

/// A tower that keeps the unfinished tile of each level.
#[derive(Default)]
pub(super) struct TiledTower {
    tower: Tower,
    /// The hashes of the unfinished tile of each level from 1 on.
    tiles: Vec<Vec<Hash>>,
}

impl TiledTower {
    /// Appends the root of a complete subtree; see [`Tower::push`]. Tiles of level 1 and up that it completes are added to
    /// `full`.
    pub(super) fn push(&mut self, height: u8, root: Hash, full: &mut Vec<FullTile>) {
        let size = self.tower.size() + (1 << height);
        let tiles = &mut self.tiles;
        self.tower.push(height, root, |height, hash| {
            if height == 0 || !height.is_multiple_of(8) {
                return;
            }
            let level = height / 8;
            let at = usize::from(level) - 1;
            tiles.resize(tiles.len().max(at + 1), Vec::new());
            tiles[at].push(hash);
            if tiles[at].len() as u64 == TILE_WIDTH {
                let number = (size >> (8 * (level + 1))) - 1;
                full.push(FullTile { level, number, hashes: std::mem::take(&mut tiles[at]) });
            }
        });
    }

    /// Size and root.
    pub(super) fn head(&self) -> TreeHead {
        self.tower.head()
    }
}
