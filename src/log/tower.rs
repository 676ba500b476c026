//! The tree again, by another way than the log's own: a stack of complete subtrees, nothing of the right edge's code.

use crate::store::{FullTile, TILE_WIDTH};
use crate::tlog::{Hash, TreeHead, TreeSize};

/// A tree that grows by complete subtrees.
#[derive(Default)]
pub(super) struct Tower {
    size: u64,
    /// The complete subtrees that are not part of a larger one, largest first: height and root.
    peaks: Vec<(u8, Hash)>,
    /// The hashes of the unfinished tile of each level.
    tiles: Vec<Vec<Hash>>,
}

impl Tower {
    /// Appends the root of a complete subtree over 2^`height` records; height 0 is a leaf. What stands before must
    /// be a multiple of as many. Tiles of level 1 and up that it completes are added to `full`.
    pub(super) fn push(&mut self, height: u8, root: Hash, full: &mut Vec<FullTile>) {
        assert!(self.size.is_multiple_of(1 << height), "a subtree of height {height} after {}", self.size);
        self.size += 1 << height;
        let (mut height, mut root) = (height, root);
        loop {
            if height > 0 && height.is_multiple_of(8) {
                self.take_in(height / 8, root, full);
            }
            match self.peaks.pop_if(|peak| peak.0 == height) {
                Some((_, left)) => (height, root) = (height + 1, Hash::of_node(&left, &root)),
                None => break,
            }
        }
        self.peaks.push((height, root));
    }

    fn take_in(&mut self, level: u8, hash: Hash, full: &mut Vec<FullTile>) {
        let at = usize::from(level) - 1;
        self.tiles.resize(self.tiles.len().max(at + 1), Vec::new());
        self.tiles[at].push(hash);
        if self.tiles[at].len() as u64 == TILE_WIDTH {
            let number = (self.size >> (8 * (level + 1))) - 1;
            full.push(FullTile { level, number, hashes: std::mem::take(&mut self.tiles[at]) });
        }
    }

    /// Size and root.
    pub(super) fn head(&self) -> TreeHead {
        let mut peaks = self.peaks.iter().rev().map(|peak| peak.1);
        let last = peaks.next().unwrap_or(Hash::EMPTY_TREE);
        let root = peaks.fold(last, |right, left| Hash::of_node(&left, &right));
        TreeHead { size: TreeSize(self.size), root }
    }
}
