//! The tamper-evident log: hashes, tree math, proofs, tiles, records and tree heads.
//!
//! A log is a list of records. Its tree is the Merkle tree of [RFC 6962, section 2.1] over them, so that one
//! 32-byte root stands for all of them, and short proofs show that a record is in the tree
//! ([`verify_inclusion`]) and that an older tree is a prefix of it ([`verify_consistency`]):
//!
//! ```text
//! record hash = SHA-256(0x00 || text)              text ends in its newline and carries no record number
//! node hash   = SHA-256(0x01 || left || right)
//! empty tree  = SHA-256("")                        47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
//! ```
//!
//! A tree of three records, with the (level, offset) of each hash and, below, its place in storage order
//! ([`stored_hash_index`]): a hash is stored as soon as the records under it are, children first, and is
//! never rewritten. Only hashes of complete subtrees are stored; the root here is `node((1,0), (0,2))`.
//!
//! ```text
//!            root
//!          /      \
//!       (1,0)    (0,2)            (0,0)  (0,1)  (1,0)  (0,2)
//!      /     \                      0      1      2      3
//!   (0,0)  (0,1)
//! ```
//!
//! Hashes travel in *tiles* ([`Tile`]): 2^H neighbours of one level, as `2^H * 32` bytes, under a path like
//! `tile/8/0/x001/234`. Every hash of the levels between is computed from them.
//!
//! Everything here is *plan, then finish*: a pure function says which hashes ([`inclusion_proof_indexes`]) or
//! tiles ([`TilePlan::new`]) are needed, the caller reads them wherever they are, and a pure function consumes
//! them ([`prove_inclusion`], [`TilePlan::finish`]) and checks their count, always.
//!
//! ```
//! use tallystick::tlog::*;
//!
//! let leaves = [b"a\n", b"b\n", b"c\n"].map(|text| Hash::of_record(text));
//! let stored = [leaves[0], leaves[1], Hash::of_node(&leaves[0], &leaves[1]), leaves[2]];
//! let read = |indexes: Vec<HashIndex>| indexes.iter().map(|i| stored[i.0 as usize]).collect::<Vec<_>>();
//!
//! let size = TreeSize(3);
//! let root = tree_hash(size, &read(tree_hash_indexes(size)))?;
//! let proof = prove_inclusion(size, RecordId(2), &read(inclusion_proof_indexes(size, RecordId(2))?))?;
//! verify_inclusion(&proof, size, &root, RecordId(2), &leaves[2])?;
//! # Ok::<(), ProofError>(())
//! ```
//!
//! The formats are those of golang.org/x/mod/sumdb/tlog (proposal [25530]). We parse more strictly: what does
//! not print back to itself is refused.
//!
//! [RFC 6962, section 2.1]: https://www.rfc-editor.org/rfc/rfc6962#section-2.1
//! [25530]: https://go.googlesource.com/proposal/+/master/design/25530-sumdb.md

mod bundle;
mod checkpoint;
mod hash;
mod head;
mod number;
mod plan;
mod proof;
mod proof_file;
mod record;
mod tile;
mod tile_path;
mod tree;

pub use bundle::{BundleFormError, format_entry_bundle, split_entry_bundle};
pub use checkpoint::{Checkpoint, CheckpointError, MAX_CHECKPOINT_BYTES, Origin, OriginError};
pub use hash::{HASH_SIZE, Hash, HashParseError};
pub use head::{MAX_TREE_HEAD_BYTES, TREE_HEAD_ORIGIN, TreeHead, TreeHeadError};
pub use plan::TilePlan;
pub use proof::{
    ConsistencyProof, InclusionProof, ProofError, consistency_proof_indexes, inclusion_proof_indexes,
    prove_consistency, prove_inclusion, root_by_inclusion, tree_hash, tree_hash_indexes, verify_consistency,
    verify_inclusion,
};
pub use proof_file::{MAX_TLOG_PROOF_BYTES, TLOG_PROOF_SUFFIX, TlogProof, TlogProofError};
pub use record::{
    RecordError, check_record_text, format_record, is_valid_record_text, parse_record, split_data_tile,
};
pub use tile::{
    MAX_TILE_HEIGHT, MAX_TILE_LEVEL, TILE_HEIGHT, TILE_WIDTH, Tile, TileError, TileLevel, edge_root,
    hashes_at, new_tiles, push_tile_root, row_root, tile_root, unfinished_widths,
};
pub use tile_path::TilePathError;
pub use tree::{
    HashIndex, MAX_TREE_SIZE, RecordId, TreeSize, split_stored_hash_index, stored_hash_count,
    stored_hash_index,
};
