//! Rows whose bytes are right and whose place is wrong, and rows that are lost: what damaged pages of a B-tree show.
//!
//! Each kind was found by `reliability/run --full pages`. A wrong number, a tile that is not there or a version that "is
//! not in the log" must be an error, and nothing may be signed over it.

use std::path::{Path, PathBuf};

use tallystick::log::{AppendOutcome, LogOpenError, ReadOnly, State};
use tallystick::store::sqlite::{SqliteReader, SqliteStore};
use tallystick::store::{LogReader, StoreError};
use tallystick::tlog::{RecordId, TreeSize};
use xxhash_rust::xxh3::xxh3_64;

use super::{SIZE, build, check, grown_log, leaf, open_writer};
use crate::support::logs::{candidate, identity_of, lines, module, open_log, signer};
use crate::support::raw::{behind_triggers, run_behind_triggers};

/// Swaps the numbers of two rows.
fn swap(path: &Path, table: &str, key: &str, one: i64, other: i64) {
    let away = format!("UPDATE {table} SET {key} = -1 WHERE {key} = {one}");
    let there = format!("UPDATE {table} SET {key} = {one} WHERE {key} = {other}");
    let back = format!("UPDATE {table} SET {key} = {other} WHERE {key} = -1");
    behind_triggers(path, |raw| {
        for step in [away, there, back] {
            assert_eq!(raw.execute(&step, []).unwrap(), 1, "{step}");
        }
    });
}

/// Every answer about the records in `lost` is an error, every other one is true.
fn assert_only_these_are_lost(reader: &dyn LogReader, lost: &[std::ops::Range<u64>], what: &str) {
    for id in 0..SIZE {
        let is_lost = lost.iter().any(|lost| lost.contains(&id));
        let answers = [
            reader.find(&module(id), TreeSize(SIZE)).map(|found| found.map(|found| (found.id, found.lines))),
            reader
                .records(id..id + 1)
                .map(|mut records| records.pop().map(|record| (record.id, record.lines))),
            reader.leaves(id..id + 1).map(|leaves| {
                let is_right = leaves == [leaf(id)];
                is_right.then(|| (RecordId(id), lines(id)))
            }),
        ];
        for answer in answers {
            match answer {
                Ok(found) => {
                    assert!(!is_lost && found == Some((RecordId(id), lines(id))), "{what}: {id}: {found:?}")
                }
                Err(error) => {
                    assert!(is_lost && matches!(error, StoreError::Damaged { .. }), "{what}: {id}: {error}");
                }
            }
        }
    }
}

#[test]
fn rows_that_are_swapped_are_damage_and_not_their_neighbors() {
    let segments = [320..336, 336..352];
    let tail = [555..556, 556..557];
    for (table, key, one, other, lost) in
        [("segment", "segment_id", 20, 21, &segments[..]), ("tail", "record_id", 555, 556, &tail[..])]
    {
        let directory = tempfile::tempdir().unwrap();
        let path = build(directory.path());
        swap(&path, table, key, one, other);
        let reader = SqliteReader::open(&path, 1024).unwrap();
        assert_only_these_are_lost(&reader, lost, table);
        assert!(!check(&reader).is_clean(), "{table}");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = build(directory.path());
    swap(&path, "tile", "tile_id", 64 << 48, (64 << 48) + 1);
    swap(&path, "evidence", "tile_id", 0, 1);
    let reader = SqliteReader::open(&path, 1024).unwrap();
    assert!(reader.subtrees(0).is_err() && reader.subtrees(1).is_err());
    assert!(reader.evidence(RecordId(3)).is_err() && reader.evidence(RecordId(300)).is_err());
    assert!(reader.evidence(RecordId(599)).is_ok());
}

/// Makes the segments, tail rows and hashes of a log what a program before version 3 has written.
fn make_older(path: &Path) {
    behind_triggers(path, |raw| {
        for (table, key, is_segment) in [
            ("segment", "segment_id", true),
            ("tail", "record_id", true),
            ("tile", "tile_id", false),
            ("evidence", "tile_id", false),
        ] {
            let rows: Vec<(i64, Vec<u8>)> = raw
                .prepare(&format!("SELECT {key}, body FROM {table}"))
                .and_then(|mut select| select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
                .unwrap();
            for (id, mut body) in rows {
                let (at, from) = if is_segment { (2, 10) } else { (0, 8) };
                if is_segment {
                    body[0] = 1;
                }
                let sum = xxh3_64(&body[from..]).to_le_bytes();
                body[at..from].copy_from_slice(&sum);
                raw.execute(&format!("UPDATE {table} SET body = ? WHERE {key} = ?"), (body, id)).unwrap();
            }
        }
    });
}

#[test]
fn a_log_of_an_older_program_opens_and_its_places_are_proved_by_the_tree() {
    let directory = tempfile::tempdir().unwrap();
    let path = build(directory.path());
    make_older(&path);
    let is_index = |path: &PathBuf| {
        let runs = "SELECT count(*) FROM index_run";
        rusqlite::Connection::open(path).unwrap().query_row(runs, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    run_behind_triggers(&path, "INSERT INTO index_run VALUES (0, 1, 0, 512, 2); PRAGMA user_version = 2");
    assert_only_these_are_lost(&*open_writer(&path).reader(), &[], "as it was");
    assert_eq!(is_index(&path), 0, "an index of an older program is made again");
    assert!(check(&SqliteReader::open(&path, 1024).unwrap()).is_clean());
    swap(&path, "segment", "segment_id", 20, 21);
    assert_only_these_are_lost(
        &SqliteReader::open(&path, 1024).unwrap(),
        std::slice::from_ref(&(320..352)),
        "segments are swapped",
    );
}

/// A log of 40,000 records whose index has runs, and which is damaged by `sql`.
async fn with_runs(sql: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    grown_log(directory.path(), 40_000, 8_000).await.close();
    run_behind_triggers(&path, sql);
    (directory, path)
}

/// Whatever of the index is lost or in the place of something else: no record enters twice.
#[tokio::test]
async fn an_index_that_is_not_whole_lets_nothing_in_twice() {
    let runs = "(SELECT run_id FROM index_run ORDER BY first LIMIT 1)";
    let damage = [
        "DELETE FROM index_bucket WHERE bucket_id % 2 = 0".to_owned(),
        "DELETE FROM index_bucket".to_owned(),
        // Each bucket under the number of another one of its run.
        "UPDATE index_bucket SET bucket_id = -bucket_id - 1;
         UPDATE index_bucket SET bucket_id = (-bucket_id - 1) + 1 - 2 * ((-bucket_id - 1) % 2)"
            .to_owned(),
        // The run covers more records than it has.
        "UPDATE index_run SET finish = 40000 WHERE first = (SELECT max(first) FROM index_run)".to_owned(),
        format!("UPDATE index_run SET bits = bits - 1 WHERE run_id = {runs}"),
        format!("UPDATE index_run SET state = 2 WHERE run_id = {runs}"),
        format!("DELETE FROM index_run WHERE run_id = {runs}"),
        "UPDATE identity SET index_key = zeroblob(16)".to_owned(),
    ];
    for sql in damage {
        let (directory, _) = with_runs(&sql).await;
        let Ok(log) = open_log(directory.path()) else { continue };
        for id in [3, 16_000, 17_001, 39_999] {
            let outcome = log.append(vec![candidate(id)]).await;
            let is_new = |receipt: &tallystick::log::Receipt| {
                receipt.outcomes.iter().any(|outcome| matches!(outcome, AppendOutcome::Appended(_)))
            };
            assert!(!outcome.as_ref().is_ok_and(is_new), "{sql}: record {id} twice");
            assert!(!matches!(log.snapshot().find(&module(id)), Ok(None)), "{sql}: record {id} is not there");
        }
        assert_eq!(log.snapshot().size(), TreeSize(40_000), "{sql}");
    }
}

#[tokio::test]
async fn a_lost_head_is_not_replaced_by_an_older_one() {
    for sql in ["DELETE FROM head WHERE size = 600", "DELETE FROM head WHERE size > 200", "DELETE FROM head"]
    {
        let directory = tempfile::tempdir().unwrap();
        grown_log(directory.path(), 600, 100).await.close();
        run_behind_triggers(&directory.path().join("log.db"), sql);
        let refused = open_log(directory.path()).map(drop).unwrap_err();
        assert!(matches!(refused, LogOpenError::Store(StoreError::Damaged { .. })), "{sql}: {refused:?}");
        assert!(refused.to_string().contains("beyond it"), "{sql}: {refused}");
    }
}

/// A head that is read while the log is open is verified then.
#[tokio::test]
async fn an_older_head_whose_note_is_damaged_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    grown_log(directory.path(), 600, 100).await.close();
    let path = directory.path().join("log.db");
    super::rows::spoil(&path, "head", "note", "size = 300", |note| {
        let at = note.len() - 20;
        note[at] = if note[at] == b'A' { b'B' } else { b'A' };
    });
    let snapshot = open_log(directory.path()).unwrap().snapshot();
    assert!(snapshot.head_at(TreeSize(300)).is_err() && snapshot.heads(TreeSize(301), 1).is_err());
    assert_eq!(snapshot.head_at(TreeSize(400)).unwrap().unwrap().tree.size, TreeSize(400));
}

#[test]
fn a_changed_schema_is_refused_with_the_name_of_what_changed() {
    let changes = [
        (
            "UPDATE sqlite_schema SET sql = replace(sql, 'RAISE(ABORT', 'RAISE(ABORS') WHERE name = 'head_backwards'",
            "head_backwards",
        ),
        ("DELETE FROM sqlite_schema WHERE name = 'segment_update'", "segment_update"),
        (
            "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'tail') WHERE name = 'tile'",
            "begin at",
        ),
    ];
    for (change, named) in changes {
        let directory = tempfile::tempdir().unwrap();
        let path = build(directory.path());
        let raw = rusqlite::Connection::open(&path).unwrap();
        raw.execute_batch(&format!("PRAGMA writable_schema = ON; {change}")).unwrap();
        drop(raw);
        let refused = SqliteStore::open(&path, Some(&identity_of(&signer())), 1024).map(drop).unwrap_err();
        assert!(matches!(refused, StoreError::Damaged { .. }), "{change}: {refused:?}");
        assert!(refused.to_string().contains(named) || named == "begin at", "{change}: {refused}");
        assert!(SqliteReader::open(&path, 1024).is_err(), "{change}");
    }
}

/// A write that the database refuses, although it agrees with all that was read, is damage: nothing more is signed, and
/// what can be read is served.
#[tokio::test]
async fn a_refused_write_ends_signing_and_not_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let log = grown_log(directory.path(), 100, 50).await;
    let raw = rusqlite::Connection::open(directory.path().join("log.db")).unwrap();
    raw.execute_batch("CREATE TRIGGER refuse BEFORE INSERT ON head BEGIN SELECT RAISE(ABORT, 'a test'); END")
        .unwrap();
    assert!(log.append(vec![candidate(100)]).await.is_err());
    let state = log.state();
    assert!(
        matches!(&*state, State::ReadOnly(ReadOnly::Damaged { why }) if why.contains("a test")),
        "{state:?}"
    );
    assert_eq!(log.snapshot().find(&module(99)).unwrap().unwrap().id, RecordId(99));
}

/// A lost row may be the one that somebody asks for: a log that was opened damaged never says that
/// something does not exist.
#[tokio::test]
async fn a_log_that_is_opened_damaged_never_says_that_something_is_not_there() {
    let spoilt = "UPDATE tail SET body = CAST(X'00' || substr(body, 2) AS BLOB)";
    let cases = [
        "DELETE FROM tail".to_owned(),
        "DELETE FROM tail WHERE record_id >= 590".to_owned(),
        "DELETE FROM tail WHERE record_id = 599".to_owned(),
        "DELETE FROM tail WHERE record_id = 550".to_owned(),
        "DELETE FROM segment WHERE segment_id >= 20".to_owned(),
        "DELETE FROM segment WHERE segment_id >= 20; DELETE FROM tail".to_owned(),
        "DELETE FROM segment WHERE segment_id = 31; DELETE FROM tail WHERE record_id >= 520".to_owned(),
        format!("{spoilt} WHERE record_id = 599"),
        spoilt.to_owned(),
        "UPDATE tail SET evidence = '{}' WHERE record_id = 512".to_owned(),
    ];
    for sql in cases {
        let directory = tempfile::tempdir().unwrap();
        grown_log(directory.path(), SIZE, 50).await.close();
        let path = directory.path().join("log.db");
        behind_triggers(&path, |raw| raw.execute_batch(&sql).unwrap());
        let log = open_log(directory.path()).unwrap();
        let state = log.state();
        assert!(matches!(&*state, State::ReadOnly(ReadOnly::Damaged { .. })), "{sql}: {state:?}");
        let (snapshot, reader) = (log.snapshot(), SqliteReader::open(&path, 1024).unwrap());
        let mut lost = 0;
        for id in 0..SIZE {
            let found = [snapshot.find(&module(id)), reader.find(&module(id), TreeSize(SIZE))];
            for found in found {
                match found {
                    Ok(found) => assert_eq!(found.map(|found| found.id), Some(RecordId(id)), "{sql}: {id}"),
                    Err(error) => {
                        assert!(matches!(error, StoreError::Damaged { .. }), "{sql}: {id}: {error}");
                        lost += 1;
                    }
                }
            }
        }
        let is_whole = sql.contains("evidence");
        assert_eq!(lost == 0, is_whole, "{sql}");
        assert!(matches!(snapshot.find(&module(9_999)), Err(StoreError::Damaged { .. })), "{sql}");
        assert!(matches!(snapshot.head_at(TreeSize(7)), Err(StoreError::Damaged { .. })), "{sql}");
        let absent = reader.find(&module(9_999), TreeSize(SIZE));
        assert!(is_whole || matches!(absent, Err(StoreError::Damaged { .. })), "{sql}: {absent:?}");
    }
}

/// A list of heads that a damaged page has cut short is not taken for the whole.
#[tokio::test]
async fn a_log_that_is_opened_damaged_lists_no_heads_as_if_they_were_all() {
    let directory = tempfile::tempdir().unwrap();
    grown_log(directory.path(), SIZE, 50).await.close();
    run_behind_triggers(
        &directory.path().join("log.db"),
        "DELETE FROM tail WHERE record_id = 599; DELETE FROM head WHERE size < 300",
    );
    let log = open_log(directory.path()).unwrap();
    let heads = |before, limit| log.snapshot().heads(TreeSize(before), limit);
    assert_eq!(heads(601, 7).unwrap().len(), 7);
    assert!(matches!(heads(601, 8), Err(StoreError::Damaged { .. })));
    assert!(matches!(heads(300, 1), Err(StoreError::Damaged { .. })));
    assert!(heads(0, 1).unwrap().is_empty(), "there is none");
}

/// Each record has evidence, so evidence that is not found is lost.
#[tokio::test]
async fn evidence_that_is_lost_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    grown_log(directory.path(), SIZE, 50).await.close();
    run_behind_triggers(&directory.path().join("log.db"), "DELETE FROM evidence WHERE tile_id = 1");
    let log = open_log(directory.path()).unwrap();
    assert!(log.snapshot().evidence(RecordId(255)).unwrap().is_some());
    let lost = log.snapshot().evidence(RecordId(256)).unwrap_err();
    assert!(lost.to_string().contains("evidence of record 256"), "{lost}");
    assert!(log.snapshot().evidence(RecordId(SIZE)).unwrap().is_none(), "there is no such record");
}
