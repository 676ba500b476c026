//! Verified tile reading: the heart of every client of a log.
//!
//! Tiles come from a server, a cache or a disk that is not trusted; what is trusted is the root of a signed tree
//! head. So a plan asks for more tiles than those that hold the wanted hashes, and uses nothing before all of it
//! is checked:
//!
//! 1. The tiles of the tree's right edge: together their hashes must give the root.
//! 2. For each wanted hash its tile and that tile's parents, up to one that is in the plan already: the root
//!    of each, which is full since it has a parent, must be the hash that its parent has for it.
//!
//! ```text
//!                  s3                              height 2, size 15, wanted: record 2
//!          ┌───────┴───────┐
//!          ∘               ∘              s2       tile/2/1/000.p/3   edge
//!      ┌───┴───┐       ┌───┴───┐       ┌───┴───┐
//!      ∘       ∘       ∘       ∘       ∘       ∘      s1     s0
//!    ┌─┴─┐   ┌─┴─┐   ┌─┴─┐   ┌─┴─┐   ┌─┴─┐   ┌─┴─┐   ┌─┴─┐    │
//!    00  01  02  03  04  05  06  07  08  09  10  11  12  13  14
//!    └─ 0/000 ───┘                                   └ 0/003.p/3 ┘ edge
//! ```
//!
//! The edge gives root = node(s3, node(s2, node(s1, s0))); then tile/2/0/000 is checked against the first hash of
//! tile/2/1/000.p/3. Every tile that is not of the edge is checked: a reader that skips some accepts forged
//! tiles (golang/go#80744).

use std::collections::HashMap;

use super::hash::Hash;
use super::head::TreeHead;
use super::proof::{tree_hash, tree_hash_indexes};
use super::tile::{Tile, TileError, TileLevel, check_height, data_root};
use super::tree::{HashIndex, MAX_TREE_SIZE, stored_hash_count, stored_hash_index};

/// Which tiles to read for some hashes of a tree, and how to verify them.
#[derive(Clone, Debug)]
pub struct TilePlan {
    head: TreeHead,
    tiles: Vec<Tile>,
    /// The first of `tiles` are those of the right edge; the others come after their parents.
    edge_tiles: usize,
    /// The hashes that give the root, the largest subtree first, and which tile has each.
    edge: Vec<(usize, HashIndex)>,
    /// For each tile after the edge: its parent among `tiles`, and its own root's place in it.
    parents: Vec<(usize, HashIndex)>,
    /// The hashes asked for, and which tile has each.
    wanted: Vec<(usize, HashIndex)>,
}

impl TilePlan {
    /// Plans the reading of stored hashes of a tree, from tiles of one height.
    ///
    /// With no `indexes` the plan reads what verifies the tree's right edge.
    pub fn new(head: &TreeHead, height: u8, indexes: &[HashIndex]) -> Result<TilePlan, TileError> {
        check_height(height)?;
        if head.size > MAX_TREE_SIZE {
            return Err(TileError::TreeTooLarge { size: head.size });
        }
        let mut plan = TilePlan {
            head: *head,
            tiles: Vec::new(),
            edge_tiles: 0,
            edge: Vec::new(),
            parents: Vec::new(),
            wanted: Vec::with_capacity(indexes.len()),
        };
        let mut positions = HashMap::new();
        for index in tree_hash_indexes(head.size) {
            let tile = plan.tile_of(height, index);
            let position = *positions.entry(tile).or_insert(plan.tiles.len());
            if position == plan.tiles.len() {
                plan.tiles.push(tile);
            }
            plan.edge.push((position, index));
        }
        plan.edge_tiles = plan.tiles.len();
        for &index in indexes {
            if index.0 >= stored_hash_count(head.size) {
                return Err(TileError::IndexOutsideTree { index, size: head.size });
            }
            let tile = plan.tile_of(height, index);
            let position = plan.add_with_parents(&mut positions, tile);
            plan.wanted.push((position, index));
        }
        Ok(plan)
    }

    /// The tiles to read, each at its width in the tree.
    pub fn tiles(&self) -> &[Tile] {
        &self.tiles
    }

    /// Verifies the tiles' data, in the order of [`TilePlan::tiles`], and returns the hashes in the order in which
    /// they were asked for. After `Ok` all of the data belongs to the tree and may be kept.
    pub fn finish<D: AsRef<[u8]>>(&self, data: &[D]) -> Result<Vec<Hash>, TileError> {
        if data.len() != self.tiles.len() {
            return Err(TileError::TileCount { want: self.tiles.len(), got: data.len() });
        }
        for (tile, data) in self.tiles.iter().zip(data) {
            tile.check_length(data.as_ref())?;
        }
        let read = |&(position, index): &(usize, HashIndex)| {
            self.tiles[position].hash_at(data[position].as_ref(), index)
        };
        let edge = self.edge.iter().map(read).collect::<Result<Vec<Hash>, TileError>>()?;
        let root = tree_hash(self.head.size, &edge).expect("the edge has the hashes that the root needs");
        if root != self.head.root {
            let tiles = self.tiles[..self.edge_tiles].to_vec();
            return Err(TileError::Edge { tiles, root: self.head.root });
        }
        for (position, parent) in (self.edge_tiles..).zip(&self.parents) {
            if data_root(data[position].as_ref()) != read(parent)? {
                let (tile, parent) = (self.tiles[position], self.tiles[parent.0]);
                return Err(TileError::Mismatch { tile, parent });
            }
        }
        self.wanted.iter().map(read).collect()
    }

    /// The tile that holds a hash of the tree, at its width in the tree.
    fn tile_of(&self, height: u8, index: HashIndex) -> Tile {
        let tile = Tile::for_hash_index(height, index);
        tile.parent(0, self.head.size).expect("a hash of the tree is in a tile of the tree")
    }

    /// Adds a tile, and before it the parents that are not in the plan yet. Returns its position.
    fn add_with_parents(&mut self, positions: &mut HashMap<Tile, usize>, tile: Tile) -> usize {
        // The way up ends, at the latest, at the tile of the edge that covers this one.
        let mut path = vec![tile];
        let mut above = loop {
            let last = path[path.len() - 1];
            if let Some(&position) = positions.get(&last) {
                path.pop();
                break position;
            }
            path.push(last.parent(1, self.head.size).expect("a tile that is not of the edge has a parent"));
        };
        for tile in path.into_iter().rev() {
            let parent = self.tiles[above];
            let (TileLevel::Hash(level), false) = (parent.level, tile.is_partial()) else {
                panic!("bad tile math: {tile} below {parent} in a tree of size {}", self.head.size);
            };
            self.parents.push((above, stored_hash_index(level * parent.height, tile.number)));
            above = self.tiles.len();
            positions.insert(tile, above);
            self.tiles.push(tile);
        }
        above
    }
}
