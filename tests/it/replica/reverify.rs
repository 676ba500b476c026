//! Re-verification: what is sound passes, and each kind of damage is found at its place, whether its checksum shows it or not.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tallystick::mirror::{Reverified, ReverifyFigures, reverify, slices, verify, verify_slice};
use tallystick::note::VerifierKey;
use tallystick::store::StoreError;
use tallystick::store::replica::RecordText;
use xxhash_rust::xxh3::xxh3_64;

use super::export::damage;
use super::files::Saved;
use super::*;
use crate::support::raw::behind_triggers;

fn check(mirror: &Mirror, replica: &Replica) -> Reverified {
    let (key, mut told): (VerifierKey, _) = (mirror.vkey.parse().unwrap(), 0);
    verify(&replica.reader(), &key, &mut |records| {
        assert!(records > told);
        told = records;
        ControlFlow::Continue(())
    })
}

/// Changes a row as a program would that writes the right checksum.
pub(super) fn rewrite(mirror: &Mirror, table: &str, key: &str, change: impl Fn(&mut Vec<u8>)) {
    damage(mirror, table, key);
    let database = rusqlite::Connection::open(mirror.database()).unwrap();
    let select = format!("SELECT rowid, body FROM {table} WHERE {key}");
    let (id, mut body): (i64, Vec<u8>) =
        database.query_row(&select, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let at = body.len() - 3;
    body[at] ^= 0x10;
    change(&mut body);
    let update = format!("UPDATE {table} SET body = ? WHERE rowid = ?");
    behind_triggers(&mirror.database(), |raw| raw.execute(&update, rusqlite::params![body, id]).unwrap());
    database.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

/// A body that begins with the XXH3-64 of the rest.
fn seal(body: &mut [u8]) {
    let sum = xxh3_64(&body[8..]);
    body[..8].copy_from_slice(&sum.to_le_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sound_passes() {
    let Some((peer, _directory, mirror)) = setup("reverify::what_is_sound_passes") else { return };
    assert_eq!(check(&mirror, &mirror.replica()), Reverified::default());
    for (heads, size) in (1..).zip([1, 256, 600, 65_536, 65_537, 72_000, peer::SIZE]) {
        mirror.sync(&[peer.serve_honestly(size).url()]).await.unwrap();
        let replica = mirror.replica();
        let verified = check(&mirror, &replica);
        assert_eq!((verified.records, verified.heads), (size, heads), "{verified:?}");
        assert!(verified.is_clean(), "{verified:?}");
        assert_eq!(slices(&replica.reader()), size.div_ceil(65_536));
    }
    // A mirror that is on its way to a larger head.
    let replica = mirror.replica();
    replica.settle().unwrap();
    assert!(check(&mirror, &replica).is_clean());
    let stranger = tallystick::note::SignerKey::generate(peer::NAME.parse().unwrap(), [9; 32]).verifier();
    let verified = verify(&replica.reader(), &stranger, &mut |_| ControlFlow::Continue(()));
    assert_eq!((verified.findings.len(), verified.heads), (7, 7), "signed by somebody else: {verified:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_found_at_its_place_and_not_answered() {
    let Some((peer, _directory, mirror)) = setup("reverify::damage_is_found") else { return };
    mirror.sync(&[peer.serve_honestly(72_000).url()]).await.unwrap();
    let saved = Saved::of(&mirror);
    // A bit of the disk, in a row of each kind: the checksum shows it.
    for (table, key, place) in [
        ("segment", "", "segment 1000"),
        ("tile", "tile_id >= 0", "tile "),
        ("index_bucket", "bucket_id >= 0", "index_bucket "),
    ] {
        match table {
            "segment" => super::files::rewrite(&mirror, 1000, |body| *body.last_mut().unwrap() ^= 1),
            _ => damage(&mirror, table, key),
        }
        let replica = mirror.replica();
        let verified = check(&mirror, &replica);
        assert_eq!(verified.findings.len(), 1, "{table}: {verified:?}");
        assert!(verified.findings[0].place.starts_with(place), "{verified:?}");
        assert_eq!(verified.records, 72_000, "the work goes on behind it");
        drop(replica);
        saved.put_back();
    }
    // The same with a checksum that is right: only the tree shows it.
    super::files::rewrite(&mirror, 20, |body| {
        body[40] ^= 1;
        super::files::seal(20, body);
    });
    let replica = mirror.replica();
    let reader = replica.reader();
    assert_eq!(
        reader.push_data(256..512, &mut String::new()).unwrap(),
        256,
        "nothing is wrong with its checksum"
    );
    let verified = check(&mirror, &replica);
    assert_eq!(verified.findings.len(), 1, "{verified:?}");
    assert_eq!(verified.findings[0].place, "records 256 to 511");
    let refused = reader.push_data(256..512, &mut String::new());
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
    let RecordText::Lines(lines) = reader.records(255..256).unwrap().remove(0) else { panic!("no lines") };
    assert_eq!(reader.find(&lines.module).unwrap().unwrap().id.0, 255, "what is beside it is answered");
    assert!(reader.tile(0, 0).is_ok() && reader.tile(0, 1).is_err());
    drop((reader, replica));
    saved.put_back();
    rewrite(&mirror, "tile", "tile_id >= 0", |body| {
        body[100] ^= 1;
        seal(body);
    });
    let replica = mirror.replica();
    assert!(replica.reader().tile(1, 0).is_ok());
    let verified = check(&mirror, &replica);
    assert!(verified.findings.iter().all(|found| found.place == "tile/8/1/000"), "{verified:?}");
    assert!(!verified.is_clean() && replica.reader().tile(1, 0).is_err());
    drop(replica);
    saved.put_back();
    // A bucket without its last entry.
    rewrite(&mirror, "index_bucket", "bucket_id >= 0", |body| {
        let entries = body.len() - 8;
        let width = (4..=8).find(|width| entries.is_multiple_of(*width)).unwrap();
        body.truncate(body.len() - width);
        seal(body);
    });
    let verified = check(&mirror, &mirror.replica());
    assert!(!verified.is_clean());
    assert!(verified.findings.iter().all(|found| found.place.starts_with("index")), "{verified:?}");
    saved.put_back();
    assert!(check(&mirror, &mirror.replica()).is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_background_task_goes_through_everything_and_tells_once() {
    let Some((peer, _directory, mirror)) = setup("reverify::a_background_task") else { return };
    mirror.sync(&[peer.url()]).await.unwrap();
    super::files::rewrite(&mirror, 5000, |body| body[500] ^= 1);
    let (replica, figures) = (mirror.replica(), Arc::new(ReverifyFigures::default()));
    let key: VerifierKey = mirror.vkey.parse().unwrap();
    assert_eq!(verify_slice(&replica.reader(), &key, 0).findings, []);
    let (told, mut heard) = tokio::sync::mpsc::channel(1);
    let (name, interval) = (peer::NAME.to_owned(), Duration::from_millis(300));
    let task = tokio::spawn(reverify(name, replica.reader(), key, interval, figures.clone(), told));
    let findings = heard.recv().await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].place, "segment 5000");
    crate::support::poll("two rounds", Duration::from_secs(60), || {
        (figures.rounds.load(Ordering::Relaxed) >= 2).then_some(())
    });
    assert!(figures.records.load(Ordering::Relaxed) >= 2 * peer::SIZE);
    assert_eq!(figures.findings.load(Ordering::Relaxed), 1, "each finding is told once");
    assert!(heard.try_recv().is_err());
    task.abort();
}
