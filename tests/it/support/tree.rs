//! A tree that keeps every hash, built with nothing but `crate::tlog`: what the log engine is compared with.

use tallystick::store::{Complete, FullTile, Subtrees};
use tallystick::tlog::{
    Hash, HashIndex, Tile, TileLevel, TreeHead, TreeSize, stored_hash_index, tree_hash, tree_hash_indexes,
};

/// All hashes of a tree in storage order, as x/mod's tlog would keep them.
#[derive(Clone, Default)]
pub(crate) struct Tree {
    stored: Vec<Hash>,
    size: u64,
}

impl Tree {
    /// Appends a leaf. Returns what it completes.
    pub(crate) fn push(&mut self, leaf: Hash) -> Complete {
        let offset = self.size;
        self.size += 1;
        self.stored.push(leaf);
        let mut level = 0;
        while offset >> level & 1 == 1 {
            let pair = [(offset >> level) - 1, offset >> level].map(|at| self.at(level as u8, at));
            self.stored.push(Hash::of_node(&pair[0], &pair[1]));
            level += 1;
        }
        let tiles = (1..8)
            .take_while(|level| self.size.is_multiple_of(1 << (8 * (level + 1))))
            .map(|level| self.full_tile(level))
            .collect();
        let is_full = self.size.is_multiple_of(256);
        Complete {
            tiles,
            subtrees: is_full.then(|| self.subtrees(self.size / 256 - 1)).into_iter().collect(),
        }
    }

    /// The subtrees of a full level-0 tile.
    pub(crate) fn subtrees(&self, tile: u64) -> Subtrees {
        Subtrees { tile, roots: (tile * 16..(tile + 1) * 16).map(|at| self.at(4, at)).collect() }
    }

    fn at(&self, level: u8, offset: u64) -> Hash {
        self.stored[stored_hash_index(level, offset).0 as usize]
    }

    fn full_tile(&self, level: u8) -> FullTile {
        let number = (self.size >> (8 * (level + 1))) - 1;
        let hashes = (number * 256..(number + 1) * 256).map(|at| self.at(8 * level, at)).collect();
        FullTile { level, number, hashes }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn leaf(&self, id: u64) -> Hash {
        self.at(0, id)
    }

    /// The head of the whole tree.
    pub(crate) fn head(&self) -> TreeHead {
        self.head_at(self.size)
    }

    /// The head of the first `size` records.
    pub(crate) fn head_at(&self, size: u64) -> TreeHead {
        assert!(size <= self.size);
        let size = TreeSize(size);
        let hashes: Vec<Hash> =
            tree_hash_indexes(size).iter().map(|index| self.stored[index.0 as usize]).collect();
        TreeHead { size, root: tree_hash(size, &hashes).unwrap() }
    }

    /// The tree of these leaves.
    pub(crate) fn of(leaves: impl IntoIterator<Item = Hash>) -> Tree {
        let mut tree = Tree::default();
        leaves.into_iter().for_each(|leaf| drop(tree.push(leaf)));
        tree
    }

    /// Stored hashes, by their places in storage order.
    pub(crate) fn read(&self, indexes: &[HashIndex]) -> Vec<Hash> {
        indexes.iter().map(|index| self.stored[index.0 as usize]).collect()
    }

    /// The bytes of a hash tile of height 8.
    pub(crate) fn tile(&self, tile: &Tile) -> Vec<u8> {
        let TileLevel::Hash(level) = tile.level else { panic!("a data tile has no hashes") };
        let first = tile.number * 256;
        (first..first + u64::from(tile.width)).flat_map(|at| *self.at(8 * level, at).as_bytes()).collect()
    }
}
