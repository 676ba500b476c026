//! All trees to a size, all records, all older trees: proofs as the oracle makes them, and nothing else passes.

use super::*;

const MAX: u64 = 100;

#[test]
fn roots_are_those_of_the_oracle() {
    let log = MemoryLog::new(MAX);
    for size in 0..=MAX {
        assert_eq!(log.head(size).root, oracle::root(&log.leaves[..size as usize]), "size {size}");
    }
}

#[test]
fn inclusion_of_every_record_in_every_tree() {
    let log = MemoryLog::new(MAX);
    let heads: Vec<TreeHead> = (0..=MAX).map(|size| log.head(size)).collect();
    for size in 1..=MAX {
        let TreeHead { size: tree, root } = heads[size as usize];
        for id in 0..size {
            let proof = log.inclusion(size, id);
            let leaf = &log.leaves[id as usize];
            assert_eq!(proof.0, oracle::path(id as usize, &log.leaves[..size as usize]), "{id} in {size}");
            let verify = |proof: &[Hash], size, root: &Hash, id, leaf: &Hash| {
                verify_inclusion(&InclusionProof(proof.to_vec()), size, root, RecordId(id), leaf)
            };
            assert_eq!(verify(&proof.0, tree, &root, id, leaf), Ok(()), "{id} in {size}");

            for changed in changed_proofs(&proof.0, (size * 31 + id * 7) as usize) {
                assert!(verify(&changed, tree, &root, id, leaf).is_err(), "{id} in {size}: {changed:?}");
            }
            let bit = (size + id) as usize;
            assert_eq!(verify(&proof.0, tree, &flipped(&root, bit), id, leaf), Err(ProofError::Mismatch));
            assert_eq!(verify(&proof.0, tree, &root, id, &flipped(leaf, bit)), Err(ProofError::Mismatch));
            for other in (0..=size).filter(|other| *other != id) {
                assert!(verify(&proof.0, tree, &root, other, leaf).is_err(), "{id} as {other} in {size}");
            }
            for other in heads.iter().filter(|other| other.size != tree) {
                assert!(
                    verify(&proof.0, other.size, &other.root, id, leaf).is_err(),
                    "{id} of {size} in {other}"
                );
            }
        }
    }
}

#[test]
fn an_inclusion_proof_shows_the_size_only_as_far_as_the_path_does() {
    // Root and size are signed together, so a wrong size with the right root is no attack; but what passes must be
    // exactly what has the same lefts and rights on its way up.
    let log = MemoryLog::new(40);
    let path = |mut id: u64, mut size: u64| {
        let mut sides = Vec::new();
        while size > 1 {
            let k = size.next_power_of_two() / 2;
            sides.push(id < k);
            (id, size) = if id < k { (id, k) } else { (id - k, size - k) };
        }
        sides
    };
    for size in 1..=40 {
        let root = log.head(size).root;
        for id in 0..size {
            let proof = log.inclusion(size, id);
            for other in 1..=80 {
                let leaf = &log.leaves[id as usize];
                let verified = verify_inclusion(&proof, TreeSize(other), &root, RecordId(id), leaf).is_ok();
                let same = id < other && path(id, other) == path(id, size);
                assert_eq!(verified, same, "record {id} of size {size} in size {other}");
            }
        }
    }
}

#[test]
fn consistency_of_every_tree_with_every_older_one() {
    let log = MemoryLog::new(MAX);
    let heads: Vec<TreeHead> = (0..=MAX).map(|size| log.head(size)).collect();
    for size in 1..=MAX {
        let new = heads[size as usize];
        for old_size in 1..=size {
            let old = heads[old_size as usize];
            let proof = log.consistency(size, old_size);
            let want = oracle::subproof(old_size as usize, &log.leaves[..size as usize], true);
            assert_eq!(proof.0, want, "{old_size} to {size}");
            let verify = |proof: &[Hash], new: &TreeHead, old: &TreeHead| {
                let proof = ConsistencyProof(proof.to_vec());
                verify_consistency(&proof, new.size, &new.root, old.size, &old.root)
            };
            assert_eq!(verify(&proof.0, &new, &old), Ok(()), "{old_size} to {size}");

            for changed in changed_proofs(&proof.0, (size * 31 + old_size * 7) as usize) {
                assert!(verify(&changed, &new, &old).is_err(), "{old_size} to {size}: {changed:?}");
            }
            let bit = (size + old_size) as usize;
            let forked = |head: &TreeHead| TreeHead { root: flipped(&head.root, bit), ..*head };
            assert_eq!(verify(&proof.0, &forked(&new), &old), Err(ProofError::Mismatch));
            assert_eq!(verify(&proof.0, &new, &forked(&old)), Err(ProofError::Mismatch));
            if old_size < size {
                assert!(verify(&proof.0, &old, &new).is_err(), "backwards");
            }
            for other in heads.iter().filter(|other| other.size != old.size) {
                assert!(verify(&proof.0, &new, other).is_err(), "{old_size} to {size} from {other}");
            }
            for other in heads.iter().filter(|other| other.size != new.size) {
                assert!(verify(&proof.0, other, &old).is_err(), "{old_size} to {size} to {other}");
            }
        }
    }
}

/// A proof with each hash flipped, each hash missing, each two neighbours swapped, and one more hash at each place.
fn changed_proofs(proof: &[Hash], bit: usize) -> Vec<Vec<Hash>> {
    let mut changed = Vec::new();
    for position in 0..proof.len() {
        let mut one = proof.to_vec();
        one[position] = flipped(&one[position], bit + position * 37);
        changed.push(one);
        let mut one = proof.to_vec();
        one.remove(position);
        changed.push(one);
        if position > 0 {
            let mut one = proof.to_vec();
            one.swap(position, position - 1);
            changed.push(one);
        }
    }
    for position in 0..=proof.len() {
        let mut one = proof.to_vec();
        one.insert(position, Hash::EMPTY_TREE);
        changed.push(one);
    }
    changed
}

#[test]
fn the_count_of_hashes_is_checked() {
    let log = MemoryLog::new(20);
    for size in 1..=20 {
        let tree = TreeSize(size);
        let wrong = |want: usize| (0..=want + 2).filter(move |got| *got != want);
        let hashes = vec![Hash::EMPTY_TREE; 64];
        let want = tree_hash_indexes(tree).len();
        for got in wrong(want) {
            assert_eq!(tree_hash(tree, &hashes[..got]), Err(ProofError::HashCount { want, got }));
        }
        for id in (0..size).map(RecordId) {
            let want = inclusion_proof_indexes(tree, id).unwrap().len();
            for got in wrong(want) {
                let proof = prove_inclusion(tree, id, &hashes[..got]);
                assert_eq!(proof, Err(ProofError::HashCount { want, got }));
            }
            let want = log.inclusion(size, id.0).0.len();
            for got in wrong(want) {
                let proof = InclusionProof(hashes[..got].to_vec());
                let verified = verify_inclusion(&proof, tree, &Hash::EMPTY_TREE, id, &Hash::EMPTY_TREE);
                assert_eq!(verified, Err(ProofError::ProofLength { want, got }));
            }
        }
        for old in (1..=size).map(TreeSize) {
            let want = consistency_proof_indexes(tree, old).unwrap().len();
            for got in wrong(want) {
                let proof = prove_consistency(tree, old, &hashes[..got]);
                assert_eq!(proof, Err(ProofError::HashCount { want, got }));
            }
            let want = log.consistency(size, old.0).0.len();
            for got in wrong(want) {
                let proof = ConsistencyProof(hashes[..got].to_vec());
                let verified = verify_consistency(&proof, tree, &Hash::EMPTY_TREE, old, &Hash::EMPTY_TREE);
                assert_eq!(verified, Err(ProofError::ProofLength { want, got }));
            }
        }
    }
}

#[test]
fn positions_outside_the_tree_are_refused() {
    let (root, none) = (Hash::EMPTY_TREE, Vec::new());
    for (size, id) in [(0, 0), (1, 1), (5, 5), (5, 6), (5, u64::MAX), (MAX_TREE_SIZE.0, MAX_TREE_SIZE.0)] {
        let (size, id) = (TreeSize(size), RecordId(id));
        let want = ProofError::RecordOutsideTree { id, size };
        assert_eq!(inclusion_proof_indexes(size, id), Err(want));
        assert_eq!(prove_inclusion(size, id, &[]), Err(want));
        assert_eq!(verify_inclusion(&InclusionProof(none.clone()), size, &root, id, &root), Err(want));
    }
    for (size, old) in [(0, 0), (1, 0), (5, 0), (5, 6), (5, u64::MAX)] {
        let (size, old) = (TreeSize(size), TreeSize(old));
        let want = ProofError::OldSizeOutsideTree { old, size };
        assert_eq!(consistency_proof_indexes(size, old), Err(want));
        assert_eq!(prove_consistency(size, old, &[]), Err(want));
        assert_eq!(verify_consistency(&ConsistencyProof(none.clone()), size, &root, old, &root), Err(want));
    }
    for size in [MAX_TREE_SIZE.0 + 1, u64::MAX].map(TreeSize) {
        let want = ProofError::TreeTooLarge { size };
        assert_eq!(inclusion_proof_indexes(size, RecordId(0)), Err(want));
        assert_eq!(consistency_proof_indexes(size, TreeSize(1)), Err(want));
        assert_eq!(tree_hash(size, &[]), Err(want));
    }
}

#[test]
fn the_largest_tree_is_planned_without_overflow() {
    let size = MAX_TREE_SIZE;
    assert_eq!(tree_hash_indexes(size).len(), 63);
    for id in [0, 1, 1 << 40, 1 << 62, size.0 - 1].map(RecordId) {
        assert!(
            inclusion_proof_indexes(size, id).unwrap().iter().all(|index| index.0 < stored_hash_count(size))
        );
    }
    for old in [1, 2, 3, 1 << 40, 1 << 62, size.0 - 1, size.0].map(TreeSize) {
        let indexes = consistency_proof_indexes(size, old).unwrap();
        assert!(indexes.iter().all(|index| index.0 < stored_hash_count(size)));
    }
}
