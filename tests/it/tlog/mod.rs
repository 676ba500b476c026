//! The log's tree against golang.org/x/mod (`vectors/tlog.json`), against a recursive oracle, and against forgers.

mod oracle;
mod proofs;
mod properties;
mod tiles;
mod vectors;

use tallystick::tlog::*;

/// The log of the vectors: record i is "record <i>\n". It holds the stored hashes, in storage order.
struct MemoryLog {
    leaves: Vec<Hash>,
    stored: Vec<Hash>,
}

impl MemoryLog {
    fn new(size: u64) -> MemoryLog {
        let leaves: Vec<Hash> =
            (0..size).map(|id| Hash::of_record(format!("record {id}\n").as_bytes())).collect();
        let mut stored = Vec::new();
        for id in 0..size as usize {
            // The record's own hash, then that of each subtree that it completes.
            for level in 0..=(id + 1).trailing_zeros() {
                stored.push(oracle::root(&leaves[id + 1 - (1 << level)..=id]));
            }
        }
        MemoryLog { leaves, stored }
    }

    fn read(&self, indexes: &[HashIndex]) -> Vec<Hash> {
        indexes.iter().map(|index| self.stored[index.0 as usize]).collect()
    }

    fn head(&self, size: u64) -> TreeHead {
        let size = TreeSize(size);
        let root = tree_hash(size, &self.read(&tree_hash_indexes(size))).expect("as many hashes as planned");
        TreeHead { size, root }
    }

    fn inclusion(&self, size: u64, id: u64) -> InclusionProof {
        let (size, id) = (TreeSize(size), RecordId(id));
        let hashes = self.read(&inclusion_proof_indexes(size, id).expect("a record of the tree"));
        prove_inclusion(size, id, &hashes).expect("as many hashes as planned")
    }

    fn consistency(&self, size: u64, old: u64) -> ConsistencyProof {
        let (size, old) = (TreeSize(size), TreeSize(old));
        let hashes = self.read(&consistency_proof_indexes(size, old).expect("an older tree"));
        prove_consistency(size, old, &hashes).expect("as many hashes as planned")
    }

    fn tile_data(&self, tile: &Tile) -> Vec<u8> {
        let TileLevel::Hash(level) = tile.level else { panic!("{tile} has no hashes") };
        let first = tile.number << tile.height;
        let index = |offset| stored_hash_index(level * tile.height, first + u64::from(offset));
        let hashes = self.read(&(0..tile.width).map(index).collect::<Vec<_>>());
        hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
    }
}

/// The same hash with one bit changed.
fn flipped(hash: &Hash, bit: usize) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[bit / 8 % 32] ^= 1 << (bit % 8);
    Hash::from_bytes(bytes)
}
