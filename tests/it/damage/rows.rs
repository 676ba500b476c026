//! Damage in one row of each table: that row is an error that names it, its neighbours answer, fsck finds it.

use std::path::Path;

use rusqlite::Connection;
use tallystick::log::FsckFinding;
use tallystick::store::sqlite::SqliteReader;
use tallystick::store::{LogReader, StoreError};
use tallystick::tlog::{Hash, RecordId, TreeSize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{SIZE, build, check, open_writer, read_all};
use crate::support::logs::{lines, module};
use crate::support::raw::{behind_triggers, run_behind_triggers};

/// Changes one column of one row behind everybody's back.
pub(crate) fn spoil(path: &Path, table: &str, column: &str, row: &str, change: impl FnOnce(&mut Vec<u8>)) {
    behind_triggers(path, |raw| spoil_row(raw, table, column, row, change));
}

fn spoil_row(raw: &Connection, table: &str, column: &str, row: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let (mut value, text): (Vec<u8>, bool) = raw
        .query_row(
            &format!("SELECT CAST({column} AS BLOB), typeof({column}) = 'text' FROM {table} WHERE {row}"),
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    change(&mut value);
    let cast = if text { "CAST(? AS TEXT)" } else { "?" };
    let changed = raw.execute(&format!("UPDATE {table} SET {column} = {cast} WHERE {row}"), [value]).unwrap();
    assert_eq!(changed, 1);
}

fn places(findings: &[FsckFinding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.place.as_str()).collect()
}

#[expect(clippy::ptr_arg, reason = "it is one of several changes of a row, and others change its length")]
fn middle(value: &mut Vec<u8>) {
    let at = value.len() / 2;
    value[at] ^= 0x10;
}

#[test]
fn a_flipped_bit_in_any_column_is_an_error_of_its_row() {
    // Table, column, row, what the reader's error and fsck's finding must name.
    let cases = [
        ("segment", "body", "segment_id = 20", "segment 20"),
        ("tail", "body", "record_id = 555", "555"),
        ("tail", "evidence", "record_id = 555", "evidence of record 555"),
        ("evidence", "body", "tile_id = 1", "evidence of record"),
        ("head", "root", "size = 300", "head 300"),
        ("incident", "detail", "incident_id = 1", "incident 1"),
        ("incident", "kind", "incident_id = 1", "incident 1"),
    ];
    for (table, column, row, named) in cases {
        let directory = tempfile::tempdir().unwrap();
        let path = build(directory.path());
        spoil(&path, table, column, row, middle);
        let reader = SqliteReader::open(&path, 1024).unwrap();
        let errors = read_all(&reader, table);
        assert!(
            !errors.is_empty() && errors.iter().all(|error| error.contains(named)),
            "{table}.{column}: {errors:?}"
        );
        let report = check(&reader);
        assert!(
            places(&report.findings).iter().any(|place| place.contains(named)),
            "{table}.{column}: {report:?}"
        );
        assert!(report.findings.len() < 100, "{table}.{column}: one bit, {} findings", report.findings.len());
    }
}

#[test]
fn damage_is_confined_to_what_shares_the_row() {
    let directory = tempfile::tempdir().unwrap();
    let path = build(directory.path());
    spoil(&path, "segment", "body", "segment_id = 20", middle);
    let reader = SqliteReader::open(&path, 1024).unwrap();
    for id in 0..SIZE {
        let damaged = (320..336).contains(&id);
        let (record, found) = (reader.records(id..id + 1), reader.find(&module(id), TreeSize(SIZE)));
        assert_eq!(record.is_err(), damaged, "record {id}");
        assert_eq!(found.is_err(), damaged, "look-up of {id}");
        if damaged {
            assert!(matches!(found, Err(StoreError::Damaged { place, .. }) if place == "segment 20"));
        }
    }
    // It is not in the log, or it is one of those that cannot be read: "not there" would be a guess.
    assert!(reader.find(&module(9_999), TreeSize(SIZE)).is_err());
}

#[test]
fn a_row_that_is_gone_is_found() {
    let cases = [
        ("DELETE FROM segment WHERE segment_id = 20", "record 320"),
        ("DELETE FROM segment WHERE segment_id = 31", "record 511"),
        ("DELETE FROM tail WHERE record_id = 555", "record 555"),
        ("DELETE FROM tail WHERE record_id = 599", "record 599"),
        ("DELETE FROM evidence WHERE tile_id = 0", "evidence of record 0"),
        ("UPDATE head SET size = 599 WHERE size = 600", "beyond"),
    ];
    for (sql, named) in cases {
        let directory = tempfile::tempdir().unwrap();
        let path = build(directory.path());
        run_behind_triggers(&path, sql);
        let reader = SqliteReader::open(&path, 1024).unwrap();
        let report = check(&reader);
        let text = format!("{:?}", report.findings);
        assert!(!report.is_clean(), "{sql}");
        assert!(
            text.contains(named) || named == "beyond" && text.contains("says something else"),
            "{sql}: {text}"
        );
    }
}

/// What follows from other rows and makes proofs quick. Databases of a program that did not keep it are as good.
#[test]
fn subtrees_that_an_older_program_did_not_keep_are_not_missed() {
    for sql in ["DELETE FROM tile", "DELETE FROM tile WHERE tile_id = (64 << 48) + 1"] {
        let directory = tempfile::tempdir().unwrap();
        let path = build(directory.path());
        assert!(behind_triggers(&path, |raw| raw.execute(sql, [])).unwrap() > 0, "{sql}");
        let report = check(&SqliteReader::open(&path, 1024).unwrap());
        assert!(report.is_clean(), "{sql}: {report:?}");
    }
}

/// A segment with a correct checksum over wrong contents: what a bad memory chip writes.
fn forge_segment(value: &mut [u8], at: usize) {
    value[at] ^= 1;
    // The seed says that it is segment 20.
    let sum = xxh3_64_with_seed(&value[10..], 1 << 60 | 20);
    value[2..10].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn what_every_checksum_agrees_with_is_found_by_recomputing() {
    // The third record of segment 20: its zip hash, its go.mod hash, its leaf.
    for at in [10 + 2 * 64, 10 + 2 * 64 + 32, 10 + 1024 + 2 * 32] {
        let directory = tempfile::tempdir().unwrap();
        let path = build(directory.path());
        spoil(&path, "segment", "body", "segment_id = 20", |value| forge_segment(value, at));
        let report = check(&SqliteReader::open(&path, 1024).unwrap());
        assert!(places(&report.findings).contains(&"leaf of record 322"), "{at}: {report:?}");
    }
}

#[test]
fn a_head_that_is_not_the_trees_is_found_even_when_it_is_signed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let mut writer = open_writer(&path);
    writer.append(10);
    let (mut batch, tree) = writer.batch(5, &super::evidence());
    let mut forged = tree.head();
    forged.root = Hash::of_record(b"another tree\n");
    batch.head = Some(writer.sign(forged));
    let (head, epoch) = (writer.tree.head(), writer.epoch);
    writer.store.begin(Some(&head), epoch).unwrap().commit(&batch).unwrap();
    let report = check(&*writer.reader());
    assert_eq!(places(&report.findings), ["head 15"], "{report:?}");
}

#[test]
fn a_note_with_a_spoilt_signature_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = build(directory.path());
    spoil(&path, "head", "note", "size = 300", |note| {
        let at = note.len() - 20;
        note[at] = if note[at] == b'A' { b'B' } else { b'A' };
    });
    let report = check(&SqliteReader::open(&path, 1024).unwrap());
    assert_eq!(places(&report.findings), ["head 300"], "{report:?}");
}

#[test]
fn a_module_version_that_is_there_twice_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let mut writer = open_writer(&path);
    writer.append(300);
    // A store trusts its caller to have asked first.
    let (mut batch, _) = writer.batch(1, &super::evidence());
    batch.records[0].lines = lines(7);
    batch.records[0].leaf = Hash::of_record(lines(7).to_text().as_bytes());
    let mut tree = writer.tree.clone();
    tree.push(batch.records[0].leaf);
    batch.head = Some(writer.sign(tree.head()));
    let (head, epoch) = (writer.tree.head(), writer.epoch);
    writer.store.begin(Some(&head), epoch).unwrap().commit(&batch).unwrap();
    let report = check(&*writer.reader());
    let [finding] = &report.findings[..] else { panic!("{report:?}") };
    assert!(
        finding.place.contains("index entry of record") && finding.why.contains("is found instead"),
        "{finding:?}"
    );
}

#[test]
fn damage_in_the_index_and_in_the_tiles_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let mut writer = open_writer(&path);
    while writer.size() < 65_536 {
        writer.append(16_384);
    }
    writer.append(300);
    writer.store.settle().unwrap();
    drop(writer);
    let good = std::fs::read(&path).unwrap();
    let bucket = "bucket_id = (SELECT min(bucket_id) + 3 FROM index_bucket)";
    let turn = |value: &mut Vec<u8>| {
        // The first entry points 128 records away, into another segment, under a checksum that is right.
        value[8 + 6] ^= 0x80;
        let sum = xxh3_64(&value[8..]).to_le_bytes();
        value[..8].copy_from_slice(&sum);
    };
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let flip: Change<'_> = &|value| middle(value);
    let forge = |value: &mut Vec<u8>| {
        value[8 + 32 * 10] ^= 1;
        let sum = xxh3_64(&value[8..]).to_le_bytes();
        value[..8].copy_from_slice(&sum);
    };
    let cases: [(&str, &str, Change<'_>, &str); 6] = [
        ("tile", "tile_id = 1 << 48", flip, "tile"),
        ("tile", "tile_id = 1 << 48", &forge, "tile 0 of level 1"),
        ("tile", "tile_id = (64 << 48) + 7", flip, "tile"),
        ("tile", "tile_id = (64 << 48) + 7", &forge, "subtrees of tile 7 of level 0"),
        ("index_bucket", bucket, flip, "index_bucket"),
        ("index_bucket", bucket, &turn, "index entry of record"),
    ];
    for (table, row, change, named) in cases {
        std::fs::write(&path, &good).unwrap();
        spoil(&path, table, "body", row, change);
        let report = check(&SqliteReader::open(&path, 1024).unwrap());
        assert!(!report.is_clean(), "{table} {row}");
        assert!(
            places(&report.findings).iter().all(|place| place.contains(named)),
            "{table}: {:?}",
            &report.findings[..report.findings.len().min(5)]
        );
    }
    // A bucket is read with its neighbours, and its damage is no damage of theirs: one in 128 is lost.
    std::fs::write(&path, &good).unwrap();
    spoil(&path, "index_bucket", "body", bucket, middle);
    let reader = SqliteReader::open(&path, 1024).unwrap();
    let lost = (0..65_836).step_by(4).filter(|id| reader.find(&module(*id), TreeSize(65_836)).is_err());
    let lost = lost.count();
    assert!((1..300).contains(&lost), "{lost} of 16,459 look-ups");
    drop(reader);
    // A segment under a full level-1 tile: the tile stands in, so that everything else is still checked.
    std::fs::write(&path, &good).unwrap();
    spoil(&path, "segment", "body", "segment_id = 20", middle);
    let reader = SqliteReader::open(&path, 1024).unwrap();
    let report = check(&reader);
    assert_eq!(places(&report.findings), ["segment 20", "tree of sizes 257 to 511"], "{report:?}");
    assert_eq!(report.records, 65_836);
    assert!(reader.find(&module(330), TreeSize(65_836)).is_err());
    assert_eq!(reader.find(&module(65_700), TreeSize(65_836)).unwrap().unwrap().id, RecordId(65_700));
}
