//! Positions in a log and in the linear order in which the hashes of its tree are stored.

use std::fmt;

/// The largest tree that can be talked about: what a signed 64-bit integer holds, as in x/mod and in SQLite.
pub const MAX_TREE_SIZE: TreeSize = TreeSize(i64::MAX as u64);

/// The number of a record, counted from zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RecordId(pub u64);

/// How many records a tree has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TreeSize(pub u64);

/// The place of a hash in storage order, see [`stored_hash_index`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct HashIndex(pub u64);

impl TreeSize {
    /// The size in words: "1 record", "2 records".
    pub fn records(self) -> String {
        format!("{self} record{}", if self.0 == 1 { "" } else { "s" })
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for HashIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place in storage order of hash number `offset` of `level` (0 is the records' level).
///
/// # Panics
///
/// When no tree of at most [`MAX_TREE_SIZE`] records has that hash: a coordinate from outside is checked before.
pub fn stored_hash_index(level: u8, offset: u64) -> HashIndex {
    // The hash is complete, and so stored, with the last record under it. It comes `level` places after that
    // record's own hash, which comes after all the hashes of the records before.
    let last = last_record_under(level, offset)
        .unwrap_or_else(|| panic!("hash {offset} of level {level} is in no tree of an allowed size"));
    HashIndex(stored_hash_count(TreeSize(last)) + u64::from(level))
}

/// The last record under hash number `offset` of `level`; none if it lies beyond every allowed tree.
pub(super) fn last_record_under(level: u8, offset: u64) -> Option<u64> {
    let records = (u128::from(offset) + 1).checked_mul(1u128.checked_shl(u32::from(level))?)?;
    let last = u64::try_from(records - 1).ok()?;
    (last < MAX_TREE_SIZE.0).then_some(last)
}

/// The level and the offset of a place in storage order: the inverse of [`stored_hash_index`].
///
/// # Panics
///
/// When no tree of at most [`MAX_TREE_SIZE`] records has that place.
pub fn split_stored_hash_index(index: HashIndex) -> (u8, u64) {
    assert!(
        index.0 < stored_hash_count(MAX_TREE_SIZE),
        "hash index {index} is in no tree of an allowed size"
    );
    // n records have 2n - (ones of n) hashes, so the record whose storing wrote this hash is at least index/2,
    // and the sum is behind by no more than 64 there.
    let mut record = index.0 / 2;
    let mut first = stored_hash_count(TreeSize(record));
    loop {
        // Record n writes its own hash and one for each subtree that it completes.
        let next = first + 1 + u64::from((record + 1).trailing_zeros());
        if next > index.0 {
            break;
        }
        first = next;
        record += 1;
    }
    let level = u8::try_from(index.0 - first).expect("a record completes at most 63 subtrees");
    (level, record >> level)
}

/// How many hashes are stored for a tree: one for each record and for each complete subtree.
///
/// # Panics
///
/// When the size is above [`MAX_TREE_SIZE`].
pub fn stored_hash_count(size: TreeSize) -> u64 {
    assert!(size <= MAX_TREE_SIZE, "tree size {size} is above the largest allowed");
    // n + n/2 + n/4 + ..., each rounded down.
    2 * size.0 - u64::from(size.0.count_ones())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_order_is_each_record_then_the_subtrees_it_completes() {
        let mut want = 0;
        for record in 0..5000u64 {
            assert_eq!(stored_hash_count(TreeSize(record)), want);
            for level in 0..=(record + 1).trailing_zeros() as u8 {
                let offset = record >> level;
                assert_eq!(stored_hash_index(level, offset), HashIndex(want));
                assert_eq!(split_stored_hash_index(HashIndex(want)), (level, offset));
                want += 1;
            }
        }
    }

    #[test]
    fn the_ends_of_the_range_do_not_overflow() {
        let last = HashIndex(stored_hash_count(MAX_TREE_SIZE) - 1);
        let (level, offset) = split_stored_hash_index(last);
        assert_eq!((level, offset), (0, MAX_TREE_SIZE.0 - 1));
        assert_eq!(stored_hash_index(level, offset), last);
        assert_eq!(split_stored_hash_index(stored_hash_index(62, 0)), (62, 0));
        for (level, offset) in [(63, 0), (62, 1), (0, u64::MAX), (64, 0), (200, 7), (255, u64::MAX)] {
            assert_eq!(last_record_under(level, offset), None, "({level}, {offset})");
        }
    }
}
