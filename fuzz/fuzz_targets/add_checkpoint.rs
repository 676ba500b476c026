//! Requests to a witness: what parses prints back; every size, proof and note makes a body that parses to them, up to the limits; and a
//! witness that has seen a tree of some size takes the honest next step, and not a changed one.

#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use tallystick::tlog::*;
use tallystick::witness::{AddCheckpoint, MAX_PROOF_LINES, MAX_REQUEST_BYTES, RequestError};
use tallystick_fuzz::{FOREST, Input, TREE_RECORDS, flip};

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = AddCheckpoint::parse(data) {
        assert_eq!(request.format().as_bytes(), data);
        assert!(request.old <= MAX_TREE_SIZE && request.proof.0.len() <= MAX_PROOF_LINES);
    }
    let mut input = Input::new(data);
    let (old, lines) = (TreeSize(input.number()), input.choice(70));
    let new = 1 + input.choice(TREE_RECORDS);
    let before = 1 + input.choice(new);
    let (position, mask) = (input.choice(1 << 16), input.byte());
    let note = String::from_utf8_lossy(input.rest()).into_owned();
    check_parts(old, lines, note);
    check_step(TreeSize(before as u64), TreeSize(new as u64), (position, mask));
});

fn check_parts(old: TreeSize, lines: usize, checkpoint: String) {
    let proof = ConsistencyProof(vec![FOREST.leaves[0]; lines]);
    let request = AddCheckpoint { old, proof, checkpoint };
    let body = request.format();
    match AddCheckpoint::parse(body.as_bytes()) {
        Ok(parsed) => assert_eq!(parsed, request),
        Err(RequestError::TooLong) => assert!(body.len() > MAX_REQUEST_BYTES),
        Err(RequestError::Old) => assert!(old > MAX_TREE_SIZE),
        Err(RequestError::TooManyProofLines) => assert!(lines > MAX_PROOF_LINES),
        Err(error) => panic!("{error}: {body:?}"),
    }
}

fn check_step(old: TreeSize, new: TreeSize, (position, mask): (usize, u8)) {
    let indexes = consistency_proof_indexes(new, old).expect("the old tree is no larger");
    let hashes: Vec<Hash> = indexes.iter().map(|index| FOREST.stored[index.0 as usize]).collect();
    let proof = prove_consistency(new, old, &hashes).expect("the hashes are those of the plan");
    let mut body = AddCheckpoint { old, proof, checkpoint: "note".to_owned() }.format().into_bytes();
    let holds = |body: &[u8]| {
        let request = AddCheckpoint::parse(body).ok()?;
        let step = (new, &FOREST.root(new), request.old, &FOREST.root(old));
        Some(request.old == old && verify_consistency(&request.proof, step.0, step.1, step.2, step.3).is_ok())
    };
    assert_eq!(holds(&body), Some(true));
    // Each byte before the note is part of what is proved.
    let position = position % (body.len() - "note".len());
    flip(&mut body, position, mask);
    assert_ne!(holds(&body), Some(true), "byte {position}");
}
