//! The own log's checkpoint: signed with the head, cosigned by whoever cosigns it, and by nobody when nothing is signed.

use tallystick::log::{CosignedCheckpoint, Log, ProofFileError};
use tallystick::note::*;
use tallystick::proof::{Trust, verify};
use tallystick::store::sqlite::DATABASE_FILE;
use tallystick::tlog::*;

use crate::support::logs::{candidates, lines, module, open_log, open_log_with};

fn witness() -> CosignatureSigner {
    CosignatureSigner::generate("w.example".parse().unwrap(), [2; 32])
}

/// The newest checkpoint with a cosignature.
fn cosign(log: &Log, time: u64) -> CosignedCheckpoint {
    let checkpoint = log.snapshot().checkpoint().unwrap().clone();
    let text = open(checkpoint.note.as_bytes(), &[&log.verifier()]).unwrap().text;
    CosignedCheckpoint { checkpoint, signatures: vec![witness().cosign(&text, time)] }
}

/// Size, and the times of the cosignatures, of a checkpoint that verifies.
fn told(log: &Log, note: &str) -> (u64, Vec<u64>) {
    let (key, witness) = (log.verifier(), witness().verifier());
    let keys: [&dyn Verifier; 2] = [&key, &witness];
    let note = open(note.as_bytes(), &keys).unwrap();
    assert!(note.unverified.is_empty());
    let checkpoint = Checkpoint::parse(&note.text).unwrap();
    assert_eq!(checkpoint.origin.as_str(), log.identity().name);
    (checkpoint.tree.size.0, note.signatures.iter().filter_map(cosigned_at).collect())
}

fn proved(log: &Log, id: u64) -> (u64, usize) {
    let policy = format!("log {}\nwitness W {}\nquorum none\n", log.verifier(), witness().verifier());
    let trust = Trust::default().and_policy(Policy::parse(policy.as_bytes()).unwrap());
    let proof = log.tlog_proof(&module(id)).unwrap().unwrap();
    let proved = verify(proof.file.as_bytes(), &trust).unwrap();
    assert_eq!((proved.lines, proved.record, proof.record), (lines(id), RecordId(id), RecordId(id)));
    assert_eq!(proved.checkpoint.tree.size, proof.size);
    (proof.size.0, proved.cosigned.len())
}

#[tokio::test]
async fn cosignatures_belong_to_one_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_log(directory.path()).unwrap();
    assert_eq!(told(&log, &log.checkpoint().unwrap()), (0, vec![]));
    log.append(candidates(0..3)).await.unwrap();
    assert_eq!(told(&log, &log.checkpoint().unwrap()), (3, vec![]));
    let three = cosign(&log, 7);
    log.cosignatures().put(three.clone());
    assert_eq!(told(&log, &log.checkpoint().unwrap()), (3, vec![7]));
    assert_eq!(proved(&log, 1), (3, 1));

    // The next head is another: it has none yet, and a record is proved under the one that has, if that covers it.
    log.append(candidates(3..5)).await.unwrap();
    assert_eq!(told(&log, &log.checkpoint().unwrap()), (5, vec![]));
    assert_eq!((proved(&log, 2), proved(&log, 3)), ((3, 1), (5, 0)));
    log.cosignatures().put(cosign(&log, 9));
    assert_eq!((proved(&log, 2), proved(&log, 3)), ((5, 1), (5, 1)));
    // A late answer about the older one changes nothing; a later one about the same is taken.
    log.cosignatures().put(three);
    assert_eq!(told(&log, &log.checkpoint().unwrap()), (5, vec![9]));
    log.cosignatures().put(cosign(&log, 10));
    assert_eq!(told(&log, &log.checkpoint().unwrap()), (5, vec![10]));
    assert!(log.tlog_proof(&module(5)).unwrap().is_none());
    log.close();
}

#[tokio::test]
async fn every_record_of_every_size_is_proved() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_log(directory.path()).unwrap();
    for size in 1..40u64 {
        log.append(candidates(size - 1..size)).await.unwrap();
        for id in 0..size {
            assert_eq!(proved(&log, id), (size, 0));
        }
    }
    log.append(candidates(39..700)).await.unwrap();
    for id in [0, 1, 255, 256, 511, 512, 698, 699] {
        assert_eq!(proved(&log, id), (700, 0));
    }
    log.close();
}

#[tokio::test]
async fn a_log_that_signs_nothing_has_no_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_log(directory.path()).unwrap();
    log.append(candidates(0..3)).await.unwrap();
    log.close();
    let (database, backup) = (directory.path().join(DATABASE_FILE), directory.path().join("backup"));
    std::fs::copy(&database, &backup).unwrap();
    let log = open_log(directory.path()).unwrap();
    assert_eq!(told(&log, &log.checkpoint().unwrap()), (3, vec![]), "signed again at the start");
    log.append(candidates(3..5)).await.unwrap();
    log.close();

    // Without its key it is only read.
    let anchor = directory.path().join("anchor.db");
    let log = open_log_with(directory.path(), &anchor, vec![]).unwrap();
    assert_eq!(log.checkpoint(), None);
    assert!(matches!(log.tlog_proof(&module(1)), Err(ProofFileError::NoCheckpoint)));
    log.close();
    // Restored from a backup it must not say what it said before, in any form.
    std::fs::copy(&backup, &database).unwrap();
    let log = open_log(directory.path()).unwrap();
    assert_eq!((log.snapshot().size(), log.checkpoint()), (TreeSize(3), None));
    assert!(matches!(log.tlog_proof(&module(1)), Err(ProofFileError::NoCheckpoint)));
    log.close();
}
