//! The tree again, by another way than the right edge: a stack of complete subtrees, nothing of the
//! edge's code.
//!
//! What is signed is computed twice, by two ways from two copies: once by the
//! [`RightEdge`](super::right_edge::RightEdge) from the leaves that came with the candidates, once
//! by a tower from the records as they are stored. One flipped bit in memory, which other logs have
//! signed and never recovered from, makes the two disagree. fsck climbs the same tower over the
//! whole log.

use crate::store::StoreError;
use crate::tlog::{Hash, TreeHead, TreeSize};

/// A tree that grows by complete subtrees.
#[derive(Clone, Debug, Default)]
pub(super) struct Tower {
    size: u64,
    /// The complete subtrees that are not part of a larger one, largest first: height and root.
    peaks: Vec<(u8, Hash)>,
}

impl Tower {
    /// The tower of a tree, from the roots of its largest complete subtrees, largest first. They
    /// must give the tree's root, so that a tower which starts here is as good as the signature
    /// under that root.
    pub(super) fn over(tree: &TreeHead, roots: &[Hash]) -> Result<Tower, StoreError> {
        let heights = (0..64).rev().filter(|height| tree.size.0 >> height & 1 == 1);
        let tower = Tower { size: tree.size.0, peaks: heights.zip(roots.iter().copied()).collect() };
        if tree.size.0.count_ones() as usize == roots.len() && tower.head() == *tree {
            return Ok(tower);
        }
        let why = format!("its complete subtrees have the root {}", tower.head().root);
        Err(StoreError::Damaged {
            place: format!("tree of size {} with the root {}", tree.size, tree.root),
            why,
        })
    }

    /// Appends the root of a complete subtree over 2^`height` records; height 0 is a leaf. What
    /// stands before must be a multiple of as many. Each subtree that is complete now is told with
    /// its height, smallest first.
    pub(super) fn push(&mut self, height: u8, root: Hash, mut complete: impl FnMut(u8, Hash)) {
        assert!(self.size.is_multiple_of(1 << height), "a subtree of height {height} after {}", self.size);
        self.size += 1 << height;
        let (mut height, mut root) = (height, root);
        loop {
            complete(height, root);
            match self.peaks.pop_if(|peak| peak.0 == height) {
                Some((_, left)) => (height, root) = (height + 1, Hash::of_node(&left, &root)),
                None => break,
            }
        }
        self.peaks.push((height, root));
    }

    /// Number of records.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Size and root.
    pub(super) fn head(&self) -> TreeHead {
        let mut peaks = self.peaks.iter().rev().map(|peak| peak.1);
        let last = peaks.next().unwrap_or(Hash::EMPTY_TREE);
        let root = peaks.fold(last, |right, left| Hash::of_node(&left, &right));
        TreeHead { size: TreeSize(self.size), root }
    }
}
