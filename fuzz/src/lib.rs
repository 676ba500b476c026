//! What the fuzz targets share: numbers out of an input, and a small tree that no code of ours has computed.
//!
//! A target is one file in `fuzz_targets/`, whose doc says what always holds. Inputs are plain: a text, or a few bytes
//! that steer, and then a text. So the seeds can be read, and a finding is told by its bytes.

#![forbid(unsafe_code)]

use std::sync::LazyLock;

use sha2::{Digest, Sha256};
use tallystick::module::ModuleVersion;
use tallystick::tlog::{Hash, Tile, TileLevel, TreeSize, stored_hash_index};

/// Takes numbers from the start of an input. Where the input has ended they are zero.
#[derive(Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// An input of which nothing is taken yet.
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { rest: bytes }
    }

    /// The next bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.rest.split_at(self.rest.len().min(N));
        self.rest = rest;
        let mut array = [0; N];
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// The next two bytes, as a number that chooses among at most 65,536 things.
    pub fn choice(&mut self, count: usize) -> usize {
        usize::from(u16::from_le_bytes(self.array())) % count
    }

    /// The next eight bytes.
    pub fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// What is left.
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// Changes one byte, never to itself.
pub fn flip(bytes: &mut [u8], position: usize, mask: u8) {
    bytes[position] ^= mask.max(1);
}

/// How many records the largest of the trees has: two full tiles of height 8, and a few records more.
pub const TREE_RECORDS: usize = 520;

/// The trees of the first 0 to [`TREE_RECORDS`] records of one log.
#[derive(Debug)]
pub struct Forest {
    /// The records' hashes.
    pub leaves: Vec<Hash>,
    /// All stored hashes of the largest tree, in storage order.
    pub stored: Vec<Hash>,
    /// The root of each tree, by its size, from the definition in RFC 6962.
    pub roots: Vec<Hash>,
}

/// The one forest; computed once a process.
pub static FOREST: LazyLock<Forest> = LazyLock::new(|| {
    let leaf = |record: usize| sha256(&[&[0], format!("record {record}\n").as_bytes()]);
    let leaves: Vec<Hash> = (0..TREE_RECORDS).map(leaf).collect();
    let mut stored = Vec::new();
    for record in 0..TREE_RECORDS {
        // A record is stored with every complete subtree that it ends.
        for level in 0..=(record + 1).trailing_zeros() {
            stored.push(rfc6962_root(&leaves[record + 1 - (1 << level)..=record]));
        }
    }
    let roots = (0..=TREE_RECORDS).map(|size| rfc6962_root(&leaves[..size])).collect();
    Forest { leaves, stored, roots }
});

impl Forest {
    /// The bytes of a hash tile.
    ///
    /// # Panics
    ///
    /// For a data tile, and for one that the largest tree does not have.
    pub fn tile_data(&self, tile: &Tile) -> Vec<u8> {
        let TileLevel::Hash(level) = tile.level else { panic!("{tile} holds records") };
        let first = tile.number << tile.height;
        let index = |offset| stored_hash_index(level * tile.height, first + u64::from(offset));
        (0..tile.width).flat_map(|offset| *self.stored[index(offset).0 as usize].as_bytes()).collect()
    }

    /// The root of the tree of this size.
    pub fn root(&self, size: TreeSize) -> Hash {
        self.roots[size.0 as usize]
    }
}

/// The tree hash by its recursive definition: RFC 6962, section 2.1.
fn rfc6962_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            sha256(&[&[1], rfc6962_root(left).as_bytes(), rfc6962_root(right).as_bytes()])
        }
    }
}

fn sha256(parts: &[&[u8]]) -> Hash {
    let hasher = parts.iter().fold(Sha256::new(), |hasher, part| hasher.chain_update(part));
    Hash::from_bytes(hasher.finalize().into())
}

/// The module version that the zips of the test vectors are of.
pub fn zip_module() -> ModuleVersion {
    "example.com/Mod@v1.2.3".parse().expect("a module version")
}
