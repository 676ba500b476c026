//! Tiles: the log's hashes as files that never change.
//!
//! A tile of height H at level L with number N holds the hashes N*2^H, N*2^H + 1, ... of the tree's
//! level H*L, 32 bytes each: 2^H of them when it is full. It stands for the whole subtree over
//! them, since all hashes between its level and its root are computed from it. Its root is one of
//! the hashes of its parent, the tile of level L+1 with number N >> H. The level `data` holds the
//! texts of the records of the level-0 tile of the same number.

use std::fmt;
use std::ops::Range;

use super::hash::{HASH_SIZE, Hash};
use super::tree::{HashIndex, MAX_TREE_SIZE, TreeSize, split_stored_hash_index};

/// The height of the tiles that are served: the `go` command asks for no other, and C2SP tlog-tiles
/// knows no other.
pub const TILE_HEIGHT: u8 = 8;

/// The hashes, or records, of a full tile of this height.
pub const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;

/// The greatest height that a tile of any log may have.
pub const MAX_TILE_HEIGHT: u8 = 30;

/// The greatest level of a tile: no tree of height-1 tiles has more.
pub const MAX_TILE_LEVEL: u8 = 63;

/// What a tile holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TileLevel {
    /// Hashes of the tree's level `height * level`, 32 bytes each.
    Hash(u8),
    /// Texts of records, each followed by a blank line.
    Data,
}

/// The coordinates of a tile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tile {
    /// Levels of the tree that the tile spans, 1 to [`MAX_TILE_HEIGHT`].
    pub height: u8,
    /// Level in units of `height`, at most [`MAX_TILE_LEVEL`].
    pub level: TileLevel,
    /// Number within the level.
    pub number: u64,
    /// Hashes (or records) in the tile, 1 to 2^height; a full tile has 2^height.
    pub width: u32,
}

/// A tile is not what it should be. Unless it is a plan that asks for what is not there, the bytes
/// are wrong: whoever served them did not serve this log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// A tile height of zero or above [`MAX_TILE_HEIGHT`].
    #[error("tile height {height} is not from 1 to {MAX_TILE_HEIGHT}")]
    Height {
        /// The height asked for.
        height: u8,
    },
    /// A size above [`MAX_TREE_SIZE`]: no such tree exists.
    #[error("tree size {size} is above the largest allowed, {MAX_TREE_SIZE}")]
    TreeTooLarge {
        /// The size of the tree head.
        size: TreeSize,
    },
    /// The hash asked for is not stored in a tree of this size.
    #[error("hash index {index} is not in a tree of size {size}")]
    IndexOutsideTree {
        /// The hash asked for.
        index: HashIndex,
        /// The tree's size.
        size: TreeSize,
    },
    /// The hash asked for is not in this tile, or not within its width.
    #[error("hash index {index} is not in {tile}")]
    IndexOutsideTile {
        /// The hash asked for.
        index: HashIndex,
        /// The tile that was to hold it.
        tile: Tile,
    },
    /// The tile's data has more or fewer bytes than its width says (missing data has none).
    #[error("{tile} has {got} bytes, not {want}")]
    Length {
        /// The tile.
        tile: Tile,
        /// Bytes of its hashes.
        want: usize,
        /// Bytes that came.
        got: usize,
    },
    /// The data of more or fewer tiles came than were asked for.
    #[error("the data of {got} tiles was read where {want} were asked for")]
    TileCount {
        /// Tiles of the plan.
        want: usize,
        /// Tiles that came.
        got: usize,
    },
    /// The tile's root is not the hash that its (verified) parent has for it: this tile is wrong.
    #[error("{tile} does not match its hash in {parent}")]
    Mismatch {
        /// The wrong tile.
        tile: Tile,
        /// The parent, which leads to the signed root.
        parent: Tile,
    },
    /// The tiles of the tree's right edge, together, do not lead to the root: at least one of these
    /// is wrong.
    #[error("the tiles of the tree's right edge do not lead to its root {root}: {}", Paths(tiles))]
    Edge {
        /// The tiles, the lowest level last.
        tiles: Vec<Tile>,
        /// The root of the tree head.
        root: Hash,
    },
}

struct Paths<'a>(&'a [Tile]);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, tile) in self.0.iter().enumerate() {
            write!(f, "{}{tile}", if position == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.path())
    }
}

impl Tile {
    /// Fewer hashes than the height allows?
    pub fn is_partial(&self) -> bool {
        u64::from(self.width) != 1u64.checked_shl(u32::from(self.height)).unwrap_or(0)
    }

    /// The same tile at its full width.
    pub fn full(&self) -> Tile {
        Tile { width: full_width(self.height), ..*self }
    }

    /// The tile `k` levels up, as wide as it is in a tree of this size (so with `k` 0, the tile
    /// itself at its width in that tree); none if such a tree does not have it. A data tile counts
    /// as level 0.
    pub fn parent(&self, k: u8, size: TreeSize) -> Option<Tile> {
        let level = match self.level {
            TileLevel::Hash(level) => level.checked_add(k)?,
            TileLevel::Data => k,
        };
        let number = self.number.checked_shr(u32::from(k) * u32::from(self.height)).unwrap_or(0);
        let hashes = hashes_at(self.height, level, size);
        let first = number.checked_mul(u64::from(full_width(self.height)))?;
        let width = hashes.checked_sub(first).filter(|width| *width > 0)?;
        let width = u32::try_from(width).unwrap_or(u32::MAX).min(full_width(self.height));
        let level = if k == 0 { self.level } else { TileLevel::Hash(level) };
        Some(Tile { height: self.height, level, number, width })
    }

    /// The narrowest tile that holds a stored hash.
    ///
    /// # Panics
    ///
    /// When the height is not 1 to [`MAX_TILE_HEIGHT`], or the index is in no tree of an allowed
    /// size.
    pub fn for_hash_index(height: u8, index: HashIndex) -> Tile {
        Tile::over(height, index).0
    }

    /// The narrowest tile that holds a stored hash, and which of the tile's hashes that one is the
    /// root of.
    ///
    /// # Panics
    ///
    /// As [`Tile::for_hash_index`].
    pub fn over(height: u8, index: HashIndex) -> (Tile, Range<usize>) {
        assert!((1..=MAX_TILE_HEIGHT).contains(&height), "tile height {height} is not allowed");
        let (level, offset) = split_stored_hash_index(index);
        // A hash inside the tile stands for 2^inner hashes of the tile's own level.
        let inner = level % height;
        let number = offset >> (height - inner);
        let start = (offset << inner) - (number << height);
        let width = u32::try_from(start + (1 << inner)).expect("a tile is at most 2^30 wide");
        let tile = Tile { height, level: TileLevel::Hash(level / height), number, width };
        (tile, start as usize..width as usize)
    }

    /// A stored hash, computed from the tile's data: `width * 32` bytes. The data is taken as it
    /// is; only [`super::TilePlan`] shows that it belongs to the tree.
    pub fn hash_at(&self, data: &[u8], index: HashIndex) -> Result<Hash, TileError> {
        check_height(self.height)?;
        self.check_length(data)?;
        let outside = || TileError::IndexOutsideTile { index, tile: *self };
        if index.0 >= super::stored_hash_count(MAX_TREE_SIZE) {
            return Err(outside());
        }
        let (tile, hashes) = Tile::over(self.height, index);
        let same = (tile.level, tile.number) == (self.level, self.number);
        if !same || tile.width > self.width {
            return Err(outside());
        }
        Ok(data_root(&data[hashes.start * HASH_SIZE..hashes.end * HASH_SIZE]))
    }

    /// Refuses data that is shorter or longer than the width says.
    pub(super) fn check_length(&self, data: &[u8]) -> Result<(), TileError> {
        let want = self.width as usize * HASH_SIZE;
        if data.len() == want {
            return Ok(());
        }
        Err(TileError::Length { tile: *self, want, got: data.len() })
    }
}

/// The tiles that a tree of size `new` has and the tree of size `old` had not: all full tiles that
/// became full, and the partial tile at the end of each level that grew. By level, then by number.
///
/// # Panics
///
/// When the height is not 1 to [`MAX_TILE_HEIGHT`] or the tree shrinks.
pub fn new_tiles(height: u8, old: TreeSize, new: TreeSize) -> Vec<Tile> {
    assert!((1..=MAX_TILE_HEIGHT).contains(&height), "tile height {height} is not allowed");
    assert!(old <= new, "a tree does not shrink from {old} to {new}");
    let full = full_width(height);
    let mut tiles = Vec::new();
    for level in 0..=MAX_TILE_LEVEL {
        let (before, now) = (hashes_at(height, level, old), hashes_at(height, level, new));
        if before == now {
            // Neither did any level above grow.
            break;
        }
        let level = TileLevel::Hash(level);
        let (first, end) = (before >> height, now >> height);
        tiles.extend((first..end).map(|number| Tile { height, level, number, width: full }));
        let rest = now - (end << height);
        if rest > 0 {
            tiles.push(Tile { height, level, number: end, width: rest as u32 });
        }
    }
    tiles
}

/// The root of the complete subtree over a full tile's hashes, or over any other power of two of
/// neighbours.
///
/// # Panics
///
/// When the count of hashes is not a power of two.
pub fn tile_root(hashes: &[Hash]) -> Hash {
    root(hashes.len(), hashes.iter().copied())
}

/// The root of the tree whose leaves, or neighbouring complete subtrees of one height, have these
/// hashes, however many; none of none. RFC 6962, section 2.1: it splits at the largest power of
/// two.
pub fn row_root(hashes: &[Hash]) -> Option<Hash> {
    match hashes {
        [] => None,
        [one] => Some(*one),
        _ => {
            let (left, right) = hashes.split_at(hashes.len().next_power_of_two() / 2);
            Some(Hash::of_node(&row_root(left)?, &row_root(right)?))
        }
    }
}

/// Takes the root of the next full tile of level 0 into the unfinished tiles of level 1, 2, …,
/// which are of this height. Returns the tiles that it completes, with their levels.
pub fn push_tile_root(height: u8, rows: &mut Vec<Vec<Hash>>, root: Hash) -> Vec<(u8, Vec<Hash>)> {
    let (mut full, mut carry) = (Vec::new(), root);
    for level in 1.. {
        let at = usize::from(level) - 1;
        if rows.len() == at {
            rows.push(Vec::new());
        }
        rows[at].push(carry);
        if rows[at].len() < 1 << height {
            break;
        }
        let hashes = std::mem::take(&mut rows[at]);
        carry = tile_root(&hashes);
        full.push((level, hashes));
    }
    full
}

/// How many hashes the unfinished tiles of level 1, 2, … have, which are of this height: as many
/// levels as the tree has full tiles of.
pub fn unfinished_widths(height: u8, size: TreeSize) -> impl Iterator<Item = u64> {
    let hashes = (1..=MAX_TILE_LEVEL).map(move |level| hashes_at(height, level, size));
    hashes.take_while(|hashes| *hashes > 0).map(move |hashes| hashes % u64::from(full_width(height)))
}

/// The root of the tree that ends with the unfinished tiles of level 1, 2, … and, after them, the
/// leaves of one of level 0.
pub fn edge_root(rows: &[Vec<Hash>], leaves: &[Hash]) -> Hash {
    let mut root = row_root(leaves);
    for hashes in rows {
        // What lies to the right of a level's hashes is shorter than what one of them covers. RFC
        // 6962 splits at the largest power of two, so it is as if it were one more leaf of this
        // level.
        let mut row = hashes.clone();
        row.extend(root);
        root = row_root(&row);
    }
    root.unwrap_or(Hash::EMPTY_TREE)
}

/// As [`tile_root`], over the bytes of a tile.
pub(super) fn data_root(data: &[u8]) -> Hash {
    let hashes = data.chunks_exact(HASH_SIZE);
    let hash = |chunk| Hash::from_slice(chunk).expect("a chunk has the size of a hash");
    root(hashes.len(), hashes.map(hash))
}

fn root(count: usize, mut hashes: impl Iterator<Item = Hash>) -> Hash {
    assert!(count.is_power_of_two(), "a complete subtree does not have {count} leaves");
    // A binary counter: left[i] waits for its right neighbour of the same height. No allocation,
    // one pass.
    let mut left = [Hash::EMPTY_TREE; usize::BITS as usize];
    let mut top = Hash::EMPTY_TREE;
    for position in 0..count {
        top = hashes.next().expect("as many hashes as counted");
        let mut height = 0;
        while position >> height & 1 == 1 {
            top = Hash::of_node(&left[height], &top);
            height += 1;
        }
        left[height] = top;
    }
    top
}

/// How many hashes the tiles of a level have in a tree: its complete subtrees of height `height *
/// level`.
///
/// One fewer is the number of the last full tile of the level below, since each full tile is a hash
/// of the next level.
pub fn hashes_at(height: u8, level: u8, size: TreeSize) -> u64 {
    size.0.checked_shr(u32::from(height) * u32::from(level)).unwrap_or(0)
}

fn full_width(height: u8) -> u32 {
    1u32.checked_shl(u32::from(height)).unwrap_or(0)
}

/// Refuses a height that no tile has.
pub(super) fn check_height(height: u8) -> Result<(), TileError> {
    if (1..=MAX_TILE_HEIGHT).contains(&height) { Ok(()) } else { Err(TileError::Height { height }) }
}
