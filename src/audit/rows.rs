//! The tree as it follows from the records, level by level of tiles.

use crate::tlog::{
    Hash, TILE_HEIGHT, TILE_WIDTH, Tile, TileLevel, TreeSize, edge_root, hashes_at, push_tile_root,
    tile_root, unfinished_widths,
};

/// The unfinished tiles on the right edge of the records so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    /// Records in full data tiles.
    size: u64,
    /// The hashes of the unfinished tiles of level 1, 2, …
    levels: Vec<Vec<Hash>>,
    /// The hashes of the records after the last full tile, once the end is reached. They are read again by the next audit.
    rest: Vec<Hash>,
}

impl Rows {
    /// Records in full data tiles.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Hashes of the records after them.
    pub(super) fn rest(&self) -> &[Hash] {
        &self.rest
    }

    /// The hashes of the unfinished tiles of level 1, 2, …
    pub(super) fn levels(&self) -> &[Vec<Hash>] {
        &self.levels
    }

    /// Rows as they were kept; none where no tree has such.
    pub(super) fn from_levels(size: u64, levels: Vec<Vec<Hash>>) -> Option<Rows> {
        let widths = unfinished_widths(TILE_HEIGHT, TreeSize(size));
        let fits = levels.iter().map(|hashes| hashes.len() as u64).eq(widths);
        (fits && size.is_multiple_of(TILE_WIDTH)).then_some(Rows { size, levels, rest: Vec::new() })
    }

    /// Takes in the 256 leaves of the next full tile. Returns the tiles of level 1 and up that it completes, with their bytes.
    pub(super) fn push(&mut self, leaves: &[Hash]) -> Vec<(Tile, Vec<u8>)> {
        self.size += TILE_WIDTH;
        let full = push_tile_root(TILE_HEIGHT, &mut self.levels, tile_root(leaves));
        full.iter().map(|(level, hashes)| tile(*level, self.full_tiles(*level) - 1, hashes)).collect()
    }

    /// Ends with the leaves of a tile that is not full.
    pub(super) fn end_with(&mut self, leaves: Vec<Hash>) {
        self.rest = leaves;
    }

    /// The unfinished tiles of level 1 and up, with their bytes.
    pub(super) fn unfinished(&self) -> Vec<(Tile, Vec<u8>)> {
        let levels = (1_u8..).zip(&self.levels).filter(|(_, hashes)| !hashes.is_empty());
        levels.map(|(level, hashes)| tile(level, self.full_tiles(level), hashes)).collect()
    }

    fn full_tiles(&self, level: u8) -> u64 {
        hashes_at(TILE_HEIGHT, level + 1, TreeSize(self.size))
    }

    /// The root of the tree of all full tiles and then these leaves, fewer than 256.
    pub(super) fn root(&self, leaves: &[Hash]) -> Hash {
        if leaves.len() as u64 == TILE_WIDTH {
            let mut rows = self.clone();
            rows.push(leaves);
            return rows.root(&[]);
        }
        edge_root(&self.levels, leaves)
    }
}

fn tile(level: u8, number: u64, hashes: &[Hash]) -> (Tile, Vec<u8>) {
    let tile =
        Tile { height: TILE_HEIGHT, level: TileLevel::Hash(level), number, width: hashes.len() as u32 };
    (tile, hashes.iter().flat_map(|hash| *hash.as_bytes()).collect())
}
