//! fsck of logs that are well, beside a server, and against their anchor.

use std::sync::atomic::{AtomicBool, Ordering};

use tallystick::log::fsck;
use tallystick::store::anchor::Anchored;
use tallystick::store::memory::{Disk, MemoryStore};
use tallystick::store::sqlite::{SqliteReader, SqliteStore};
use tallystick::store::{LogObserver as _, LogReader, LogStore};
use tallystick::tlog::{Hash, RecordId, TreeHead, TreeSize};

use super::open_writer;
use crate::support::logs::{Writer, identity_of, module, signer, signer_of};

#[test]
fn a_good_log_is_clean_at_every_size() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let sqlite = SqliteStore::open(&path, Some(&identity_of(&signer())), 1024).unwrap();
    let memory = MemoryStore::open(&Disk::default(), Some(&identity_of(&signer()))).unwrap();
    let stores: [Box<dyn LogStore>; 2] = [Box::new(sqlite), Box::new(memory)];
    for store in stores {
        let mut writer = Writer::new(store);
        for (heads, size) in [0, 1, 2, 15, 16, 17, 255, 256, 257, 700, 20_000].into_iter().enumerate() {
            if size > 0 {
                writer.grow_to(size);
            }
            let mut done = vec![0];
            let report =
                fsck(&*writer.reader(), &signer().verifier(), None, &mut |records| done.push(records))
                    .unwrap();
            assert!(report.is_clean(), "size {size}: {report:?}");
            assert_eq!((report.records, report.heads), (size, heads as u64 + 1));
            assert!(done.is_sorted() && done.last() == Some(&size), "{done:?}");
        }
    }
    let reader = SqliteReader::open(&path, 1024).unwrap();
    assert_eq!(*reader.identity(), identity_of(&signer()));
    assert!(fsck(&reader, &signer().verifier(), None, &mut |_| {}).unwrap().is_clean());
    assert_eq!(reader.check_pages().unwrap(), [""; 0]);
}

#[test]
fn many_heads_are_all_checked() {
    let mut writer =
        Writer::new(Box::new(MemoryStore::open(&Disk::default(), Some(&identity_of(&signer()))).unwrap()));
    (0..5_000).for_each(|_| writer.append(1));
    let report = fsck(&*writer.reader(), &signer().verifier(), None, &mut |_| {}).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.heads, 5_001);
}

#[test]
fn another_key_finds_every_head() {
    let mut writer =
        Writer::new(Box::new(MemoryStore::open(&Disk::default(), Some(&identity_of(&signer()))).unwrap()));
    writer.append(10);
    let report = fsck(&*writer.reader(), &signer_of(2).verifier(), None, &mut |_| {}).unwrap();
    let places: Vec<_> = report.findings.iter().map(|finding| finding.place.as_str()).collect();
    assert_eq!(places, ["head 0", "head 10"]);
}

#[test]
fn the_anchor_must_agree() {
    let mut writer =
        Writer::new(Box::new(MemoryStore::open(&Disk::default(), Some(&identity_of(&signer()))).unwrap()));
    writer.append(10);
    writer.append(10);
    let vkey = signer().verifier().to_string();
    let against = |vkey: &str, tree: TreeHead| {
        let anchored = Anchored { vkey: vkey.to_owned(), epoch: 1, tree, stops: 0 };
        let report = fsck(&*writer.reader(), &signer().verifier(), Some(&anchored), &mut |_| {}).unwrap();
        report
            .findings
            .into_iter()
            .map(|finding| format!("{}: {}", finding.place, finding.why))
            .collect::<Vec<_>>()
    };
    for size in 0..=20 {
        assert_eq!(against(&vkey, writer.tree.head_at(size)), [""; 0], "{size}");
        let beside = TreeHead { size: TreeSize(size), root: Hash::of_record(b"another\n") };
        let found = against(&vkey, beside);
        assert!(found.len() == 1 && found[0].starts_with(&format!("anchor: at size {size} ")), "{found:?}");
    }
    let ahead = TreeHead { size: TreeSize(21), root: Hash::EMPTY_TREE };
    assert!(against(&vkey, ahead)[0].contains("rolled back"));
    let other = signer_of(2).verifier().to_string();
    assert!(against(&other, writer.tree.head())[0].contains("belongs to the log"));
}

#[test]
fn it_runs_beside_a_writer_of_another_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let mut writer = open_writer(&path);
    writer.append(3_000);
    let reader = SqliteReader::open(&path, 1024).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let checked = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Acquire) || rounds == 0 {
                let report = fsck(&reader, &signer().verifier(), None, &mut |_| {}).unwrap();
                assert!(report.is_clean(), "{report:?}");
                rounds += 1;
            }
            rounds
        });
        // Runs are flushed while it reads.
        for _ in 0..40 {
            writer.append(900);
            writer.append(1);
        }
        done.store(true, Ordering::Release);
        assert!(checked.join().unwrap() > 0);
    });
    for id in (0..writer.size()).step_by(501) {
        assert_eq!(reader.find(&module(id), TreeSize(u64::MAX)).unwrap().unwrap().id, RecordId(id));
    }
}

#[test]
fn a_reader_of_another_process_follows_flushes_and_merges() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let mut writer = open_writer(&path);
    let reader = SqliteReader::open(&path, 1024).unwrap();
    let mut random = 3;
    while writer.size() < 175_000 {
        writer.append(8_000);
        let size = writer.size();
        for _ in 0..200 {
            let id = super::next(&mut random) % size;
            let found = reader.find(&module(id), TreeSize(size)).unwrap();
            assert_eq!(found.map(|record| record.id), Some(RecordId(id)), "of {size}");
        }
        assert_eq!(reader.find(&module(size), TreeSize(u64::MAX)).unwrap(), None);
    }
    writer.store.settle().unwrap();
    for id in (0..writer.size()).step_by(333) {
        assert_eq!(reader.find(&module(id), TreeSize(u64::MAX)).unwrap().unwrap().id, RecordId(id));
    }
}
