//! Roots and proofs: which stored hashes they need, how they are made, how they are verified.
//!
//! A proof lists the hashes of the subtrees beside the path, from the deepest to the root's child, as in
//! RFC 6962, sections 2.1.1 and 2.1.2. A subtree is a range of records; when it is not complete (only the
//! rightmost can be that) its hash is folded from the stored hashes of the complete subtrees within.

use std::ops::Range;

use super::hash::Hash;
use super::tree::{HashIndex, MAX_TREE_SIZE, RecordId, TreeSize, stored_hash_index};

/// The hashes that show that a record is in a tree, from the record's sibling upwards.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InclusionProof(pub Vec<Hash>);

/// The hashes that show that an older tree is a prefix of a tree, the deepest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConsistencyProof(pub Vec<Hash>);

/// A proof cannot be made, or does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// A size above [`MAX_TREE_SIZE`]: no such tree exists.
    #[error("tree size {size} is above the largest allowed, {MAX_TREE_SIZE}")]
    TreeTooLarge {
        /// The size asked for.
        size: TreeSize,
    },
    /// The record is not below the size. x/mod: "cannot validate record N in tree of size M".
    #[error("record {id} is not in a tree of size {size}")]
    RecordOutsideTree {
        /// The record asked for.
        id: RecordId,
        /// The tree's size.
        size: TreeSize,
    },
    /// The older size is zero or above the size; every tree extends the empty one, and there is no proof of it.
    #[error("no consistency proof leads from size {old} to size {size}")]
    OldSizeOutsideTree {
        /// The older tree's size.
        old: TreeSize,
        /// The tree's size.
        size: TreeSize,
    },
    /// The reader of the planned hashes returned more or fewer than were asked for.
    #[error("{got} hashes were read where {want} were asked for")]
    HashCount {
        /// Hashes that the plan named.
        want: usize,
        /// Hashes that came.
        got: usize,
    },
    /// The proof has more or fewer hashes than a proof between these positions has.
    #[error("the proof has {got} hashes, not {want}")]
    ProofLength {
        /// Hashes that a proof of these sizes has.
        want: usize,
        /// Hashes of the proof.
        got: usize,
    },
    /// The proof does not lead from what is to be shown to the root.
    #[error("the proof does not lead to the root")]
    Mismatch,
}

/// The stored hashes from which the root is computed: of the complete subtrees, from the left and largest on.
///
/// # Panics
///
/// When the size is above [`MAX_TREE_SIZE`].
pub fn tree_hash_indexes(size: TreeSize) -> Vec<HashIndex> {
    assert!(size <= MAX_TREE_SIZE, "tree size {size} is above the largest allowed");
    let mut indexes = Vec::with_capacity(size.0.count_ones() as usize);
    indexes.extend(complete_subtrees(0..size.0));
    indexes
}

/// The root, from the hashes that [`tree_hash_indexes`] names.
pub fn tree_hash(size: TreeSize, hashes: &[Hash]) -> Result<Hash, ProofError> {
    check_size(size)?;
    check_count(size.0.count_ones() as usize, hashes.len())?;
    Ok(if size.0 == 0 { Hash::EMPTY_TREE } else { fold(hashes) })
}

/// The stored hashes that the inclusion proof of a record needs.
pub fn inclusion_proof_indexes(size: TreeSize, id: RecordId) -> Result<Vec<HashIndex>, ProofError> {
    Ok(indexes_of(size, &inclusion_ranges(size, id)?))
}

/// The inclusion proof, from the hashes that [`inclusion_proof_indexes`] names.
pub fn prove_inclusion(size: TreeSize, id: RecordId, hashes: &[Hash]) -> Result<InclusionProof, ProofError> {
    Ok(InclusionProof(fold_ranges(&inclusion_ranges(size, id)?, hashes)?))
}

/// The stored hashes that the proof needs that the tree of size `old` is a prefix of the tree of size `size`.
pub fn consistency_proof_indexes(size: TreeSize, old: TreeSize) -> Result<Vec<HashIndex>, ProofError> {
    Ok(indexes_of(size, &consistency_ranges(size, old)?))
}

/// The consistency proof, from the hashes that [`consistency_proof_indexes`] names.
pub fn prove_consistency(
    size: TreeSize,
    old: TreeSize,
    hashes: &[Hash],
) -> Result<ConsistencyProof, ProofError> {
    Ok(ConsistencyProof(fold_ranges(&consistency_ranges(size, old)?, hashes)?))
}

/// Verifies that record `id` of the tree with this size and root has the hash `leaf`.
pub fn verify_inclusion(
    proof: &InclusionProof,
    size: TreeSize,
    root: &Hash,
    id: RecordId,
    leaf: &Hash,
) -> Result<(), ProofError> {
    if root_by_inclusion(proof, size, id, leaf)? == *root { Ok(()) } else { Err(ProofError::Mismatch) }
}

/// The root that the proof leads to: that of the tree, if record `id` of this size has the hash `leaf` and the proof is right.
pub fn root_by_inclusion(
    proof: &InclusionProof,
    size: TreeSize,
    id: RecordId,
    leaf: &Hash,
) -> Result<Hash, ProofError> {
    let ranges = inclusion_ranges(size, id)?;
    check_proof_length(ranges.len(), proof.0.len())?;
    let mut hash = *leaf;
    for (beside, range) in proof.0.iter().zip(&ranges) {
        hash = if range.start > id.0 { Hash::of_node(&hash, beside) } else { Hash::of_node(beside, &hash) };
    }
    Ok(hash)
}

/// Verifies that the tree of `old_size` and `old_root` is a prefix of the tree with this size and root.
pub fn verify_consistency(
    proof: &ConsistencyProof,
    size: TreeSize,
    root: &Hash,
    old_size: TreeSize,
    old_root: &Hash,
) -> Result<(), ProofError> {
    let ranges = consistency_ranges(size, old_size)?;
    check_proof_length(ranges.len(), proof.0.len())?;
    // The path ends in the largest complete subtree that ends where the old tree ends. When that is the whole
    // old tree the proof leaves it out, since the verifier has its hash.
    let mut beside = proof.0.iter().zip(&ranges).peekable();
    let start = match beside.next_if(|(_, range)| range.end == old_size.0) {
        Some((hash, _)) => *hash,
        None => *old_root,
    };
    let (mut old, mut new) = (start, start);
    for (hash, range) in beside {
        if range.start >= old_size.0 {
            new = Hash::of_node(&new, hash);
        } else {
            old = Hash::of_node(hash, &old);
            new = Hash::of_node(hash, &new);
        }
    }
    if old == *old_root && new == *root { Ok(()) } else { Err(ProofError::Mismatch) }
}

/// The subtrees beside the path from the record to the root, the deepest first.
fn inclusion_ranges(size: TreeSize, id: RecordId) -> Result<Vec<Range<u64>>, ProofError> {
    check_size(size)?;
    if id.0 >= size.0 {
        return Err(ProofError::RecordOutsideTree { id, size });
    }
    let mut ranges = Vec::with_capacity(height(size) + 1);
    let mut here = 0..size.0;
    while here.end - here.start > 1 {
        let middle = split_point(&here);
        let (next, beside) = if id.0 < middle {
            (here.start..middle, middle..here.end)
        } else {
            (middle..here.end, here.start..middle)
        };
        ranges.push(beside);
        here = next;
    }
    ranges.reverse();
    Ok(ranges)
}

/// The subtree in which the old tree ends, unless it is all of it, then those beside the path from it to the
/// root, the deepest first.
fn consistency_ranges(size: TreeSize, old: TreeSize) -> Result<Vec<Range<u64>>, ProofError> {
    check_size(size)?;
    if old.0 == 0 || old > size {
        return Err(ProofError::OldSizeOutsideTree { old, size });
    }
    let mut ranges = Vec::with_capacity(height(size) + 1);
    let mut here = 0..size.0;
    while here.end != old.0 {
        let middle = split_point(&here);
        let (next, beside) = if old.0 <= middle {
            (here.start..middle, middle..here.end)
        } else {
            (middle..here.end, here.start..middle)
        };
        ranges.push(beside);
        here = next;
    }
    if here.start != 0 {
        ranges.push(here);
    }
    ranges.reverse();
    Ok(ranges)
}

/// Where a subtree of at least two records parts: its left side has the largest power of two below its length.
fn split_point(range: &Range<u64>) -> u64 {
    let length = range.end - range.start;
    range.start + (length.next_power_of_two() >> 1)
}

/// The complete subtrees that make up a range of records, from the left and largest on. The range starts at a
/// multiple of the largest, as every range of this file does.
fn complete_subtrees(range: Range<u64>) -> impl Iterator<Item = HashIndex> {
    let mut start = range.start;
    std::iter::from_fn(move || {
        let level = (range.end - start).checked_ilog2()?;
        let index = stored_hash_index(level as u8, start >> level);
        start += 1 << level;
        Some(index)
    })
}

/// Those of all subtrees of a proof. Only those at the right edge are not complete: each of its levels has one hash at most.
fn indexes_of(size: TreeSize, ranges: &[Range<u64>]) -> Vec<HashIndex> {
    let mut indexes = Vec::with_capacity(ranges.len() + height(size));
    ranges.iter().for_each(|range| indexes.extend(complete_subtrees(range.clone())));
    indexes
}

/// How many nodes are above a record at most.
fn height(size: TreeSize) -> usize {
    (u64::BITS - size.0.leading_zeros()) as usize
}

/// The hash of a subtree, from those of the complete subtrees within, of which there is at least one.
fn fold(hashes: &[Hash]) -> Hash {
    let (last, others) = hashes.split_last().expect("a subtree is not empty");
    others.iter().rev().fold(*last, |right, left| Hash::of_node(left, &right))
}

/// One hash for each range, from those of the complete subtrees of all of them.
fn fold_ranges(ranges: &[Range<u64>], mut hashes: &[Hash]) -> Result<Vec<Hash>, ProofError> {
    let count = |range: &Range<u64>| (range.end - range.start).count_ones() as usize;
    check_count(ranges.iter().map(count).sum(), hashes.len())?;
    Ok(ranges
        .iter()
        .map(|range| {
            let (these, rest) = hashes.split_at(count(range));
            hashes = rest;
            fold(these)
        })
        .collect())
}

fn check_size(size: TreeSize) -> Result<(), ProofError> {
    if size > MAX_TREE_SIZE { Err(ProofError::TreeTooLarge { size }) } else { Ok(()) }
}

fn check_count(want: usize, got: usize) -> Result<(), ProofError> {
    if want == got { Ok(()) } else { Err(ProofError::HashCount { want, got }) }
}

fn check_proof_length(want: usize, got: usize) -> Result<(), ProofError> {
    if want == got { Ok(()) } else { Err(ProofError::ProofLength { want, got }) }
}
