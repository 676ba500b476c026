//! The right edge of the verified prefix: all that is needed to go on from it, and nothing else, in
//! one row.
//!
//! ```text
//! 8 bytes   XXH3-64 of everything after it, little-endian
//! 8 bytes   size, little-endian: the number of verified records
//! 32 n      for each level from 1 up that the tree has: the hashes of its unfinished tile. There are
//!           (size >> 8 * level) mod 256 of them, each over 256^level records
//! rest      the records of the unfinished level-0 tile, size mod 256 of them, each followed by a blank line
//! ```

use super::super::segment::{Why, unwrap, wrap};
use crate::tlog::{HASH_SIZE, Hash, TILE_HEIGHT, TILE_WIDTH, TreeSize, split_data_tile, unfinished_widths};

/// The right edge of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    /// The size of the tree.
    pub size: TreeSize,
    /// The hashes of the unfinished tiles of level 1, 2, …, as many levels as the tree has full
    /// tiles of.
    pub levels: Vec<Vec<Hash>>,
    /// The texts of the records of the unfinished level-0 tile.
    pub texts: Vec<String>,
}

impl Edge {
    /// Records in full level-0 tiles.
    pub fn sealed(&self) -> u64 {
        self.size.0 - self.size.0 % TILE_WIDTH
    }

    /// The unfinished tile of a level from 1 up.
    pub fn level(&self, level: u8) -> &[Hash] {
        usize::from(level).checked_sub(1).and_then(|at| self.levels.get(at)).map_or(&[], |hashes| hashes)
    }

    /// # Panics
    ///
    /// When there are more or fewer hashes or records than the size says.
    pub(super) fn encode(&self) -> Vec<u8> {
        assert_eq!(self.texts.len() as u64, self.size.0 % TILE_WIDTH, "records of an edge of {}", self.size);
        let counts: Vec<usize> = counts(self.size.0).collect();
        let held: Vec<usize> = self.levels.iter().map(Vec::len).collect();
        assert_eq!(held, counts, "hashes of an edge of {}", self.size);
        let mut body = self.size.0.to_le_bytes().to_vec();
        for hash in self.levels.iter().flatten() {
            body.extend(hash.as_bytes());
        }
        for text in &self.texts {
            body.extend(text.as_bytes());
            body.push(b'\n');
        }
        wrap(&body)
    }

    pub(super) fn decode(row: &[u8]) -> Result<Edge, Why> {
        let (size, mut rest) = unwrap(row)?.split_first_chunk().ok_or("shorter than its size")?;
        let size = u64::from_le_bytes(*size);
        let mut levels = Vec::new();
        for count in counts(size) {
            let (hashes, after) = rest.split_at_checked(count * HASH_SIZE).ok_or("its hashes are cut off")?;
            rest = after;
            let hash = |hash| Hash::from_slice(hash).expect("the chunks are 32 bytes long");
            levels.push(hashes.chunks_exact(HASH_SIZE).map(hash).collect());
        }
        let texts: Vec<String> = split_data_tile(rest)
            .map_err(|error| error.to_string())?
            .into_iter()
            .map(str::to_owned)
            .collect();
        if texts.len() as u64 != size % TILE_WIDTH {
            return Err(format!("{} records at the edge of a tree of {size}", texts.len()));
        }
        Ok(Edge { size: TreeSize(size), levels, texts })
    }
}

/// How many hashes the unfinished tile of each level from 1 up has.
fn counts(size: u64) -> impl Iterator<Item = usize> {
    unfinished_widths(TILE_HEIGHT, TreeSize(size)).map(|hashes| hashes as usize)
}
