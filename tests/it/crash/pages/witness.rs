//! The memory of a witness: whatever a disk does to it, no fork is cosigned.

use std::path::Path;

use tallystick::store::witness::{KeptEvidence, KnownCheckpoint, read_witness};
use tallystick::witness::{CosignRefusal, Witness, origin_hash};

use super::super::server::copy_tree;
use super::{Campaign, Random, damage, fold, refused};
use crate::support::logs::clock;
use crate::witness::{SmallLog, witness_key};

/// The size of each log when the witness was stopped.
const SIZES: [u64; 4] = [5, 33, 70, 41];

fn open(directory: &Path, logs: &[SmallLog]) -> Result<Witness, tallystick::witness::WitnessError> {
    let logs = logs.iter().map(SmallLog::trusted).collect();
    Witness::open(&directory.join("witness.db"), witness_key(), logs, clock())
}

/// What was cosigned before the damage, as the answers say.
struct Written {
    known: Vec<KnownCheckpoint>,
    evidence: Vec<KeptEvidence>,
}

/// Cosigns for each log in many steps, so that its row has moved, and sees one fork.
async fn write(directory: &Path, logs: &[SmallLog]) -> Written {
    let witness = open(directory, logs).unwrap();
    let mut known = Vec::new();
    for (log, size) in logs.iter().zip(SIZES) {
        let mut old = 0;
        let mut line = String::new();
        for next in (1..=size).step_by(2).chain([size]) {
            line = witness.add_checkpoint(&log.body(old, next)).await.unwrap();
            old = next;
        }
        let origin = log.trusted().origin;
        let note = log.checkpoint(size) + &line;
        known.push(KnownCheckpoint { origin, tree: log.head(size), note, cosigned_at: clock().now() });
    }
    let fork = logs[1].forked_at(20);
    let refusal = witness.add_checkpoint(&fork.body(33, 33)).await.unwrap_err();
    assert!(matches!(refusal, CosignRefusal::Fork { .. }), "{refusal:?}");
    drop(witness);
    known.sort_by(|a, b| a.origin.cmp(&b.origin));
    let evidence = KeptEvidence {
        id: 1,
        origin: logs[1].trusted().origin,
        kind: "fork".to_owned(),
        size: 33,
        standing: known.iter().find(|known| known.tree.size.0 == 33).unwrap().note.clone(),
        offered: fork.checkpoint(33),
        seen_at: clock().now(),
    };
    Written { known, evidence: vec![evidence] }
}

async fn try_once(
    template: &Path,
    logs: &[SmallLog],
    written: &Written,
    random: &mut Random,
) -> Result<&'static str, String> {
    let place = tempfile::tempdir().unwrap();
    copy_tree(template, place.path());
    let path = place.path().join("witness.db");
    damage(&path, random);
    match read_witness(&path) {
        Err(error) => drop(refused(&error)?),
        Ok((known, _)) if known != written.known => return Err(format!("it shows {known:?}")),
        Ok((_, evidence)) if evidence != written.evidence => return Err(format!("it shows {evidence:?}")),
        Ok(_) => {}
    }
    let witness = match open(place.path(), logs) {
        Err(error) => return refused(&error),
        Ok(witness) => witness,
    };
    let mut is_whole = true;
    for (log, size) in logs.iter().zip(SIZES) {
        let origin = log.trusted().origin;
        let known = witness.checkpoint(&origin_hash(&origin)).map(|known| (*known).clone());
        if known.as_ref() != written.known.iter().find(|known| known.origin == origin) {
            return Err(format!("it knows {known:?} of {origin}"));
        }
        let fork = log.forked_at(size - 1);
        let attempts =
            [fork.body(0, size), fork.body(size, size), fork.body(size, size + 3), fork.body(0, size + 3)];
        for body in attempts.into_iter().chain([log.body(0, 3), log.body(1, 3)]) {
            if let Ok(line) = witness.add_checkpoint(&body).await {
                return Err(format!("it cosigned a fork of {origin}: {line}"));
            }
        }
        match witness.add_checkpoint(&log.body(size, size + 2)).await {
            Ok(_) => {}
            Err(CosignRefusal::Broken) => is_whole = false,
            Err(refusal) => return Err(format!("the honest log was refused: {refusal}")),
        }
    }
    Ok(if is_whole { "unharmed" } else { "refused in part" })
}

#[tokio::test]
async fn a_damaged_memory_of_a_witness_cosigns_no_fork() {
    let template = tempfile::tempdir().unwrap();
    let logs = ["a.example", "b.example", "c.example", "d.example"].map(SmallLog::new);
    let written = write(template.path(), &logs).await;
    fold(&template.path().join("witness.db"));
    assert_eq!(read_witness(&template.path().join("witness.db")).unwrap().0, written.known);
    let what = "memory of a witness with random damage in one to three pages";
    let mut campaign = Campaign::new("05-pages-witness", what, 40);
    while let Some(mut random) = campaign.next() {
        campaign.ended(try_once(template.path(), &logs, &written, &mut random).await);
    }
    campaign.finish();
}
