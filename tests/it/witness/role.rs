//! The rules of C2SP tlog-witness, each with a request that breaks it.

use std::time::Duration;

use tallystick::note;
use tallystick::store::StoreError;
use tallystick::store::witness::{MAX_EVIDENCE, read_witness};
use tallystick::tlog::{Checkpoint, ConsistencyProof, Hash, TreeHead, TreeSize};
use tallystick::witness::{AddCheckpoint, CosignOutcome, CosignRefusal, WitnessError, origin_hash};

use super::{SmallLog, check_lines, open, open_at, witness_key};
use crate::support::logs::clock;
use crate::support::raw::behind_triggers;

fn stale(size: u64) -> Result<String, CosignRefusal> {
    Err(CosignRefusal::Stale { size: TreeSize(size) })
}

fn is_bad_proof(result: &Result<String, CosignRefusal>) -> bool {
    matches!(result, Err(CosignRefusal::BadProof { .. }))
}

#[tokio::test]
async fn every_size_to_40_from_every_older_one() {
    let directory = tempfile::tempdir().unwrap();
    for old in 0..40 {
        // An origin of its own for each beginning, so that each is a first checkpoint.
        let log = SmallLog::new(&format!("log.example/{old}"));
        let witness = open(directory.path(), &[&log]).unwrap();
        let first = witness.add_checkpoint(&log.body(0, old)).await.unwrap();
        check_lines(&first, &log.text(old));
        let size = old * 2 + 1;
        let lines = witness.add_checkpoint(&log.body(old, size)).await.unwrap();
        let time = check_lines(&lines, &log.text(size));
        assert_eq!(time as i64, clock().unix_time().seconds);
        let known = witness.checkpoint(&origin_hash(&format!("log.example/{old}"))).unwrap();
        assert_eq!(known.tree, log.head(size));
        let note = note::open(known.note.as_bytes(), &[&log.signer().verifier()]).unwrap();
        assert_eq!(note.text, log.text(size));
        assert!(known.note.ends_with(&lines), "the log's signature and ours");
    }
}

#[tokio::test]
async fn what_is_no_request_or_not_trusted_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let log = SmallLog::new("log.example");
    let witness = open(directory.path(), &[&log]).unwrap();
    let good = log.request(0, 5);
    let with = |checkpoint: String| AddCheckpoint { checkpoint, ..good.clone() }.format().into_bytes();
    let broken = good.checkpoint.replace("\n5\n", "\n6\n");
    let other = SmallLog::new("other.example");
    // A log's tree note has an origin that is no log of ours.
    let tree_note = note::sign(&log.head(5).format(), &[&log.signer()]).unwrap();
    let line = good.checkpoint.lines().last().unwrap();
    let many = |count: usize| {
        let lines: String = (0..count).map(|i| format!("— w{i} AAAAAAAA\n")).collect();
        with(format!("{}\n{line}\n{lines}", log.text(5)))
    };
    for (body, want) in [
        (b"".to_vec(), "malformed"),
        (b"old 0\n\n".to_vec(), "malformed"),
        (b"GET / HTTP/1.1\n\n".to_vec(), "malformed"),
        (with("log.example\n5\n".to_owned()), "malformed"),
        (with(log.text(5)), "malformed"),
        (with(note::sign("log.example\n5\n", &[&log.signer()]).unwrap()), "malformed"),
        (with(note::sign("log.example\n05\nx\n", &[&log.signer()]).unwrap()), "malformed"),
        (many(100), "malformed"),
        (vec![b'x'; 1 << 20], "malformed"),
        (with(other.checkpoint(5)), "unknown"),
        (with(tree_note), "unknown"),
        (with(broken), "untrusted"),
        (with(log.with_key(7).checkpoint(5)), "untrusted"),
        (with(format!("{}\n— log.example AAAAAAAA\n", log.text(5))), "untrusted"),
        (log.body(6, 5), "old"),
    ] {
        let refusal = witness.add_checkpoint(&body).await.unwrap_err();
        let got = match &refusal {
            CosignRefusal::Malformed { .. } => "malformed",
            CosignRefusal::UnknownOrigin => "unknown",
            CosignRefusal::Untrusted => "untrusted",
            CosignRefusal::OldAboveSize { .. } => "old",
            _ => "another",
        };
        assert_eq!(got, want, "{refusal}: {}", String::from_utf8_lossy(&body[..body.len().min(300)]));
    }
    assert!(witness.checkpoint(&origin_hash("log.example")).is_none(), "nothing was remembered");
    check_lines(&witness.add_checkpoint(&many(99)).await.unwrap(), &log.text(5));
    assert_eq!(witness.count(CosignOutcome::Cosigned), 1);
    assert_eq!(witness.count(CosignOutcome::Untrusted), 3);
}

#[tokio::test]
async fn old_must_be_what_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let log = SmallLog::new("log.example");
    let witness = open(directory.path(), &[&log]).unwrap();
    assert_eq!(witness.add_checkpoint(&log.body(3, 7)).await, stale(0), "nothing is known yet");
    witness.add_checkpoint(&log.body(0, 5)).await.unwrap();
    for (old, size) in [(0, 5), (0, 7), (4, 7), (6, 7), (0, 3), (3, 3), (3, 4), (0, 0)] {
        assert_eq!(witness.add_checkpoint(&log.body(old, size)).await, stale(5), "old {old}, size {size}");
    }
    witness.add_checkpoint(&log.body(5, 9)).await.unwrap();
    assert_eq!(witness.add_checkpoint(&log.body(5, 9)).await, stale(9), "replayed");
    assert_eq!(witness.add_checkpoint(&log.body(0, 5)).await, stale(9), "replayed from before");
}

#[tokio::test]
async fn the_empty_tree_has_one_root_and_no_proof_begins_there() {
    let directory = tempfile::tempdir().unwrap();
    let log = SmallLog::new("log.example");
    let witness = open(directory.path(), &[&log]).unwrap();
    let tree = TreeHead { size: TreeSize(0), root: Hash::of_record(b"x") };
    let text = Checkpoint::new("log.example".parse().unwrap(), tree).format();
    let checkpoint = note::sign(&text, &[&log.signer()]).unwrap();
    let forged = AddCheckpoint { checkpoint, ..log.request(0, 0) }.format();
    for round in 0..2 {
        assert!(is_bad_proof(&witness.add_checkpoint(forged.as_bytes()).await), "round {round}");
        check_lines(&witness.add_checkpoint(&log.body(0, 0)).await.unwrap(), &log.text(0));
    }
    let mut with_proof = log.request(0, 5);
    with_proof.proof = ConsistencyProof(vec![Hash::of_record(b"x")]);
    assert!(is_bad_proof(&witness.add_checkpoint(with_proof.format().as_bytes()).await));
    check_lines(&witness.add_checkpoint(&log.body(0, 5)).await.unwrap(), &log.text(5));
}

#[tokio::test]
async fn one_size_is_cosigned_again_with_the_time_of_now() {
    let directory = tempfile::tempdir().unwrap();
    let (log, clock) = (SmallLog::new("log.example"), clock());
    let witness = open_at(directory.path(), &[&log], clock.clone()).unwrap();
    let first = check_lines(&witness.add_checkpoint(&log.body(0, 5)).await.unwrap(), &log.text(5));
    clock.advance(Duration::from_secs(60));
    let again = check_lines(&witness.add_checkpoint(&log.body(5, 5)).await.unwrap(), &log.text(5));
    assert_eq!(again, first + 60);
    let mut with_proof = log.request(5, 5);
    with_proof.proof = ConsistencyProof(vec![Hash::of_record(b"x")]);
    assert!(is_bad_proof(&witness.add_checkpoint(with_proof.format().as_bytes()).await));
}

#[tokio::test]
async fn a_proof_that_does_not_hold_is_refused_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let log = SmallLog::new("log.example");
    let witness = open(directory.path(), &[&log]).unwrap();
    witness.add_checkpoint(&log.body(0, 5)).await.unwrap();
    let good = log.request(5, 12);
    for position in 0..good.proof.0.len() {
        let mut bad = good.clone();
        bad.proof.0[position] = Hash::of_record(b"another");
        assert!(is_bad_proof(&witness.add_checkpoint(bad.format().as_bytes()).await), "hash {position}");
        bad.proof.0.remove(position);
        assert!(is_bad_proof(&witness.add_checkpoint(bad.format().as_bytes()).await), "without {position}");
    }
    let fork = log.forked_at(3);
    for size in 13..60 {
        assert!(is_bad_proof(&witness.add_checkpoint(&fork.body(5, size)).await), "a fork's own proof");
    }
    check_lines(&witness.add_checkpoint(good.format().as_bytes()).await.unwrap(), &log.text(12));
    let (_, evidence) = read_witness(&directory.path().join("witness.db")).unwrap();
    assert_eq!(evidence.len(), MAX_EVIDENCE as usize, "bounded");
    assert!(evidence.iter().all(|one| one.kind == "inconsistent"));
}

#[tokio::test]
async fn a_second_root_for_a_size_is_a_fork_and_the_evidence_verifies() {
    let directory = tempfile::tempdir().unwrap();
    let log = SmallLog::new("log.example");
    let witness = open(directory.path(), &[&log]).unwrap();
    witness.add_checkpoint(&log.body(0, 5)).await.unwrap();
    let fork = log.forked_at(3);
    let size = TreeSize(5);
    let refusal = |is_stale| Err(CosignRefusal::Fork { size, is_stale });
    assert_eq!(witness.add_checkpoint(&fork.body(5, 5)).await, refusal(false));
    assert_eq!(witness.add_checkpoint(&fork.body(0, 5)).await, refusal(true));
    let (_, evidence) = read_witness(&directory.path().join("witness.db")).unwrap();
    let [one] = &evidence[..] else { panic!("kept once: {evidence:?}") };
    assert_eq!((one.kind.as_str(), one.size), ("fork", 5));
    let key = log.signer().verifier();
    let trees = [&one.standing, &one.offered]
        .map(|text| Checkpoint::parse(&note::open(text.as_bytes(), &[&key]).unwrap().text).unwrap().tree);
    assert_eq!(trees, [log.head(5), fork.head(5)]);
    check_lines(&witness.add_checkpoint(&log.body(5, 6)).await.unwrap(), &log.text(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_histories_of_one_size_exactly_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..30 {
        let log = SmallLog::new(&format!("log.example/{round}"));
        let witness = std::sync::Arc::new(open(directory.path(), &[&log]).unwrap());
        witness.add_checkpoint(&log.body(0, 3)).await.unwrap();
        let racers: Vec<_> = (0..8)
            .map(|i| {
                let history = if i % 2 == 0 { log.clone() } else { log.forked_at(3) };
                let (witness, body) = (witness.clone(), history.body(3, 7));
                tokio::spawn(async move { (history, witness.add_checkpoint(&body).await) })
            })
            .collect();
        let mut winners = Vec::new();
        for racer in racers {
            let (history, result) = racer.await.unwrap();
            match result {
                Ok(lines) => {
                    check_lines(&lines, &history.text(7));
                    winners.push(history.head(7));
                }
                Err(CosignRefusal::Stale { size } | CosignRefusal::Fork { size, is_stale: true }) => {
                    assert_eq!(size, TreeSize(7));
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        let known = witness.checkpoint(&origin_hash(&format!("log.example/{round}"))).unwrap();
        assert_eq!(known.tree, winners[0]);
    }
}

#[tokio::test]
async fn a_restart_forgets_nothing_and_damage_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let log = SmallLog::new("log.example");
    let witness = open(directory.path(), &[&log]).unwrap();
    witness.add_checkpoint(&log.body(0, 5)).await.unwrap();
    drop(witness);
    let witness = open(directory.path(), &[&log]).unwrap();
    assert_eq!(witness.add_checkpoint(&log.body(0, 4)).await, stale(5));
    drop(witness);
    let other = tallystick::note::CosignatureSigner::generate("witness.example/w1".parse().unwrap(), [6; 32]);
    let path = directory.path().join("witness.db");
    let error = tallystick::witness::Witness::open(&path, other, vec![], clock()).err().unwrap();
    assert!(error.to_string().contains(&witness_key().verifier().to_string()), "whose it is: {error}");
    // The size of the row, which no trigger sees when a bit on the disk flips: the note says another.
    let bytes = std::fs::read(&path).unwrap();
    let notes: Vec<usize> =
        (0..bytes.len() - 12).filter(|at| &bytes[*at..*at + 12] == b"log.example\n").collect();
    assert!(notes.len() >= 2, "one in each copy");
    let mut flipped = bytes.clone();
    flipped[notes[0] + 12] = b'6';
    std::fs::write(&path, &flipped).unwrap();
    let error = open(directory.path(), &[&log]).err().unwrap();
    assert!(matches!(error, WitnessError::Store(StoreError::Damaged { .. })), "one copy: {error}");
    notes.iter().for_each(|at| flipped[at + 12] = b'6');
    std::fs::write(&path, flipped).unwrap();
    let error = open(directory.path(), &[&log]).err().unwrap();
    assert!(matches!(error, WitnessError::Row { .. }), "{error}");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(open(directory.path(), &[&log]), Err(WitnessError::Store(_))), "cut in half");
}

/// A damaged page can hide a row, or show an older one. Each is a row that this witness wrote.
#[tokio::test]
async fn a_row_that_is_lost_or_older_in_one_copy_cosigns_nothing() {
    let log = SmallLog::new("log.example");
    let older = "SET size = 3, note = 'older'";
    for sql in [
        "DELETE FROM checkpoint".to_owned(),
        "DELETE FROM checkpoint_copy".to_owned(),
        format!("UPDATE checkpoint {older}"),
        format!("UPDATE checkpoint_copy {older}"),
        "UPDATE checkpoint SET origin = 'log.examplf'".to_owned(),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("witness.db");
        let witness = open(directory.path(), &[&log]).unwrap();
        witness.add_checkpoint(&log.body(0, 3)).await.unwrap();
        witness.add_checkpoint(&log.body(3, 9)).await.unwrap();
        behind_triggers(&path, |raw| raw.execute_batch(&sql).unwrap());
        // While it runs: the honest log too is refused, and a person must look.
        let refusal = witness.add_checkpoint(&log.body(9, 12)).await.unwrap_err();
        assert_eq!(refusal, CosignRefusal::Broken, "{sql}");
        assert!(witness.add_checkpoint(&log.forked_at(1).body(0, 12)).await.is_err(), "{sql}");
        drop(witness);
        let refused = open(directory.path(), &[&log]).err().expect("a start with it").to_string();
        assert!(refused.contains("its two copies differ") && refused.contains("witness.db"), "{refused}");
        let read = read_witness(&path).unwrap_err().to_string();
        assert!(read.contains("its two copies differ"), "{read}");
    }
}

/// What an older program wrote gets its second copy when it is opened.
#[tokio::test]
async fn a_memory_of_an_older_program_is_kept_twice_from_its_first_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("witness.db");
    let log = SmallLog::new("log.example");
    let witness = open(directory.path(), &[&log]).unwrap();
    witness.add_checkpoint(&log.body(0, 9)).await.unwrap();
    drop(witness);
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch(
        "DROP TRIGGER checkpoint_inserted; DROP TRIGGER checkpoint_updated;
         DROP TRIGGER evidence_inserted; DROP TABLE checkpoint_copy; DROP TABLE evidence_copy; PRAGMA user_version = 1",
    )
    .unwrap();
    drop(raw);
    let witness = open(directory.path(), &[&log]).unwrap();
    assert_eq!(witness.add_checkpoint(&log.forked_at(1).body(0, 12)).await, stale(9));
    witness.add_checkpoint(&log.body(9, 12)).await.unwrap();
    drop(witness);
    let raw = rusqlite::Connection::open(&path).unwrap();
    let copy: i64 = raw.query_row("SELECT size FROM checkpoint_copy", [], |row| row.get(0)).unwrap();
    assert_eq!(copy, 12);
}
