//! The promises one by one, on small logs.

use std::sync::Arc;

use tallystick::store::{Evidence, Incident, IncidentKind, StoreError, evidence::StoredEvidence};
use tallystick::tlog::{Hash, RecordId, TreeHead, TreeSize};

use super::{Place, on_every_store};
use crate::support::logs::{Writer, identity_of, imported, lines, module, signer, start_time};

on_every_store!(
    a_new_log_is_empty,
    a_dropped_transaction_leaves_nothing,
    begin_compares_the_head_and_the_epoch,
    the_newer_epoch_wins,
    an_epoch_never_goes_back,
    a_record_is_found_after_its_commit_and_below_its_limit,
    heads_come_newest_first,
    incidents_are_kept_once,
    evidence_comes_back_as_it_went_in,
    a_failed_commit_leaves_nothing_after_reload,
    another_opening_gives_the_same_answers,
);

fn a_new_log_is_empty(place: &dyn Place) {
    let mut store = place.open();
    assert_eq!(*store.identity(), identity_of(&signer()));
    assert_eq!(store.epoch().unwrap(), 0);
    assert_eq!(store.newest().unwrap(), None);
    let reader = store.reader();
    assert_eq!(reader.find(&module(0), TreeSize(u64::MAX)).unwrap(), None);
    assert_eq!(reader.records(0..10).unwrap(), []);
    assert_eq!(reader.leaves(0..10).unwrap(), []);
    assert!(reader.tile(1, 0).unwrap().is_none());
    assert!(reader.evidence(RecordId(0)).unwrap().is_none());
    assert_eq!(reader.head(TreeSize(0)).unwrap(), None);
    assert_eq!(reader.heads(TreeSize(u64::MAX), 10).unwrap(), []);
    assert_eq!(reader.incidents(10).unwrap(), []);
}

fn a_dropped_transaction_leaves_nothing(place: &dyn Place) {
    let mut writer = Writer::new(place.open());
    writer.append(3);
    let (head, epoch) = (writer.tree.head(), writer.epoch);
    for _ in 0..3 {
        let mut transaction = writer.store.begin(Some(&head), epoch).unwrap();
        assert_eq!(transaction.find(&module(2)).unwrap().unwrap().id, RecordId(2));
        assert_eq!(transaction.find(&module(3)).unwrap(), None);
        drop(transaction);
    }
    assert_eq!(writer.store.newest().unwrap().unwrap().tree, head);
    assert_eq!(writer.reader().records(0..10).unwrap().len(), 3);
    writer.append(1);
    assert_eq!(writer.reader().records(0..10).unwrap().len(), 4);
}

fn begin_compares_the_head_and_the_epoch(place: &dyn Place) {
    let mut writer = Writer::new(place.open());
    writer.append(5);
    let (head, epoch) = (writer.tree.head(), writer.epoch);
    let other_root = TreeHead { root: Hash::of_record(b"other\n"), ..head };
    let older = writer.tree.head_at(4);
    let wrong = [
        (None, epoch),
        (Some(&other_root), epoch),
        (Some(&older), epoch),
        (Some(&head), epoch - 1),
        (Some(&head), epoch + 1),
    ];
    for (expected, epoch) in wrong {
        let refused = writer.store.begin(expected, epoch).err();
        assert!(matches!(refused, Some(StoreError::Conflict { .. })), "{expected:?} {epoch}: {refused:?}");
    }
    writer.append(1);
    assert_eq!(writer.store.newest().unwrap().unwrap().tree.size, TreeSize(6));
}

fn the_newer_epoch_wins(place: &dyn Place) {
    let mut older = Writer::new(place.open());
    older.append(20);
    let mut newer = Writer::new(place.open());
    assert!(newer.epoch > older.epoch);
    let refused = older.store.begin(Some(&older.tree.head()), older.epoch).err();
    assert!(matches!(refused, Some(StoreError::Conflict { .. })), "{refused:?}");
    newer.append(20);
    let refused = older.store.begin(Some(&older.tree.head()), older.epoch).err();
    assert!(matches!(refused, Some(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(newer.reader().records(0..100).unwrap().len(), 40);
}

fn an_epoch_never_goes_back(place: &dyn Place) {
    let mut store = place.open();
    store.claim(7).unwrap();
    for epoch in [0, 6, 7] {
        assert!(store.claim(epoch).is_err(), "{epoch}");
    }
    assert_eq!(store.epoch().unwrap(), 7);
    store.claim(8).unwrap();
    assert_eq!(place.open().epoch().unwrap(), 8);
}

fn a_record_is_found_after_its_commit_and_below_its_limit(place: &dyn Place) {
    let mut writer = Writer::new(place.open());
    let reader = writer.reader();
    for size in [1, 2, 16, 17, 256, 300, 600] {
        let before = writer.size();
        for i in before..size {
            assert_eq!(
                reader.find(&module(i), TreeSize(u64::MAX)).unwrap(),
                None,
                "record {i} at size {before}"
            );
        }
        writer.grow_to(size);
        for i in 0..size {
            let found = reader
                .find(&module(i), TreeSize(size))
                .unwrap()
                .unwrap_or_else(|| panic!("record {i} at size {size}"));
            assert_eq!((found.id, found.lines), (RecordId(i), lines(i)));
            assert_eq!(reader.find(&module(i), TreeSize(i)).unwrap(), None, "record {i} is not below {i}");
            assert!(
                reader.find(&module(i), TreeSize(i + 1)).unwrap().is_some(),
                "record {i} is below {}",
                i + 1
            );
        }
    }
}

fn heads_come_newest_first(place: &dyn Place) {
    let mut writer = Writer::new(place.open());
    let sizes = [1, 2, 5, 16, 100];
    sizes.into_iter().for_each(|size| writer.grow_to(size));
    let reader = writer.reader();
    let listed = |before, limit| -> Vec<u64> {
        reader.heads(TreeSize(before), limit).unwrap().iter().map(|head| head.tree.size.0).collect()
    };
    assert_eq!(listed(u64::MAX, 100), [100, 16, 5, 2, 1, 0]);
    assert_eq!(listed(100, 2), [16, 5]);
    assert_eq!(listed(3, 100), [2, 1, 0]);
    assert_eq!(listed(0, 100), [0; 0]);
    assert_eq!(listed(u64::MAX, 0), [0; 0]);
    for size in 0..=101 {
        let expected = (size == 0 || sizes.contains(&size)).then(|| writer.sign(writer.tree.head_at(size)));
        assert_eq!(reader.head(TreeSize(size)).unwrap(), expected, "{size}");
    }
    assert_eq!(reader.head(TreeSize(u64::MAX)).unwrap(), None);
    assert_eq!(writer.store.newest().unwrap(), Some(writer.sign(writer.tree.head())));
}

fn incident(detail: &str, kind: IncidentKind, seconds: i64) -> Incident {
    Incident { kind, at: start_time() + jiff::SignedDuration::from_secs(seconds), detail: detail.to_owned() }
}

fn incidents_are_kept_once(place: &dyn Place) {
    let mut writer = Writer::new(place.open());
    let head = writer.store.newest().unwrap();
    let (one, two) = (r#"{"module":"a"}"#, r#"{"module":"b"}"#);
    writer
        .report(vec![
            incident(one, IncidentKind::HashConflict, 1),
            incident(one, IncidentKind::HashConflict, 2),
        ])
        .unwrap();
    writer
        .report(vec![
            incident(one, IncidentKind::HashConflict, 3),
            incident(two, IncidentKind::HashConflict, 4),
        ])
        .unwrap();
    writer.report(vec![incident(one, IncidentKind::Damage, 5)]).unwrap();
    let kept = writer.reader().incidents(10).unwrap();
    let seen: Vec<_> = kept
        .iter()
        .map(|kept| {
            (kept.kind.as_str(), kept.detail.as_str(), kept.at.as_second() - start_time().as_second())
        })
        .collect();
    assert_eq!(seen, [("damage", one, 5), ("hash-conflict", two, 4), ("hash-conflict", one, 1)]);
    assert_eq!(writer.reader().incidents(2).unwrap(), kept[..2]);
    assert_eq!(writer.store.newest().unwrap(), head, "incidents alone are no new head");
}

fn evidence_kinds() -> Vec<Arc<Evidence>> {
    let origin = r#"{"VCS":"git","URL":"https://git.corp.example/a","Hash":"3ba1","Ref":"refs/tags/v1.5.2","Big":12345678901234567890123}"#;
    let computed = |origin: Option<&str>| Evidence::Computed {
        source: "file:///srv/goproxy".to_owned(),
        url: "file:///srv/goproxy/corp.example/a/@v/v1.0.0.zip".to_owned(),
        fetched_at: "2026-11-21T12:59:59.123456Z".parse().unwrap(),
        zip_sha256: "ab".repeat(32),
        zip_bytes: u64::from(u32::MAX) + 1,
        origin: origin.map(|json| serde_json::from_str(json).unwrap()),
    };
    let sumdb = Evidence::Sumdb {
        log: "sum.golang.org".to_owned(),
        record: 12_345_678,
        head_size: 66_398_849,
        head_root: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".to_owned(),
    };
    let imported = Evidence::Imported { importer: "the \"operator\"\n and \u{1F980}".to_owned() };
    [sumdb, computed(Some(origin)), computed(None), imported].map(Arc::new).to_vec()
}

fn evidence_comes_back_as_it_went_in(place: &dyn Place) {
    let mut writer = Writer::new(place.open());
    let kinds = evidence_kinds();
    let show = |kept: &StoredEvidence| serde_json::to_string(kept).unwrap();
    let check = |writer: &Writer| {
        for id in 0..writer.size() {
            let kept = writer.reader().evidence(RecordId(id)).unwrap().unwrap();
            let expected = StoredEvidence {
                appended_at: start_time(),
                evidence: (*kinds[id as usize % kinds.len()]).clone(),
            };
            assert_eq!(show(&kept), show(&expected), "record {id} of {}", writer.size());
        }
        assert!(writer.reader().evidence(RecordId(writer.size())).unwrap().is_none());
    };
    // One by one to where they are sealed, and beyond.
    while writer.size() < 260 {
        writer.append_with(1, &kinds[writer.size() as usize % kinds.len()].clone());
        if [1, 5, 17, 255, 256, 257].contains(&writer.size()) {
            check(&writer);
        }
    }
    check(&writer);
    drop(writer);
    check(&Writer::new(place.open()));
}

fn a_failed_commit_leaves_nothing_after_reload(place: &dyn Place) {
    for size in [0, 10, 255, 256, 300] {
        let mut writer = Writer::new(place.open());
        writer.grow_to(size.max(writer.size()));
        let (head, epoch) = (writer.tree.head(), writer.epoch);
        for count in [1, 16, 300] {
            let (mut batch, _) = writer.batch(count, &imported());
            // A head that is not above the one before: no store can commit it, and SQLite finds out last of all.
            batch.head = Some(writer.sign(head));
            let failed = writer.store.begin(Some(&head), epoch).unwrap().commit(&batch);
            // To SQLite it is a table that contradicts what was read of it.
            let is_refused = |error: &StoreError| {
                matches!(error, StoreError::Database { .. } | StoreError::Damaged { .. })
            };
            assert!(failed.as_ref().is_err_and(is_refused), "{failed:?}");
            writer.store.reload().unwrap();
            let reader = writer.reader();
            assert_eq!(writer.store.newest().unwrap().unwrap().tree, head);
            assert_eq!(reader.records(0..10_000).unwrap().len() as u64, size);
            assert_eq!(reader.leaves(0..10_000).unwrap().len() as u64, size);
            assert_eq!(reader.find(&module(size), TreeSize(u64::MAX)).unwrap(), None);
            for i in 0..size {
                assert_eq!(reader.find(&module(i), TreeSize(size)).unwrap().unwrap().id, RecordId(i));
            }
        }
    }
}

fn another_opening_gives_the_same_answers(place: &dyn Place) {
    let mut writer = Writer::new(place.open());
    for size in [1, 15, 16, 17, 255, 256, 257, 511, 512, 700] {
        writer.grow_to(size);
        let mut again = place.open();
        assert_eq!(again.newest().unwrap(), writer.store.newest().unwrap());
        let (old, new) = (writer.reader(), again.reader());
        assert_eq!(old.records(0..size).unwrap(), new.records(0..size).unwrap());
        assert_eq!(old.leaves(0..size).unwrap(), new.leaves(0..size).unwrap());
        assert_eq!(old.heads(TreeSize(u64::MAX), 100).unwrap(), new.heads(TreeSize(u64::MAX), 100).unwrap());
        for i in 0..size + 5 {
            let [a, b] = [&old, &new].map(|reader| reader.find(&module(i), TreeSize(u64::MAX)).unwrap());
            assert_eq!(a, b, "record {i} at size {size}");
        }
    }
}
