//! Damage on disk: what is read is what was written or an error that names the place, and fsck finds it.

mod fsck;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tallystick::log::{FsckReport, OpenError, ReadOnly, State, fsck};
use tallystick::store::sqlite::{SqliteReader, SqliteStore};
use tallystick::store::{Evidence, Incident, IncidentKind, LogReader, StoreError, evidence::Kept};
use tallystick::tlog::{RecordId, TreeSize};

use crate::support::logs::{
    Writer, candidate, identity_of, leaf, lines, module, open_log, signer, start_time,
};

/// Records of the log that is damaged here: two sealed tiles and a right edge.
const SIZE: u64 = 600;

fn evidence() -> Arc<Evidence> {
    Arc::new(Evidence::Imported { importer: "somebody with a name that is long enough to be hit".to_owned() })
}

/// A log database in `directory`, closed, all in one file.
fn build(directory: &Path) -> PathBuf {
    let path = directory.join("log.db");
    let mut writer =
        Writer::new(Box::new(SqliteStore::open(&path, Some(&identity_of(&signer())), 1024).unwrap()));
    for _ in 0..12 {
        writer.append_with(SIZE / 12, &evidence());
    }
    let detail = r#"{"module":"corp.example/a","version":"v1.0.0"}"#.to_owned();
    writer.report(vec![Incident { kind: IncidentKind::Damage, at: start_time(), detail }]).unwrap();
    writer.store.settle().unwrap();
    path
}

fn check(reader: &dyn LogReader) -> FsckReport {
    fsck(reader, &signer().verifier(), None, &mut |_| {}).unwrap_or_else(|error| FsckReport {
        findings: vec![tallystick::log::Finding { place: "newest head".to_owned(), why: error.to_string() }],
        ..FsckReport::default()
    })
}

/// Reads everything. Whatever answers must be true; returns what did not answer.
fn read_all(reader: &dyn LogReader, what: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let mut note = |error: StoreError| errors.push(error.to_string());
    let expected =
        serde_json::to_string(&Kept { appended_at: start_time(), evidence: (*evidence()).clone() }).unwrap();
    for id in 0..SIZE {
        match reader.records(id..id + 1) {
            Ok(records) if records.is_empty() => note(missing(format!("record {id}"))),
            Ok(records) => {
                assert_eq!((records[0].id, &records[0].lines), (RecordId(id), &lines(id)), "{what}")
            }
            Err(error) => note(error),
        }
        match reader.leaves(id..id + 1) {
            Ok(leaves) if leaves.is_empty() => note(missing(format!("leaf {id}"))),
            Ok(leaves) => assert_eq!(leaves, [leaf(id)], "{what}: leaf {id}"),
            Err(error) => note(error),
        }
        match reader.find(&module(id), TreeSize(SIZE)) {
            Ok(Some(found)) => assert_eq!((found.id, found.lines), (RecordId(id), lines(id)), "{what}"),
            Ok(None) => note(missing(format!("index entry of {id}"))),
            Err(error) => note(error),
        }
        match reader.evidence(RecordId(id)) {
            Ok(Some(kept)) => {
                assert_eq!(serde_json::to_string(&kept).unwrap(), expected, "{what}: evidence {id}")
            }
            Ok(None) => note(missing(format!("evidence of {id}"))),
            Err(error) => note(error),
        }
    }
    match reader.heads(TreeSize(u64::MAX), 100) {
        Ok(heads) if heads.len() == 13 => {
            for head in heads {
                // A signature has no checksum of its own: it is checked by who gets it, and by fsck.
                assert!(head.note.starts_with(&head.tree.format()), "{what}: {}", head.note);
            }
        }
        Ok(heads) => note(missing(format!("heads, of which there are {}", heads.len()))),
        Err(error) => note(error),
    }
    match reader.incidents(10) {
        Ok(incidents) if incidents.len() == 1 => {
            assert_eq!(incidents[0].detail, r#"{"module":"corp.example/a","version":"v1.0.0"}"#, "{what}");
        }
        Ok(_) => note(missing("the incident".to_owned())),
        Err(error) => note(error),
    }
    errors
}

fn missing(place: String) -> StoreError {
    StoreError::Damaged { place, why: "missing".to_owned() }
}

fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 33
}

#[test]
fn a_flipped_byte_is_never_served() {
    let directory = tempfile::tempdir().unwrap();
    let good = std::fs::read(build(directory.path())).unwrap();
    let path = directory.path().join("damaged.db");
    let (mut opened, mut found) = (0, 0);
    for seed in 1..=120 {
        let mut bytes = good.clone();
        let mut random = seed;
        // One bit, or a few bytes of one page.
        let page = next(&mut random) as usize % (bytes.len() / 16_384) * 16_384;
        for _ in 0..=(next(&mut random) % 4) * 5 {
            // A page fills from its end: half of the flips go where the rows are.
            let at = next(&mut random) as usize % 16_384;
            let at = if next(&mut random).is_multiple_of(2) { at } else { 16_383 - at % 4_096 };
            bytes[page + at] ^= 1 << (next(&mut random) % 8);
        }
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
        std::fs::write(&path, &bytes).unwrap();
        let what = format!("seed {seed} page {}", page / 16_384);
        if let Ok(reader) = SqliteReader::open(&path, 1024) {
            opened += 1;
            let report = check(&reader);
            let errors = read_all(&reader, &what);
            assert!(errors.iter().all(|error| error.len() > 10), "{what}: {errors:?}");
            assert!(report.is_clean() <= errors.is_empty(), "{what}: fsck is clean and {errors:?}");
            assert!(report.findings.iter().all(|finding| finding.place.len() > 3 && finding.why.len() > 3));
            found += u64::from(!report.is_clean());
        }
        // The writer opens it or does not; when it does, it appends or does not. Nothing panics.
        if let Ok(store) = SqliteStore::open(&path, Some(&identity_of(&signer())), 1024) {
            drop(tallystick::log::Log::over(Box::new(store), vec![signer()], crate::support::logs::clock()));
        }
    }
    assert!(opened > 60 && found > 20, "{opened} opened, {found} found: the test shows little");
}

#[test]
fn a_truncated_database_is_an_error_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let good = std::fs::read(build(directory.path())).unwrap();
    let path = directory.path().join("cut.db");
    let mut random = 7;
    let random_cuts = (0..20).map(|_| next(&mut random) as usize % good.len());
    let cuts: Vec<usize> = [1, 50, 100, 512, 16_383, 16_384, 16_385].into_iter().chain(random_cuts).collect();
    for cut in cuts {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
        std::fs::write(&path, &good[..cut]).unwrap();
        let what = format!("{cut} bytes of {}", good.len());
        if let Ok(reader) = SqliteReader::open(&path, 1024) {
            assert!(!check(&reader).is_clean(), "{what}");
            assert!(!read_all(&reader, &what).is_empty(), "{what}");
        }
    }
}

#[tokio::test]
async fn a_log_with_a_damaged_newest_note_signs_nothing_and_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_log(directory.path()).unwrap();
    log.append(vec![candidate(0)]).await.unwrap();
    log.close();
    rows::spoil(&directory.path().join("log.db"), "head", "note", "size = 1", |note| {
        // A letter in the middle of the signature.
        let at = note.len() - 20;
        note[at] = if note[at] == b'A' { b'B' } else { b'A' };
    });
    let log = open_log(directory.path()).unwrap();
    let state = log.state();
    let State::ReadOnly(reason @ ReadOnly::Damaged { why }) = &*state else { panic!("{state:?}") };
    assert!(why.contains("head of size 1") && reason.to_string().contains("tallystick fsck"), "{reason}");
    assert!(log.append(vec![candidate(1)]).await.is_err());
    assert_eq!(log.snapshot().record(RecordId(0)).unwrap().unwrap().lines, lines(0));
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("not-there");
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    // Not even root makes files there.
    for path in [missing, file, PathBuf::from("/sys/kernel")] {
        let refused = open_log(&path).map(drop).unwrap_err();
        assert!(matches!(refused, OpenError::Store(StoreError::File { .. })), "{refused:?}");
        assert!(refused.to_string().contains(&path.display().to_string()), "{refused}");
    }
    let nothing = SqliteReader::open(&directory.path().join("log.db"), 1024).map(drop).unwrap_err();
    assert!(nothing.to_string().contains("there is no log here"), "{nothing}");
    assert!(!directory.path().join("log.db").exists(), "reading creates nothing");
}
