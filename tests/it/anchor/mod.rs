//! The anchor: every point at which a process may stop, and every way in which a log and its anchor can disagree.

mod file;
pub(crate) mod old;
mod pairs;
mod sequences;
mod settle;
mod table;

use crate::support::logs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};
use tallystick::log::{AppendError, Conditions, Log, LogOpenError, ReadOnly, State, Stop, stops};
use tallystick::note::{self, KeyName, SignerKey};
use tallystick::store::anchor::{Anchor as _, Anchored, FileAnchor};
use tallystick::store::sqlite::SqliteStore;
use tallystick::store::{LogStore, StoredHead};
use tallystick::tlog::{Hash, RecordId, TreeHead, TreeSize};

use crate::support::logs::{
    Writer, candidate, candidates, clock, identity_of, lines, open_log_with, options_of, signer, signer_of,
    start_time,
};

/// Two disks: one with the log, one with the anchor.
struct Site {
    root: tempfile::TempDir,
    /// The number of the key.
    number: u8,
}

impl Site {
    fn new() -> Site {
        Site::of(1)
    }

    /// A place for the log with the key of this number.
    fn of(number: u8) -> Site {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("data")).unwrap();
        std::fs::create_dir(root.path().join("other-disk")).unwrap();
        Site { root, number }
    }

    fn signer(&self) -> SignerKey {
        signer_of(self.number)
    }

    /// Where a piece of the log is.
    fn file(&self, what: &str) -> PathBuf {
        match what {
            "log" => self.database(),
            "anchor" => self.anchor(),
            "stops" => self.root.path().join("other-disk/anchor.db.stops"),
            what => self.data().join(format!("{what}.db")),
        }
    }

    fn open_under(&self, conditions: Conditions) -> Result<Log, LogOpenError> {
        let options = options_of(&self.data(), &self.anchor(), vec![self.signer()]);
        logs::open_log_as(options, conditions)
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    fn database(&self) -> PathBuf {
        self.data().join("log.db")
    }

    fn anchor(&self) -> PathBuf {
        self.root.path().join("other-disk/anchor.db")
    }

    fn open(&self) -> Log {
        self.open_under(Conditions::default()).unwrap()
    }

    fn anchored(&self) -> Option<Anchored> {
        FileAnchor::at(self.anchor()).read().unwrap()
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.database(), Some(&identity_of(&signer())), 1024).unwrap()
    }
}

/// Copies a database that nobody writes at the moment, as a crash would leave it: with its write-ahead log.
fn copy(from: &Path, to: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let with = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        let _ = std::fs::remove_file(with(to));
        if suffix != "-shm" && with(from).exists() {
            std::fs::copy(with(from), with(to)).unwrap();
        }
    }
}

/// Keeps that somebody has shown a head which this log does not have, as a process keeps it, and that an operator has ended the stop.
/// Returns its number.
fn keep_ended_stop(anchor: &Path, signer: &SignerKey, tree: TreeHead) -> u64 {
    let mut kept = stops(anchor).unwrap_or_default();
    let number = kept.iter().map(|stop| stop.number).max().unwrap_or(0) + 1;
    kept.push(Stop {
        number,
        at: start_time(),
        size: tree.size.0,
        root: tree.root.to_string(),
        why: "a test".to_owned(),
        note: note::sign(&tree.format(), &[signer]).unwrap(),
        incident: String::new(),
        ended: Some(start_time()),
    });
    std::fs::write(format!("{}.stops", anchor.display()), serde_json::to_vec(&kept).unwrap()).unwrap();
    if let Ok(Some((mut anchor, _))) = FileAnchor::at(anchor).open() {
        anchor.remember_stops(number).unwrap();
    }
    number
}

fn empty() -> TreeHead {
    TreeHead { size: TreeSize(0), root: Hash::EMPTY_TREE }
}

fn anchored_at(epoch: u64, tree: TreeHead) -> Anchored {
    Anchored { vkey: vkey(), epoch, tree, stops: 0 }
}

fn vkey() -> String {
    signer().verifier().to_string()
}

/// The log signs again, everything before stands, and the anchor follows.
async fn check_writes(site: &Site, log: &Log, before: &StoredHead) {
    assert!(matches!(&*log.state(), State::Writing), "{:?}", log.state());
    assert_eq!(**log.snapshot().head(), *before, "the same head, byte for byte");
    assert_eq!(site.anchored().unwrap().tree, before.tree);
    let i = 1_000 + before.tree.size.0;
    let receipt = log.append(vec![candidate(i)]).await.unwrap();
    let head = receipt.snapshot.head();
    assert_eq!(receipt.snapshot.root_at(before.tree.size).unwrap(), before.tree.root);
    note::open(head.note.as_bytes(), &[&log.verifier()]).unwrap();
    assert_eq!(site.anchored().unwrap().tree, head.tree);
    assert_eq!(receipt.snapshot.head_at(before.tree.size).unwrap().as_ref(), Some(before));
}

/// The log serves the head and the records that it has, signs nothing, and leaves the anchor alone.
async fn check_reads_only(site: &Site, log: &Log, expected: fn(&ReadOnly) -> bool, says: &[&str]) {
    let State::ReadOnly(reason) = &*log.state() else { panic!("it writes") };
    assert!(expected(reason), "{reason:?}");
    let text = reason.to_string();
    assert!(says.iter().all(|part| text.contains(part)), "{text}");
    let snapshot = log.snapshot();
    let (head, anchor) = (snapshot.head().clone(), std::fs::read(site.anchor()).ok());
    for id in 0..snapshot.size().0 {
        assert!(snapshot.record(RecordId(id)).unwrap().is_some());
    }
    assert_eq!(snapshot.root_at(snapshot.size()).unwrap(), head.tree.root);
    let refused = log.append(vec![candidate(77_777)]).await.err().unwrap();
    let AppendError::ReadOnly(refused) = &refused;
    assert_eq!(refused.to_string(), text);
    assert_eq!(log.snapshot().head(), &head);
    assert_eq!(std::fs::read(site.anchor()).ok(), anchor, "the anchor is left alone");
}

#[tokio::test]
async fn stopped_before_the_first_head() {
    // The anchor is made before the log.
    let anchored = |site: &Site| {
        drop(FileAnchor::at(site.anchor()).create(&anchored_at(0, empty()), start_time()).unwrap());
    };
    let created = |site: &Site| {
        anchored(site);
        drop(site.store());
    };
    let claimed = |site: &Site| {
        created(site);
        FileAnchor::at(site.anchor()).open().unwrap().unwrap().0.claim(0, 1).unwrap();
    };
    let claimed_in_both = |site: &Site| {
        claimed(site);
        site.store().claim(1).unwrap();
    };
    let signed = |site: &Site| {
        claimed(site);
        drop(Writer::new(Box::new(site.store())));
    };
    let nothing = |_: &Site| {};
    let points: [&dyn Fn(&Site); 6] = [&nothing, &anchored, &created, &claimed, &claimed_in_both, &signed];
    for (point, stop) in points.iter().enumerate() {
        let site = Site::new();
        stop(&site);
        for _ in 0..2 {
            let log = site.open();
            let note = note::sign(&empty().format(), &[&signer()]).unwrap();
            assert_eq!(
                (log.snapshot().head().tree, &log.snapshot().head().note),
                (empty(), &note),
                "point {point}"
            );
            assert!(matches!(&*log.state(), State::Writing), "point {point}: {:?}", log.state());
        }
        let log = site.open();
        let before = (**log.snapshot().head()).clone();
        check_writes(&site, &log, &before).await;
    }
}

#[tokio::test]
async fn an_anchor_file_that_was_never_filled_is_no_anchor() {
    let site = Site::new();
    // A file that was made by hand, and an older program's database in which it had not written its row.
    std::fs::write(site.anchor(), "").unwrap();
    drop(site.open());
    let other = Site::new();
    old::write(&other.anchor(), None, None);
    assert_eq!(other.anchored(), None);
    let log = other.open();
    log.append(candidates(0..3)).await.unwrap();
    let before = (**log.snapshot().head()).clone();
    check_writes(&other, &log, &before).await;
}

#[tokio::test]
async fn a_commit_that_the_anchor_missed_is_rolled_forward() {
    let site = Site::new();
    let stale = site.root.path().join("stale.db");
    let log = site.open();
    for round in 0..4 {
        log.append(candidates(round * 300..round * 300 + 5)).await.unwrap();
    }
    copy(&site.anchor(), &stale);
    log.append(candidates(2_000..2_300)).await.unwrap();
    let before = (**log.snapshot().head()).clone();
    log.close();
    // As if the process had ended between the two: this anchor has the same epoch and the head before.
    copy(&stale, &site.anchor());
    assert_eq!(site.anchored().unwrap().tree.size, TreeSize(20));
    check_writes(&site, &site.open(), &before).await;
}

/// A start claims its epoch in the anchor first, and moves it before anything is appended: an anchor
/// that is behind by more is an old copy, and what was published after it was made nobody knows.
#[tokio::test]
async fn an_old_copy_of_the_anchor_is_read_only() {
    let old = |reason: &ReadOnly| matches!(reason, ReadOnly::AnchorOld { .. });
    let site = Site::new();
    let [two_heads, one_life] = ["heads", "life"].map(|name| site.root.path().join(name));
    let log = site.open();
    log.append(candidates(0..5)).await.unwrap();
    copy(&site.anchor(), &two_heads);
    log.append(candidates(5..6)).await.unwrap();
    copy(&site.anchor(), &one_life);
    log.append(candidates(6..9)).await.unwrap();
    log.close();
    let newest = site.root.path().join("newest");
    copy(&site.anchor(), &newest);
    copy(&two_heads, &site.anchor());
    let says = ["an old copy", "a head of 5 records", "to 9 records", "anchor settle", "nothing is signed"];
    check_reads_only(&site, &site.open(), old, &says).await;

    // One head behind, in the same life, is where a crash may leave it; in a later life it is old.
    copy(&newest, &site.anchor());
    let log = site.open();
    let before = (**log.snapshot().head()).clone();
    log.close();
    copy(&one_life, &site.anchor());
    check_reads_only(&site, &site.open(), old, &["an old copy"]).await;

    // What the advice says: the newest copy is put back, or the operator answers for the log.
    let aside = logs::settle(&site.data(), &site.anchor(), TreeSize(9), &clock()).unwrap().set_aside;
    assert!(aside.is_some_and(|aside| aside.exists()));
    check_writes(&site, &site.open(), &before).await;
}

#[tokio::test]
async fn stopped_after_the_anchor_and_before_the_answer() {
    let site = Site::new();
    let log = site.open();
    let receipt = log.append(candidates(0..20)).await.unwrap();
    let (copied, before) = (site.root.path().join("copy.db"), (**receipt.snapshot.head()).clone());
    copy(&site.database(), &copied);
    let anchor = site.root.path().join("anchor-copy.db");
    copy(&site.anchor(), &anchor);
    drop(log);
    // The files as they were while the process lived: nothing was closed in order.
    copy(&copied, &site.database());
    copy(&anchor, &site.anchor());
    let log = site.open();
    check_writes(&site, &log, &before).await;
    let again = log.append(candidates(0..20)).await.unwrap();
    let ids: Vec<_> = again.outcomes.iter().map(|outcome| format!("{outcome:?}")).collect();
    assert_eq!(ids[7], "Present(RecordId(7))", "who asks again is told the same number");
}

#[tokio::test]
async fn a_commit_whose_anchor_fails_is_not_published_until_the_next_start() {
    let site = Site::new();
    let log = site.open();
    log.append(candidates(0..20)).await.unwrap();
    let published = log.snapshot().head().clone();
    // Somebody else holds the anchor, for longer than anything waits.
    let stuck = std::fs::File::open(site.anchor()).unwrap();
    flock(&stuck, FlockOperation::NonBlockingLockExclusive).unwrap();
    let AppendError::ReadOnly(refused) = log.append(vec![candidate(20)]).await.err().unwrap();
    assert!(matches!(refused, ReadOnly::Stopped { .. }), "{refused}");
    assert_eq!(log.snapshot().head(), &published, "nobody sees a head that the anchor does not know");
    assert!(log.append(vec![candidate(21)]).await.is_err());
    drop((log, stuck));
    let log = site.open();
    let head = (**log.snapshot().head()).clone();
    assert_eq!(head.tree.size, TreeSize(21));
    assert_eq!(log.snapshot().record(RecordId(20)).unwrap().unwrap().lines, lines(20));
    check_writes(&site, &log, &head).await;
}

#[tokio::test]
async fn a_restored_backup_signs_nothing() {
    let site = Site::new();
    let [old, new] = ["old.db", "new.db"].map(|name| site.root.path().join(name));
    let log = site.open();
    log.append(candidates(0..300)).await.unwrap();
    let old_head = log.snapshot().head().clone();
    log.close();
    copy(&site.database(), &old);
    let log = site.open();
    log.append(candidates(300..310)).await.unwrap();
    let new_head = (**log.snapshot().head()).clone();
    log.close();
    copy(&site.database(), &new);

    copy(&old, &site.database());
    let log = site.open();
    assert_eq!(log.snapshot().head(), &old_head);
    let behind = |reason: &ReadOnly| matches!(reason, ReadOnly::Behind { .. });
    check_reads_only(&site, &log, behind, &["300", "310", "rolled back", "nothing is signed"]).await;
    drop(log);

    copy(&new, &site.database());
    check_writes(&site, &site.open(), &new_head).await;
}

#[tokio::test]
async fn a_database_that_was_lost_is_behind_too() {
    let site = Site::new();
    let log = site.open();
    log.append(candidates(0..5)).await.unwrap();
    log.close();
    std::fs::remove_dir_all(site.data()).unwrap();
    std::fs::create_dir(site.data()).unwrap();
    let log = site.open();
    let behind = |reason: &ReadOnly| matches!(reason, ReadOnly::Behind { .. });
    check_reads_only(&site, &log, behind, &["a head of 5 records was published"]).await;
}

#[tokio::test]
async fn a_fork_is_read_only() {
    // The same key, other records: once of the anchor's size, once beyond it.
    for size in [20, 21, 600] {
        let [real, fork] = [Site::new(), Site::new()];
        real.open().append(candidates(0..20)).await.unwrap();
        fork.open().append(candidates(1_000..1_000 + size)).await.unwrap();
        copy(&real.anchor(), &fork.anchor());
        let beside = |reason: &ReadOnly| matches!(reason, ReadOnly::Beside { .. });
        check_reads_only(
            &fork,
            &fork.open(),
            beside,
            &["at size 20", "fork of the real log", "nothing is signed"],
        )
        .await;
    }
}

#[tokio::test]
async fn a_log_with_records_and_no_anchor_is_read_only() {
    let site = Site::new();
    let log = site.open();
    log.append(candidates(0..5)).await.unwrap();
    let before = (**log.snapshot().head()).clone();
    log.close();
    let kept = site.root.path().join("kept.db");
    copy(&site.anchor(), &kept);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", site.anchor().display()));
    }
    for _ in 0..2 {
        let missing = |reason: &ReadOnly| matches!(reason, ReadOnly::AnchorMissing { size: 5, .. });
        let path = site.anchor().display().to_string();
        check_reads_only(
            &site,
            &site.open(),
            missing,
            &[&path, "no anchor", "may be an old backup", "Put the newest copy of the anchor back"],
        )
        .await;
        assert!(!site.anchor().exists(), "looking does not make one");
    }
    copy(&kept, &site.anchor());
    check_writes(&site, &site.open(), &before).await;
}

/// The anchor is made before the log, so that an empty log without one may be an old copy as any other.
#[tokio::test]
async fn an_empty_log_without_anchor_is_read_only() {
    let site = Site::new();
    site.open().close();
    std::fs::remove_file(site.anchor()).unwrap();
    let missing = |reason: &ReadOnly| matches!(reason, ReadOnly::AnchorMissing { size: 0, .. });
    check_reads_only(&site, &site.open(), missing, &["anchor settle --size 0"]).await;
    logs::settle(&site.data(), &site.anchor(), TreeSize(0), &clock()).unwrap();
    let log = site.open();
    let before = (**log.snapshot().head()).clone();
    check_writes(&site, &log, &before).await;
}

#[tokio::test]
async fn the_anchor_of_another_log_is_refused() {
    let site = Site::new();
    let log = site.open();
    log.append(candidates(0..5)).await.unwrap();
    log.close();
    std::fs::remove_file(site.anchor()).unwrap();
    let other =
        SignerKey::generate("sum.other.example".parse::<KeyName>().unwrap(), [9; 32]).verifier().to_string();
    let anchored = Anchored { vkey: other.clone(), ..anchored_at(3, empty()) };
    drop(FileAnchor::at(site.anchor()).create(&anchored, start_time()).unwrap());
    let foreign = |reason: &ReadOnly| matches!(reason, ReadOnly::AnchorForeign { .. });
    check_reads_only(&site, &site.open(), foreign, &[&other, "set `anchor`"]).await;
}

#[tokio::test]
async fn an_anchor_that_cannot_be_read_is_no_reason_not_to_serve() {
    let garbage = |site: &Site| std::fs::write(site.anchor(), "no database at all ".repeat(2_000)).unwrap();
    let cut = |site: &Site| {
        let bytes = std::fs::read(site.anchor()).unwrap();
        std::fs::write(site.anchor(), &bytes[..bytes.len() / 2]).unwrap();
    };
    let newer = |site: &Site| {
        let mut bytes = std::fs::read(site.anchor()).unwrap();
        bytes.chunks_mut(4096).for_each(|page| page[18] = b'2');
        std::fs::write(site.anchor(), bytes).unwrap();
    };
    let newer_old = |site: &Site| {
        std::fs::remove_file(site.anchor()).unwrap();
        old::write(&site.anchor(), None, None);
        Connection::open(site.anchor()).unwrap().pragma_update(None, "user_version", 9).unwrap();
    };
    let a_log = |site: &Site| copy(&site.database(), &site.anchor());
    let spoilers: [&dyn Fn(&Site); 5] = [&garbage, &cut, &newer, &newer_old, &a_log];
    for spoil in spoilers {
        let site = Site::new();
        let log = site.open();
        log.append(candidates(0..5)).await.unwrap();
        log.close();
        spoil(&site);
        let unreadable = |reason: &ReadOnly| {
            matches!(reason, ReadOnly::AnchorUnreadable { .. } | ReadOnly::AnchorRefused { .. })
        };
        let path = site.anchor().display().to_string();
        check_reads_only(&site, &site.open(), unreadable, &[&path, "the anchor at", "so nothing is signed"])
            .await;
    }
}

/// A live directory, and a copy of it that shares its anchor.
async fn clones() -> (Site, Log, PathBuf, Log) {
    let site = Site::new();
    let original = site.open();
    original.append(candidates(0..20)).await.unwrap();
    let directory = site.root.path().join("clone");
    std::fs::create_dir(&directory).unwrap();
    copy(&site.database(), &directory.join("log.db"));
    let clone = open_log_with(&directory, &site.anchor(), vec![signer()]).unwrap();
    assert!(matches!(&*clone.state(), State::Writing));
    (site, original, directory, clone)
}

#[tokio::test]
async fn of_a_clone_and_its_original_the_older_epoch_loses() {
    let (site, original, _, clone) = clones().await;
    clone.append(vec![candidate(100)]).await.unwrap();
    let published = original.snapshot().head().clone();
    let AppendError::ReadOnly(refused) = original.append(vec![candidate(200)]).await.err().unwrap();
    assert!(matches!(&refused, ReadOnly::Deposed { why } if why.contains("anchor")), "{refused}");
    assert_eq!(original.snapshot().head(), &published, "the original publishes nothing any more");
    clone.append(vec![candidate(101)]).await.unwrap();
    assert_eq!(site.anchored().unwrap().tree, clone.snapshot().head().tree);
    // What the original committed and never published is a fork, and stays one.
    drop(original);
    let beside = |reason: &ReadOnly| matches!(reason, ReadOnly::Beside { .. } | ReadOnly::Behind { .. });
    check_reads_only(&site, &site.open(), beside, &["leave the anchor as it is"]).await;
    clone.append(vec![candidate(102)]).await.unwrap();
}

#[tokio::test]
async fn an_original_that_comes_back_first_stops_its_clone() {
    let (site, original, directory, clone) = clones().await;
    // The clone has the epoch and has published nothing: the original fails once, and wins when it is started again.
    assert!(original.append(vec![candidate(200)]).await.is_err());
    drop(original);
    let original = site.open();
    assert!(matches!(&*original.state(), State::Writing), "{:?}", original.state());
    assert_eq!(original.snapshot().size(), TreeSize(21));
    assert!(clone.append(vec![candidate(100)]).await.is_err());
    assert_eq!(clone.snapshot().size(), TreeSize(20));
    original.append(vec![candidate(201)]).await.unwrap();
    assert_eq!(site.anchored().unwrap().tree, original.snapshot().head().tree);
    drop(clone);
    let clone = open_log_with(&directory, &site.anchor(), vec![signer()]).unwrap();
    assert!(matches!(&*clone.state(), State::ReadOnly(ReadOnly::Behind { .. } | ReadOnly::Beside { .. })));
}
