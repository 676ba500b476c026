//! Witnesses: the role, over HTTP, killed, and held against other people's programs.

mod first;
mod foreign;
mod http;
mod kills;
mod own;
mod role;

use std::path::Path;

use tallystick::clock::Clock;
use tallystick::note::{self, CosignatureSigner, SignerKey, Verifier as _, cosigned_at};
use tallystick::tlog::{Checkpoint, ConsistencyProof, Hash, TreeHead, TreeSize};
use tallystick::witness::{AddCheckpoint, TrustedLog, Witness, WitnessError};

use crate::support::logs::clock;

/// A log of made-up leaves. Two of one name and key with different `salt` are a fork from `fork_at` on.
#[derive(Clone)]
pub(crate) struct SmallLog {
    name: String,
    seed: u8,
    salt: u8,
    fork_at: u64,
}

impl SmallLog {
    pub(crate) fn new(name: &str) -> SmallLog {
        SmallLog { name: name.to_owned(), seed: 9, salt: 0, fork_at: 0 }
    }

    /// The same log with another history after `size` records.
    pub(crate) fn forked_at(&self, size: u64) -> SmallLog {
        SmallLog { salt: self.salt + 1, fork_at: size, ..self.clone() }
    }

    /// Signed by another key of the same name.
    pub(crate) fn with_key(&self, seed: u8) -> SmallLog {
        SmallLog { seed, ..self.clone() }
    }

    pub(crate) fn signer(&self) -> SignerKey {
        SignerKey::generate(self.name.parse().unwrap(), [self.seed; 32])
    }

    pub(crate) fn trusted(&self) -> TrustedLog {
        TrustedLog { origin: self.name.clone(), keys: vec![self.signer().verifier()] }
    }

    fn leaves(&self, size: u64) -> Vec<Hash> {
        let salt = |i: u64| if i < self.fork_at { 0 } else { self.salt };
        (0..size).map(|i| Hash::of_record(format!("{} {i} {}", self.name, salt(i)).as_bytes())).collect()
    }

    pub(crate) fn head(&self, size: u64) -> TreeHead {
        TreeHead { size: TreeSize(size), root: root(&self.leaves(size)) }
    }

    /// The text that is signed.
    pub(crate) fn text(&self, size: u64) -> String {
        Checkpoint::new(self.name.parse().unwrap(), self.head(size)).format()
    }

    pub(crate) fn checkpoint(&self, size: u64) -> String {
        note::sign(&self.text(size), &[&self.signer()]).unwrap()
    }

    pub(crate) fn proof(&self, old: u64, size: u64) -> Vec<Hash> {
        if old == 0 || old >= size { Vec::new() } else { subproof(old as usize, &self.leaves(size), true) }
    }

    pub(crate) fn request(&self, old: u64, size: u64) -> AddCheckpoint {
        AddCheckpoint {
            old: TreeSize(old),
            proof: ConsistencyProof(self.proof(old, size)),
            checkpoint: self.checkpoint(size),
        }
    }

    pub(crate) fn body(&self, old: u64, size: u64) -> Vec<u8> {
        self.request(old, size).format().into_bytes()
    }
}

/// MTH of RFC 6962, section 2.1.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::EMPTY_TREE,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            Hash::of_node(&root(left), &root(right))
        }
    }
}

/// SUBPROOF of RFC 6962, section 2.1.2.
fn subproof(m: usize, leaves: &[Hash], is_whole: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if is_whole { Vec::new() } else { vec![root(leaves)] };
    }
    let k = split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut proof, beside) = if m <= k {
        (subproof(m, left, is_whole), root(right))
    } else {
        (subproof(m - k, right, false), root(left))
    };
    proof.push(beside);
    proof
}

/// The largest power of two below `n`.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

pub(crate) fn witness_key() -> CosignatureSigner {
    CosignatureSigner::generate("witness.example/w1".parse().unwrap(), [5; 32])
}

fn open(directory: &Path, logs: &[&SmallLog]) -> Result<Witness, WitnessError> {
    open_at(directory, logs, clock())
}

fn open_at(directory: &Path, logs: &[&SmallLog], clock: Clock) -> Result<Witness, WitnessError> {
    let logs = logs.iter().map(|log| log.trusted()).collect();
    Witness::open(&directory.join("witness.db"), witness_key(), logs, clock)
}

/// Checks that the lines are one cosignature of this text by the witness, and says its time.
pub(crate) fn check_lines(lines: &str, text: &str) -> u64 {
    let line = lines.strip_suffix('\n').expect("each line ends in a newline");
    let signature = note::Signature::parse_line(line).expect("a signature line");
    let key = witness_key().verifier();
    assert_eq!((&signature.name, signature.key_id), (key.name(), key.id()));
    assert!(key.verify(text.as_bytes(), &signature.bytes()), "{lines} does not verify for {text}");
    cosigned_at(&signature).expect("a time")
}
