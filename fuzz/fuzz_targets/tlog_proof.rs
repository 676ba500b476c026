//! Proof files: what parses prints back; every proof in a small tree, as a file, parses to itself and holds; whatever byte of it is
//! changed, nothing else than the same record at the same place is proved.

#![no_main]
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tallystick::note::{SignerKey, open, sign};
use tallystick::tlog::*;
use tallystick_fuzz::{FOREST, Input, TREE_RECORDS, flip};

static LOG: LazyLock<SignerKey> =
    LazyLock::new(|| SignerKey::generate("sum.corp.example".parse().expect("a key name"), [1; 32]));

fuzz_target!(|data: &[u8]| {
    if let Ok(file) = TlogProof::parse(data) {
        assert_eq!(file.format().as_bytes(), data);
    }
    let mut input = Input::new(data);
    let size = 1 + input.choice(TREE_RECORDS);
    let id = input.choice(size);
    let (position, mask) = (input.choice(1 << 16), input.byte());
    check_made(TreeSize(size as u64), RecordId(id as u64), (position, mask));
    // Any parts make a file that parses to them.
    let (extra, proof) = (Some(input.rest().to_vec()), InclusionProof(vec![FOREST.leaves[id]; id % 64]));
    let file = TlogProof { extra, index: RecordId(id as u64), proof, checkpoint: "o\n".to_owned() };
    if file.format().len() <= MAX_TLOG_PROOF_BYTES {
        assert_eq!(TlogProof::parse(file.format().as_bytes()), Ok(file));
    }
});

fn check_made(size: TreeSize, id: RecordId, (position, mask): (usize, u8)) {
    let indexes = inclusion_proof_indexes(size, id).expect("the record is in the tree");
    let hashes: Vec<Hash> = indexes.iter().map(|index| FOREST.stored[index.0 as usize]).collect();
    let proof = prove_inclusion(size, id, &hashes).expect("the hashes are those of the plan");
    let tree = TreeHead { size, root: FOREST.root(size) };
    let origin = "sum.corp.example".parse().expect("an origin");
    let checkpoint = sign(&Checkpoint::new(origin, tree).format(), &[&LOG]).expect("a checkpoint is signed");
    let text = format!("record {id}\n").into_bytes();
    let file = TlogProof { extra: Some(text.clone()), index: id, proof, checkpoint }.format();
    assert_eq!(proved(file.as_bytes()), Some((id, text.clone(), tree)));

    let mut changed = file.into_bytes();
    let position = position % changed.len();
    flip(&mut changed, position, mask);
    if let Some(other) = proved(&changed) {
        assert_eq!(other, (id, text, tree), "byte {position}");
    }
}

/// What a file proves, to somebody who has the log's key.
fn proved(file: &[u8]) -> Option<(RecordId, Vec<u8>, TreeHead)> {
    let file = TlogProof::parse(file).ok()?;
    let note = open(file.checkpoint.as_bytes(), &[&LOG.verifier()]).ok()?;
    let (tree, text) = (Checkpoint::parse(&note.text).ok()?.tree, file.extra?);
    verify_inclusion(&file.proof, tree.size, &tree.root, file.index, &Hash::of_record(&text)).ok()?;
    Some((file.index, text, tree))
}
