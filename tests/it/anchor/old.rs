//! Anchors of the programs before this format: SQLite databases, whose newest row lies in a `-wal` after a crash.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use tallystick::log::{ReadOnly, State};
use tallystick::store::StoreError;
use tallystick::store::anchor::{Anchor as _, Anchored, FileAnchor};

use super::{Site, check_writes, copy};
use crate::support::logs::{candidates, start_time};

const LAYOUT: &str = include_str!("../../../migrations/sqlite/anchor_0001.sql");

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// Makes an anchor as such a program leaves it when it is killed: `folded` is in the database itself, `newest` only in
/// the `-wal` beside it.
pub(crate) fn write(path: &Path, folded: Option<&Anchored>, newest: Option<&Anchored>) {
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("anchor.db");
    let db = Connection::open(&made).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    db.execute_batch(&format!(
        "BEGIN; {LAYOUT}; PRAGMA application_id = {}; PRAGMA user_version = 1; COMMIT;",
        0x616e_6368
    ))
    .unwrap();
    let row = |anchored: &Anchored| {
        let Anchored { vkey, epoch, tree, .. } = anchored.clone();
        (vkey, epoch as i64, tree.size.0 as i64, *tree.root.as_bytes(), start_time().as_microsecond())
    };
    if let Some(folded) = folded {
        let (vkey, epoch, size, root, at) = row(folded);
        db.execute("INSERT INTO anchor VALUES (1, ?, ?, ?, ?, ?)", params![vkey, epoch, size, root, at])
            .unwrap();
    }
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    if let Some(newest) = newest {
        let (_, epoch, size, root, at) = row(newest);
        db.execute(
            "UPDATE anchor SET epoch = ?, size = ?, root = ?, updated_at = ?",
            params![epoch, size, root, at],
        )
        .unwrap();
    }
    copy(&made, path);
}

/// A log whose anchor is in the old format, with its newest head in the `-wal`.
async fn upgraded(site: &Site) -> (Anchored, Anchored) {
    let log = site.open();
    log.append(candidates(0..3)).await.unwrap();
    let folded = site.anchored().unwrap();
    log.append(candidates(3..5)).await.unwrap();
    log.append(candidates(5..6)).await.unwrap();
    log.close();
    let newest = site.anchored().unwrap();
    write(&site.anchor(), Some(&folded), Some(&newest));
    (folded, newest)
}

#[tokio::test]
async fn an_old_anchor_is_converted_with_its_wal() {
    let site = Site::new();
    let (_, newest) = upgraded(&site).await;
    assert!(std::fs::metadata(beside(&site.anchor(), "-wal")).unwrap().len() > 0);
    assert_eq!(site.anchored().as_ref(), Some(&newest), "whoever only looks sees the whole of it");
    let before = (**site.open().snapshot().head()).clone();
    assert!(std::fs::read(site.anchor()).unwrap().starts_with(b"tallystick anchor 1\n"));
    for suffix in ["-wal", "-shm"] {
        assert!(!beside(&site.anchor(), suffix).exists(), "{suffix} is gone");
    }
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(site.anchor()).unwrap().permissions().mode() & 0o777, 0o600);
    check_writes(&site, &site.open(), &before).await;
    // The program before refuses it: for SQLite it is no database.
    let refused =
        Connection::open(site.anchor()).unwrap().execute_batch("SELECT count(*) FROM sqlite_schema");
    assert!(refused.unwrap_err().to_string().contains("not a database"));
}

/// Without its `-wal` it is an old copy, and found out as one: by its heads, or by its epoch.
#[tokio::test]
async fn an_old_anchor_without_its_wal_signs_nothing() {
    let site = Site::new();
    upgraded(&site).await;
    std::fs::remove_file(beside(&site.anchor(), "-wal")).unwrap();
    let state = site.open().state();
    assert!(matches!(&*state, State::ReadOnly(ReadOnly::AnchorOld { .. })), "{state:?}");
}

#[test]
fn an_old_anchor_that_a_server_holds_is_not_converted() {
    let site = Site::new();
    let anchored = super::anchored_at(1, super::empty());
    write(&site.anchor(), Some(&anchored), None);
    let held = Connection::open(site.anchor()).unwrap();
    let epoch: i64 = held.query_row("SELECT epoch FROM anchor", [], |row| row.get(0)).unwrap();
    assert_eq!(epoch, 1);
    let refused = FileAnchor::at(site.anchor()).open().map(|_| "converted").unwrap_err();
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused:?}");
    assert_eq!(FileAnchor::at(site.anchor()).read().unwrap(), Some(anchored.clone()), "to look is allowed");
    drop(held);
    assert_eq!(FileAnchor::at(site.anchor()).open().unwrap().unwrap().1, anchored);
}

/// A conversion stops between any two of its steps: what is there then is converted again, or is done.
#[tokio::test]
async fn a_conversion_may_stop_anywhere() {
    let site = Site::new();
    let (_, newest) = upgraded(&site).await;
    // Folded, and still a database: as after a clean end, and as between the two formats.
    let db = Connection::open(site.anchor()).unwrap();
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete");
    drop(db);
    let folded = std::fs::read(site.anchor()).unwrap();
    for leftover in [false, true] {
        std::fs::write(site.anchor(), &folded).unwrap();
        if leftover {
            std::fs::write(site.anchor().with_file_name(".tmpAb12cd"), "half of a file").unwrap();
        }
        assert_eq!(FileAnchor::at(site.anchor()).open().unwrap().unwrap().1, newest);
    }
    let before = (**site.open().snapshot().head()).clone();
    check_writes(&site, &site.open(), &before).await;
}

#[test]
fn a_link_to_an_old_anchor_stays_a_link() {
    let site = Site::new();
    let anchored = super::anchored_at(1, super::empty());
    let real = site.root.path().join("real.db");
    write(&real, Some(&anchored), None);
    std::os::unix::fs::symlink(&real, site.anchor()).unwrap();
    assert_eq!(FileAnchor::at(site.anchor()).open().unwrap().unwrap().1, anchored);
    assert!(site.anchor().is_symlink());
    assert!(std::fs::read(&real).unwrap().starts_with(b"tallystick anchor 1\n"));
}
