//! Proofs and tiles in small trees, whose hashes come from the definition: what is proved verifies; no other list of
//! hashes does, and none for another record or another older root; tiles give the hashes that were asked for, and no
//! byte of them can be changed.

#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use tallystick::tlog::*;
use tallystick_fuzz::{FOREST, Input, TREE_RECORDS, flip};

/// How the hashes of a proof are damaged.
struct Damage {
    kind: u8,
    position: usize,
    mask: u8,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let size = 1 + input.choice(TREE_RECORDS);
    let (id, old) = (input.choice(size), 1 + input.choice(size));
    let other = (id + 1 + input.choice(TREE_RECORDS)) % size;
    let damage = Damage { kind: input.byte(), position: input.choice(1 << 16), mask: input.byte() };
    let indexes = [(); 3].map(|()| input.choice(2 * TREE_RECORDS) as u64);
    let height = 1 + input.byte() % 9;
    let (far_size, far_id) = (input.number(), input.number());
    let proof: Vec<Hash> = input.rest().chunks_exact(HASH_SIZE).filter_map(Hash::from_slice).collect();

    let size = TreeSize(size as u64);
    assert_eq!(tree_hash(size, &read(tree_hash_indexes(size))), Ok(FOREST.root(size)));
    check_inclusion(size, RecordId(id as u64), RecordId(other as u64), &damage, &proof);
    check_consistency(size, TreeSize(old as u64), TreeSize(1 + other as u64), &damage, &proof);
    check_tiles(size, height, indexes, &damage);
    check_far(TreeSize(far_size), far_id, proof);
});

fn read(indexes: Vec<HashIndex>) -> Vec<Hash> {
    indexes.iter().map(|index| FOREST.stored[index.0 as usize]).collect()
}

fn check_inclusion(size: TreeSize, id: RecordId, other: RecordId, damage: &Damage, arbitrary: &[Hash]) {
    let (root, leaf) = (FOREST.root(size), FOREST.leaves[id.0 as usize]);
    let hashes = read(inclusion_proof_indexes(size, id).expect("the record is in the tree"));
    let proof = prove_inclusion(size, id, &hashes).expect("the hashes are those of the plan");
    assert_eq!(verify_inclusion(&proof, size, &root, id, &leaf), Ok(()));
    for forged in [arbitrary.to_vec(), damage.apply(&proof.0)] {
        let forged = InclusionProof(forged);
        let holds = verify_inclusion(&forged, size, &root, id, &leaf).is_ok();
        assert_eq!(holds, forged == proof, "record {id} of {size}: {forged:?}");
    }
    let holds = verify_inclusion(&proof, size, &root, other, &leaf).is_ok();
    assert_eq!(holds, other == id, "record {id} of {size} as record {other}");
}

fn check_consistency(size: TreeSize, old: TreeSize, other: TreeSize, damage: &Damage, arbitrary: &[Hash]) {
    let (root, old_root) = (FOREST.root(size), FOREST.root(old));
    let hashes = read(consistency_proof_indexes(size, old).expect("the old tree is no larger"));
    let proof = prove_consistency(size, old, &hashes).expect("the hashes are those of the plan");
    assert_eq!(verify_consistency(&proof, size, &root, old, &old_root), Ok(()));
    for forged in [arbitrary.to_vec(), damage.apply(&proof.0)] {
        let forged = ConsistencyProof(forged);
        let holds = verify_consistency(&forged, size, &root, old, &old_root).is_ok();
        assert_eq!(holds, forged == proof, "size {old} to {size}: {forged:?}");
    }
    let holds = verify_consistency(&proof, size, &root, old, &FOREST.root(other)).is_ok();
    assert_eq!(holds, other == old, "size {old} with the root of {other}");
}

fn check_tiles(size: TreeSize, height: u8, indexes: [u64; 3], damage: &Damage) {
    let head = TreeHead { size, root: FOREST.root(size) };
    let indexes = indexes.map(|index| HashIndex(index % stored_hash_count(size)));
    let plan = TilePlan::new(&head, height, &indexes).expect("the hashes are in the tree");
    let mut data: Vec<Vec<u8>> = plan.tiles().iter().map(|tile| FOREST.tile_data(tile)).collect();
    assert_eq!(plan.finish(&data), Ok(read(indexes.to_vec())));

    let tile = damage.position % data.len();
    let position = (damage.position / data.len()) % data[tile].len();
    flip(&mut data[tile], position, damage.mask);
    assert!(plan.finish(&data).is_err(), "byte {position} of {} was changed", plan.tiles()[tile]);
}

/// Positions from outside: no size is too large to be refused.
fn check_far(size: TreeSize, number: u64, proof: Vec<Hash>) {
    let (root, leaf) = (FOREST.roots[1], FOREST.leaves[0]);
    let is_in = |error| !matches!(error, Err(ProofError::TreeTooLarge { .. }));
    let id = RecordId(number);
    let inclusion = verify_inclusion(&InclusionProof(proof.clone()), size, &root, id, &leaf);
    let consistency = verify_consistency(&ConsistencyProof(proof), size, &root, TreeSize(number), &leaf);
    for verdict in [inclusion, consistency] {
        assert_eq!(is_in(verdict), size <= MAX_TREE_SIZE);
    }
    if let Ok(indexes) = inclusion_proof_indexes(size, id) {
        assert!(number < size.0 && indexes.iter().all(|index| index.0 < stored_hash_count(size)));
    }
}

impl Damage {
    fn apply(&self, hashes: &[Hash]) -> Vec<Hash> {
        let mut hashes = hashes.to_vec();
        let position = self.position % (hashes.len() + 1);
        match self.kind % 4 {
            0 if position < hashes.len() => {
                let mut bytes = *hashes[position].as_bytes();
                flip(&mut bytes, self.position % HASH_SIZE, self.mask);
                hashes[position] = Hash::from_bytes(bytes);
            }
            1 if position < hashes.len() => drop(hashes.remove(position)),
            2 => hashes.insert(position, Hash::EMPTY_TREE),
            _ => hashes.reverse(),
        }
        hashes
    }
}
