//! What only the store in SQLite promises: triggers, refusals of files that are not its own, the index on disk.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::Connection;
use tallystick::store::anchor::{Anchor as _, Anchored, FileAnchor};
use tallystick::store::sqlite::SqliteStore;
use tallystick::store::{LogReader, StoreError};
use tallystick::tlog::{RecordId, TreeSize};

use super::{InSqlite, Place};
use crate::support::logs::{Writer, identity_of, imported, lines, module, signer, signer_of, start_time};

/// Another program with the file: no pragma of ours is set.
fn raw(place: &InSqlite) -> Connection {
    Connection::open(place.path()).unwrap()
}

#[test]
fn triggers_refuse_changes_to_the_truth() {
    let place = InSqlite::new();
    let mut writer = Writer::new(place.open());
    writer.grow_to(65_536 + 3);
    let incident = tallystick::store::Incident {
        kind: tallystick::store::IncidentKind::Damage,
        at: start_time(),
        detail: "{}".to_owned(),
    };
    writer.report(vec![incident]).unwrap();
    let raw = raw(&place);
    let dump = |table: &str| -> Vec<String> {
        let mut select = raw.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = select.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            Ok((0..columns).map(|at| format!("{:?}", row.get_ref_unwrap(at))).collect::<String>())
        };
        select.query_map([], row).unwrap().map(Result::unwrap).collect()
    };
    let tables = ["identity", "writer", "segment", "tail", "evidence", "tile", "head", "incident"];
    for table in tables {
        let before = dump(table);
        assert!(!before.is_empty(), "{table} is empty: the test shows nothing");
        let columns: Vec<String> = raw
            .prepare(&format!("SELECT * FROM {table}"))
            .unwrap()
            .column_names()
            .map(str::to_owned)
            .collect();
        let key = &columns[0];
        let rest = columns[1..].join(", ");
        let attempts = [
            format!("DELETE FROM {table}"),
            format!("DELETE FROM {table} WHERE {key} = (SELECT max({key}) FROM {table})"),
            format!("REPLACE INTO {table} SELECT * FROM {table}"),
            format!("REPLACE INTO {table} SELECT * FROM {table} ORDER BY 1 DESC LIMIT 1"),
            format!(
                "INSERT OR REPLACE INTO {table} ({key}, {rest}) SELECT {key}, {rest} FROM {table} LIMIT 1"
            ),
            format!("UPDATE {table} SET {key} = {key}"),
            format!("UPDATE OR REPLACE {table} SET {key} = {key} + 1"),
        ];
        for attempt in attempts {
            for recursive in [false, true] {
                raw.pragma_update(None, "recursive_triggers", recursive).unwrap();
                let result = raw.execute(&attempt, []);
                // An incident that is there already is passed over in silence, as the engine wants it.
                let silent = table == "incident" && attempt.contains("REPLACE INTO");
                assert!(result.is_err() || silent && result == Ok(0), "{attempt}: {result:?}");
                assert!(dump(table) == before, "{attempt} changed {table}");
            }
        }
        for column in &columns {
            let attempt = format!("UPDATE {table} SET {column} = {column}");
            assert!(raw.execute(&attempt, []).is_err(), "{attempt}");
        }
    }
    assert!(raw.execute("UPDATE writer SET epoch = epoch - 1", []).is_err());
    raw.execute("UPDATE writer SET epoch = epoch + 1", []).unwrap();
    // The same incident under another number is the same incident.
    raw.execute(
        "REPLACE INTO incident (at, kind, digest, detail) SELECT 0, kind, digest, detail FROM incident",
        [],
    )
    .unwrap();
    assert_eq!(writer.reader().incidents(10).unwrap()[0].at, start_time());
}

#[test]
fn files_of_others_are_refused_and_left_alone() {
    let place = InSqlite::new();
    let open = |path| SqliteStore::open(path, Some(&identity_of(&signer())), 1024).map(drop);
    let foreign = place.directory.path().join("foreign.db");
    Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
        .unwrap();
    let text = place.directory.path().join("text.db");
    std::fs::write(&text, "This is no database. ".repeat(1000)).unwrap();
    for path in [&foreign, &text] {
        let before = std::fs::read(path).unwrap();
        let refused = open(path).unwrap_err();
        assert!(matches!(refused, StoreError::Foreign { .. } | StoreError::Damaged { .. }), "{refused:?}");
        assert!(std::fs::read(path).unwrap() == before, "{} was changed", path.display());
    }
    drop(Writer::new(place.open()));
    let other = SqliteStore::open(&place.path(), Some(&identity_of(&signer_of(2))), 1024).err();
    assert!(matches!(other, Some(StoreError::Foreign { .. })), "{other:?}");
    // An anchor is not a log, and a log is not an anchor.
    let anchor = place.directory.path().join("anchor.db");
    let tree = tallystick::tlog::TreeHead { size: TreeSize(0), root: tallystick::tlog::Hash::EMPTY_TREE };
    drop(
        FileAnchor::at(&anchor)
            .create(&Anchored { vkey: "v".to_owned(), epoch: 0, tree, stops: 0 }, start_time())
            .unwrap(),
    );
    let refused = open(&anchor).unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused:?}");
    let refused = FileAnchor::at(place.path()).open().map(|_| ()).unwrap_err();
    assert!(matches!(refused, StoreError::Foreign { .. }), "{refused:?}");
    // Last: a schema from the future is not touched either.
    raw(&place).pragma_update(None, "user_version", 99).unwrap();
    let refused = open(&place.path()).unwrap_err();
    assert!(matches!(refused, StoreError::NewerSchema { found: 99, known: 3 }), "{refused:?}");
}

/// Rows of `index_run` in a state: 0 being merged, 1 live, 2 to be swept.
fn runs(raw: &Connection, state: i64) -> i64 {
    raw.query_row("SELECT count(*) FROM index_run WHERE state = ?", [state], |row| row.get(0)).unwrap()
}

fn check_index(reader: &dyn LogReader, size: u64, step: usize) {
    for id in (0..size).step_by(step).chain(size.saturating_sub(300)..size) {
        let found = reader.find(&module(id), TreeSize(size)).unwrap();
        assert_eq!(
            found.map(|record| (record.id, record.lines)),
            Some((RecordId(id), lines(id))),
            "of {size}"
        );
    }
    for absent in size..size + 500 {
        assert_eq!(reader.find(&module(absent), TreeSize(u64::MAX)).unwrap(), None, "{absent} of {size}");
    }
}

/// Grows to just after eight flushed runs, where the next commit begins to merge them.
fn grow_to_the_first_merge(writer: &mut Writer) {
    while writer.size() < 8 * 20_000 {
        writer.append(4_000);
    }
}

#[test]
fn the_index_flushes_merges_and_sweeps_and_forgets_nothing() {
    let place = InSqlite::new();
    let raw = {
        drop(place.open());
        raw(&place)
    };
    let mut writer = Writer::new(place.open());
    let size = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let reader = writer.reader();
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..2_u64)
            .map(|seed| {
                scope.spawn({
                    let (reader, size, done) = (reader.clone(), &size, &done);
                    move || ask(&*reader, size, done, seed)
                })
            })
            .collect();
        let mut states = [false; 3];
        while writer.size() < 205_000 {
            writer.append(if writer.size() > 160_000 { 1_000 } else { 4_000 });
            size.store(writer.size(), Ordering::Release);
            (0..3).for_each(|state| states[state] |= runs(&raw, state as i64) > 0);
        }
        assert_eq!(states, [true; 3], "a run was merging, live, swept");
        done.store(true, Ordering::Release);
        for asked in asked {
            assert!(asked.join().unwrap() > 100, "the readers hardly ran");
        }
    });
    check_index(&*reader, writer.size(), 97);
    writer.store.settle().unwrap();
    assert_eq!((runs(&raw, 0), runs(&raw, 2)), (0, 0), "settling leaves nothing half done");
    check_index(&*reader, writer.size(), 97);
    let orphans: i64 = raw
        .query_row(
            "SELECT count(*) FROM index_bucket WHERE bucket_id >> 32 NOT IN (SELECT run_id FROM index_run)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(orphans, 0, "buckets of runs that are gone");
    drop(writer);
    check_index(&*Writer::new(place.open()).reader(), size.into_inner(), 97);
}

/// Asks for what must be there, and for what must not, as long as the writer writes.
fn ask(reader: &dyn LogReader, size: &AtomicU64, done: &AtomicBool, seed: u64) -> u64 {
    let (mut asked, mut random) = (0, seed + 1);
    while !done.load(Ordering::Acquire) {
        let size = size.load(Ordering::Acquire);
        if size == 0 {
            std::thread::yield_now();
            continue;
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = (random >> 33) % size;
        let found = reader.find(&module(id), TreeSize(size)).unwrap();
        assert_eq!(found.map(|record| record.id), Some(RecordId(id)), "of {size}");
        let records = reader.records(id..id + 3).unwrap();
        assert_eq!(records[0].id, RecordId(id), "of {size}");
        assert_eq!(
            reader.leaves(id..id + 1).unwrap(),
            [tallystick::tlog::Hash::of_record(records[0].lines.to_text().as_bytes())]
        );
        assert_eq!(reader.find(&module(10_000_000 + id), TreeSize(size)).unwrap(), None);
        asked += 1;
    }
    asked
}

#[test]
fn a_merge_that_is_interrupted_begins_again() {
    let place = InSqlite::new();
    let mut writer = Writer::new(place.open());
    grow_to_the_first_merge(&mut writer);
    let raw = raw(&place);
    let mut interrupted = 0;
    for round in 0..12 {
        writer.append(1_000);
        interrupted += i64::from(runs(&raw, 0) > 0);
        let size = writer.size();
        match round % 3 {
            0 => {
                drop(writer);
                writer = Writer::new(place.open());
            }
            1 => {
                // A batch that fails while it merges must not count as merged.
                let (mut batch, _) = writer.batch(1_000, &imported());
                batch.head = Some(writer.sign(writer.tree.head()));
                let (head, epoch) = (writer.tree.head(), writer.epoch);
                assert!(writer.store.begin(Some(&head), epoch).unwrap().commit(&batch).is_err());
                writer.store.reload().unwrap();
            }
            _ => {}
        }
        check_index(&*writer.reader(), size, 499);
    }
    assert!(interrupted > 3, "the test interrupted {interrupted} merges");
    writer.store.settle().unwrap();
    assert_eq!((runs(&raw, 0), runs(&raw, 2)), (0, 0));
    check_index(&*writer.reader(), writer.size(), 97);
}

#[test]
fn readers_miss_nothing_while_the_writer_reloads() {
    let place = InSqlite::new();
    let mut writer = Writer::new(place.open());
    writer.append(300);
    let done = AtomicBool::new(false);
    let reader = writer.reader();
    std::thread::scope(|scope| {
        let (reader, done) = (&reader, &done);
        let asked = scope.spawn(move || {
            let mut asked = 0;
            while !done.load(Ordering::Acquire) {
                assert!(
                    reader.find(&module(asked % 300), TreeSize(300)).unwrap().is_some(),
                    "{}",
                    asked % 300
                );
                asked += 1;
            }
            asked
        });
        (0..300).for_each(|_| writer.store.reload().unwrap());
        done.store(true, Ordering::Release);
        assert!(asked.join().unwrap() > 100, "the reader hardly ran");
    });
}

#[test]
fn a_writer_that_lost_its_epoch_does_not_touch_the_index() {
    let place = InSqlite::new();
    let mut older = Writer::new(place.open());
    grow_to_the_first_merge(&mut older);
    let mut newer = Writer::new(place.open());
    newer.append(1_000);
    assert!(matches!(older.store.settle(), Err(StoreError::Conflict { .. })));
    newer.append(20_000);
    newer.store.settle().unwrap();
    check_index(&*newer.reader(), newer.size(), 97);
    drop(newer);
    check_index(&*Writer::new(place.open()).reader(), 181_000, 97);
}

/// Two module versions that the index cannot tell apart: found by trying millions, as the secret of this database is
/// no secret to its own test.
fn colliding(raw: &Connection) -> [u64; 2] {
    use std::hash::Hasher;
    let key: [u8; 16] = raw.query_row("SELECT index_key FROM identity", [], |row| row.get(0)).unwrap();
    let sip = siphasher::sip::SipHasher13::new_with_key(&key);
    let mut hashes: Vec<(u64, u64)> = Vec::new();
    loop {
        let from = hashes.len() as u64;
        hashes.extend((from..from + 2_000_000).map(|i| {
            let mut sip = sip;
            sip.write(format!("corp.example/c{i}@v1.0.0").as_bytes());
            (sip.finish() >> 24, i)
        }));
        hashes.sort_unstable();
        if let Some(pair) = hashes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return [pair[0].1, pair[1].1];
        }
    }
}

#[test]
fn module_versions_that_share_a_hash_are_told_apart() {
    let place = InSqlite::new();
    let mut writer = Writer::new(place.open());
    writer.append(3);
    let pair = colliding(&raw(&place)).map(|i| {
        tallystick::module::ModuleVersion::from_parts(&format!("corp.example/c{i}"), "v1.0.0").unwrap()
    });
    for (at, module) in pair.iter().enumerate() {
        let id = 3 + at as u64;
        let (head, epoch) = (writer.tree.head(), writer.epoch);
        assert_eq!(writer.store.begin(Some(&head), epoch).unwrap().find(module).unwrap(), None);
        let (mut batch, _) = writer.batch(1, &imported());
        batch.records[0].lines.module = module.clone();
        let leaf = tallystick::tlog::Hash::of_record(batch.records[0].lines.to_text().as_bytes());
        batch.records[0].leaf = leaf;
        writer.tree.push(leaf);
        batch.head = Some(writer.sign(writer.tree.head()));
        writer.store.begin(Some(&head), epoch).unwrap().commit(&batch).unwrap();
        let found = writer.reader().find(module, TreeSize(u64::MAX)).unwrap().unwrap();
        assert_eq!((found.id, &found.lines.module), (RecordId(id), module));
    }
    // In memory, and in a run.
    for _ in 0..2 {
        for (at, module) in pair.iter().enumerate() {
            let found = writer.reader().find(module, TreeSize(u64::MAX)).unwrap().unwrap();
            assert_eq!(found.id, RecordId(3 + at as u64));
        }
        writer.append(17_000);
        assert!(runs(&raw(&place), 1) > 0);
    }
}
