//! Damage on disk: what is read is what was written or an error that names the place, and fsck finds it.

mod fsck;
mod places;
pub(crate) mod rows;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tallystick::log::{AppendOutcome, Conditions, FsckReport, Log, LogOpenError, ReadOnly, State, fsck};
use tallystick::store::sqlite::{SqliteReader, SqliteStore, rebuild_index};
use tallystick::store::{
    Evidence, Incident, IncidentKind, LogParts, LogReader, StoreError, evidence::StoredEvidence,
};
use tallystick::tlog::{RecordId, Tile, TileLevel, TreeSize};

use crate::support::logs::{
    Writer, candidate, candidates, identity_of, leaf, lines, module, open_log, signer, start_time,
};

/// Records of the log that is damaged here: two sealed tiles and a right edge.
const SIZE: u64 = 600;

fn evidence() -> Arc<Evidence> {
    Arc::new(Evidence::Imported { importer: "somebody with a name that is long enough to be hit".to_owned() })
}

/// A writer of the log database at `path`.
fn open_writer(path: &Path) -> Writer {
    Writer::new(Box::new(SqliteStore::open(path, Some(&identity_of(&signer())), 1024).unwrap()))
}

/// A log database in `directory`, closed, all in one file.
fn build(directory: &Path) -> PathBuf {
    let path = directory.join("log.db");
    let mut writer = open_writer(&path);
    for _ in 0..12 {
        writer.append_with(SIZE / 12, &evidence());
    }
    let detail = r#"{"module":"corp.example/a","version":"v1.0.0"}"#.to_owned();
    writer.report(vec![Incident { kind: IncidentKind::Damage, at: start_time(), detail }]).unwrap();
    writer.store.settle().unwrap();
    path
}

/// A log that has grown to `size` records, `step` at a time.
async fn grown_log(directory: &Path, size: u64, step: u64) -> Log {
    let log = open_log(directory).unwrap();
    for first in (0..size).step_by(step as usize) {
        log.append(candidates(first..first + step)).await.unwrap();
    }
    log
}

fn check(reader: &dyn LogReader) -> FsckReport {
    fsck(reader, &signer().verifier(), None, &mut |_| {}).unwrap_or_else(|error| FsckReport {
        findings: vec![tallystick::log::FsckFinding {
            place: "newest head".to_owned(),
            why: error.to_string(),
        }],
        ..FsckReport::default()
    })
}

/// Reads everything. Whatever answers must be true; returns what did not answer.
fn read_all(reader: &dyn LogReader, what: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let mut note = |error: StoreError| errors.push(error.to_string());
    let expected =
        serde_json::to_string(&StoredEvidence { appended_at: start_time(), evidence: (*evidence()).clone() })
            .unwrap();
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
            drop(tallystick::log::Log::open(
                LogParts::only(Box::new(store)),
                vec![signer()],
                crate::support::logs::clock(),
                Conditions::default(),
            ));
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

/// Its note would go out with every answer.
#[tokio::test]
async fn a_log_with_a_damaged_newest_note_is_not_served() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_log(directory.path()).unwrap();
    log.append(vec![candidate(0)]).await.unwrap();
    log.close();
    rows::spoil(&directory.path().join("log.db"), "head", "note", "size = 1", |note| {
        // A letter in the middle of the signature.
        let at = note.len() - 20;
        note[at] = if note[at] == b'A' { b'B' } else { b'A' };
    });
    let refused = open_log(directory.path()).map(drop).unwrap_err();
    assert!(matches!(refused, LogOpenError::Store(StoreError::Damaged { .. })), "{refused:?}");
    assert!(refused.to_string().contains("head of size 1"), "{refused}");
}

/// A log whose right edge lost a byte.
async fn open_damaged(records: u64, table: &str, row: &str) -> (tempfile::TempDir, Log) {
    let directory = tempfile::tempdir().unwrap();
    let log = open_log(directory.path()).unwrap();
    log.append(candidates(0..records)).await.unwrap();
    log.close();
    rows::spoil(&directory.path().join("log.db"), table, "body", row, |body| {
        let at = body.len() / 2;
        body[at] ^= 4;
    });
    let log = open_log(directory.path()).unwrap();
    (directory, log)
}

#[tokio::test]
async fn a_damaged_right_edge_is_served_as_far_as_it_can_be_read() {
    // Records, table, row, what is named, and which records of 600 are lost.
    let cases = [
        ("tail", "record_id = 555", "tail 555", 555..556),
        ("tail", "record_id = 599", "tail 599", 599..600),
        ("segment", "segment_id = 31", "segment 31", 496..512),
        ("segment", "segment_id = 0", "segment 0", 0..16),
    ];
    for (table, row, named, lost) in cases {
        let (_directory, log) = open_damaged(600, table, row).await;
        let state = log.state();
        let State::ReadOnly(ReadOnly::Damaged { why }) = &*state else { panic!("{row}: {state:?}") };
        assert!(why.contains(named), "{row}: {why}");
        assert!(log.append(vec![candidate(1_000)]).await.is_err(), "{row}: it signs nothing");
        let snapshot = log.snapshot();
        assert_eq!(snapshot.size(), TreeSize(600), "{row}: the newest head is served");
        for id in 0..600 {
            let (record, found) = (snapshot.record(RecordId(id)), snapshot.find(&module(id)));
            if lost.contains(&id) {
                assert!(record.is_err() && found.is_err(), "{row}: record {id}");
            } else {
                assert_eq!(record.unwrap().unwrap().lines, lines(id), "{row}: record {id}");
                assert_eq!(found.unwrap().unwrap().id, RecordId(id), "{row}: look-up of {id}");
            }
        }
        for (number, width) in [(0, 256), (1, 256), (2, 88)] {
            let tile = Tile { height: 8, level: TileLevel::Hash(0), number, width };
            let is_lost = lost.start / 256 == number;
            assert_eq!(snapshot.tile(&tile).is_err(), is_lost, "{row}: tile {number}");
            if !is_lost {
                let leaves =
                    (number * 256..number * 256 + u64::from(width)).flat_map(|id| *leaf(id).as_bytes());
                assert_eq!(snapshot.tile(&tile).unwrap().unwrap(), leaves.collect::<Vec<u8>>(), "{row}");
            }
        }
    }
}

#[tokio::test]
async fn a_damaged_row_that_is_read_becomes_an_incident() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_log(directory.path()).unwrap();
    log.append(candidates(0..600)).await.unwrap();
    let incidents =
        || SqliteReader::open(&directory.path().join("log.db"), 1024).unwrap().incidents(10).unwrap();
    assert_eq!(incidents(), []);
    let damage = |place: &str| StoreError::Damaged { place: place.to_owned(), why: "a test".to_owned() };
    for _ in 0..3 {
        log.stop_signing(&damage("segment 3"));
    }
    log.stop_signing(&damage("tile 7"));
    // What is submitted now is refused, after what was submitted before it.
    assert!(log.append(vec![candidate(700)]).await.is_err());
    let kept: Vec<_> = incidents().into_iter().map(|incident| (incident.kind, incident.detail)).collect();
    let kind = || "damage".to_owned();
    assert_eq!(
        kept,
        [
            (kind(), r#"{"place":"tile 7","why":"a test"}"#.to_owned()),
            (kind(), r#"{"place":"segment 3","why":"a test"}"#.to_owned())
        ]
    );
    assert_eq!(log.snapshot().size(), TreeSize(600), "and nothing was signed");
}

/// Who cannot read whether a module version is there must not think that it is not.
#[tokio::test]
async fn a_damaged_index_lets_nothing_in_twice() {
    for id in [3, 9_000, 19_999] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.db");
        let log = grown_log(directory.path(), 20_000, 5_000).await;
        log.close();
        let raw = rusqlite::Connection::open(&path).unwrap();
        let spoil =
            "UPDATE index_bucket SET body = CAST(substr(body, 1, 20) || X'00FF' || substr(body, 23) AS BLOB)";
        assert!(raw.execute(spoil, []).unwrap() > 100);
        drop(raw);
        let log = open_log(directory.path()).unwrap();
        let outcome = log.append(vec![candidate(id)]).await;
        let is_new = |receipt: &tallystick::log::Receipt| {
            receipt.outcomes.iter().any(|outcome| matches!(outcome, AppendOutcome::Appended(_)))
        };
        assert!(!outcome.as_ref().is_ok_and(is_new), "record {id} twice");
        assert_eq!(log.snapshot().size(), TreeSize(20_000), "record {id}");
        log.close();
    }
}

#[tokio::test]
async fn a_damaged_index_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = grown_log(directory.path(), 20_000, 5_000).await;
    let newest = log.snapshot().head().clone();
    log.close();
    let row = "bucket_id = (SELECT max(bucket_id) FROM index_bucket)";
    rows::spoil(&path, "index_bucket", "body", row, |body| body[20] ^= 1);
    assert!(!check(&SqliteReader::open(&path, 1024).unwrap()).is_clean());
    let mut seen = Vec::new();
    assert_eq!(rebuild_index(&path, &mut |done, size| seen.push((done, size))).unwrap(), 20_000);
    assert_eq!(seen.last(), Some(&(20_000, 20_000)));
    let report = check(&SqliteReader::open(&path, 1024).unwrap());
    assert!(report.is_clean(), "{report:?}");
    // With a record that cannot be read nothing is thrown away.
    let good = std::fs::read(&path).unwrap();
    rows::spoil(&path, "segment", "body", "segment_id = 3", |body| body[20] ^= 1);
    let refused = rebuild_index(&path, &mut |_, _| {}).unwrap_err();
    assert!(refused.to_string().contains("segment 3"), "{refused}");
    let found = SqliteReader::open(&path, 1024).unwrap().find(&module(19_000), TreeSize(20_000)).unwrap();
    assert_eq!(found.unwrap().id, RecordId(19_000), "the index is still there");
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    std::fs::write(&path, good).unwrap();
    let log = open_log(directory.path()).unwrap();
    assert_eq!(log.snapshot().head(), &newest);
    let receipt = log.append(vec![candidate(19_999), candidate(20_000)]).await.unwrap();
    assert!(matches!(
        receipt.outcomes[..],
        [AppendOutcome::Present(RecordId(19_999)), AppendOutcome::Appended(RecordId(20_000))]
    ));
}

#[tokio::test]
async fn a_log_without_its_index_makes_it_when_it_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = grown_log(directory.path(), 80_000, 16_000).await;
    log.close();
    // As a rebuild that was stopped at its beginning leaves it.
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch("DELETE FROM index_bucket; DELETE FROM index_run").unwrap();
    drop(raw);
    let log = open_log(directory.path()).unwrap();
    for id in (0..80_000).step_by(997).chain([79_999]) {
        assert_eq!(log.snapshot().find(&module(id)).unwrap().unwrap().id, RecordId(id));
    }
    let receipt = log.append(vec![candidate(7), candidate(80_000)]).await.unwrap();
    assert!(matches!(
        receipt.outcomes[..],
        [AppendOutcome::Present(RecordId(7)), AppendOutcome::Appended(RecordId(80_000))]
    ));
    log.close();
    let report = check(&SqliteReader::open(&path, 1024).unwrap());
    assert!(report.is_clean(), "{report:?}");
}

/// A commit that fails half-way leaves its store believing what it was about to write. What is written next must not.
#[test]
fn what_a_failed_commit_did_in_memory_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let mut writer = open_writer(&path);
    writer.append(100);
    let raw = rusqlite::Connection::open(&path).unwrap();
    let boom = "CREATE TRIGGER boom BEFORE INSERT ON evidence BEGIN SELECT RAISE(ABORT, 'a test'); END";
    raw.execute_batch(boom).unwrap();
    let (head, epoch) = (writer.tree.head(), writer.epoch);
    let (batch, _) = writer.batch(500, &evidence());
    assert!(writer.store.begin(Some(&head), epoch).unwrap().commit(&batch).is_err());
    raw.execute_batch("DROP TRIGGER boom").unwrap();
    // Nobody asks the store to reload: the incident of the failure is kept at once.
    let incident = Incident { kind: IncidentKind::Damage, at: start_time(), detail: "{}".to_owned() };
    writer.report(vec![incident]).unwrap();
    writer.append(500);
    let reader = SqliteReader::open(&path, 1024).unwrap();
    let records = reader.records(0..700).unwrap();
    assert_eq!(records.len(), 600);
    for (id, record) in (0..).zip(records) {
        assert_eq!((record.id, record.lines), (RecordId(id), lines(id)));
    }
    assert!(check(&reader).is_clean(), "{:?}", check(&reader));
}

/// Readers keep their view of the write-ahead log between reads: it must be emptied all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_write_ahead_log_stays_short_while_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_log(directory.path()).unwrap();
    log.append(candidates(0..1_000)).await.unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..4_u64)
        .map(|seed| {
            let (log, stop) = (log.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut random = seed;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let id = next(&mut random) % log.snapshot().size().0;
                    assert_eq!(log.snapshot().find(&module(id)).unwrap().unwrap().id, RecordId(id));
                }
            })
        })
        .collect();
    let mut longest = 0;
    for first in (1_000..61_000).step_by(100) {
        log.append(candidates(first..first + 100)).await.unwrap();
        longest = longest.max(directory.path().join("log.db-wal").metadata().unwrap().len());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    // It is checkpointed from 8 MiB on; more than a few of these would mean that it only grows.
    assert!(longest < 64 << 20, "{longest} bytes");
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
        assert!(matches!(refused, LogOpenError::Store(StoreError::File { .. })), "{refused:?}");
        assert!(refused.to_string().contains(&path.display().to_string()), "{refused}");
    }
    let nothing = SqliteReader::open(&directory.path().join("log.db"), 1024).map(drop).unwrap_err();
    assert!(nothing.to_string().contains("there is no log here"), "{nothing}");
    assert!(!directory.path().join("log.db").exists(), "reading creates nothing");
}
