//! A lost anchor is settled by an operator, a contradicting one never.

use crate::support::logs;
use tallystick::clock::Clock;
use tallystick::log::{ReadOnly, SettleError, Settled, State};
use tallystick::store::anchor::{Anchor as _, FileAnchor};
use tallystick::tlog::{Hash, TreeHead, TreeSize};

use super::{Site, anchored_at, candidates, check_writes, start_time};
use crate::damage::rows::spoil;
use crate::support::logs::candidate;

/// A log of so many records that was closed, and the head that it published last.
async fn closed(site: &Site, records: u64) -> TreeHead {
    let log = site.open();
    log.append(candidates(0..records)).await.unwrap();
    let tree = log.snapshot().head().tree;
    log.close();
    tree
}

fn settle(site: &Site, size: u64) -> Result<Settled, SettleError> {
    logs::settle(&site.data(), &site.anchor(), TreeSize(size), &Clock::system())
}

fn lose_anchor(site: &Site) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", site.anchor().display()));
    }
}

#[tokio::test]
async fn a_missing_anchor_is_made_again_at_the_size_that_the_operator_names() {
    let site = Site::new();
    let tree = closed(&site, 300).await;
    let epoch = site.anchored().unwrap().epoch;
    lose_anchor(&site);
    let state = site.open().state();
    let State::ReadOnly(reason @ ReadOnly::AnchorMissing { .. }) = &*state else { panic!("{state:?}") };
    assert!(reason.to_string().contains("tallystick anchor settle"), "{reason}");

    for wrong in [0, 299, 301] {
        let refused = settle(&site, wrong).unwrap_err();
        assert!(matches!(refused, SettleError::OtherSize { found: TreeSize(300), .. }), "{refused:?}");
        assert!(site.anchored().is_none(), "nothing was made");
    }
    assert_eq!(settle(&site, 300).unwrap(), Settled { tree, set_aside: None });
    let log = site.open();
    assert!(site.anchored().unwrap().epoch > epoch, "an older writer has lost its right");
    let head = log.snapshot().head().clone();
    check_writes(&site, &log, &head).await;
}

#[tokio::test]
async fn an_unreadable_anchor_is_put_aside() {
    let site = Site::new();
    let tree = closed(&site, 3).await;
    lose_anchor(&site);
    std::fs::write(
        site.anchor(),
        "no database, and longer than the header of one, which has a hundred bytes".repeat(3),
    )
    .unwrap();
    let state = site.open().state();
    assert!(matches!(&*state, State::ReadOnly(ReadOnly::AnchorUnreadable { .. })), "{state:?}");
    let settled = settle(&site, 3).unwrap();
    assert_eq!(settled.tree, tree);
    let aside = settled.set_aside.unwrap();
    assert!(std::fs::read_to_string(&aside).unwrap().starts_with("no database"), "{aside:?}");
    let log = site.open();
    let head = log.snapshot().head().clone();
    check_writes(&site, &log, &head).await;
}

/// What a damaged anchor still shows was published: no log without it is settled over it.
#[tokio::test]
async fn what_a_damaged_anchor_still_shows_counts() {
    let site = Site::new();
    let old = site.root.path().join("old.db");
    closed(&site, 3).await;
    super::copy(&site.database(), &old);
    let tree = closed(&site, 9).await;
    let mut bytes = std::fs::read(site.anchor()).unwrap();
    // Both copies of one slot, so that nobody knows whether it held more.
    bytes[8192..].fill(0xff);
    std::fs::write(site.anchor(), bytes).unwrap();
    super::copy(&site.database(), &site.root.path().join("newest.db"));
    super::copy(&old, &site.database());
    let state = site.open().state();
    assert!(matches!(&*state, State::ReadOnly(ReadOnly::AnchorUnreadable { .. })), "{state:?}");
    let refused = settle(&site, 3).unwrap_err();
    assert!(matches!(&refused, SettleError::Contradicted { .. }), "{refused:?}");
    super::copy(&site.root.path().join("newest.db"), &site.database());
    assert_eq!(settle(&site, 9).unwrap().tree, tree);
    let log = site.open();
    let head = log.snapshot().head().clone();
    check_writes(&site, &log, &head).await;
}

#[tokio::test]
async fn an_anchor_that_can_be_read_is_right() {
    let site = Site::new();
    let tree = closed(&site, 5).await;
    let ahead = TreeHead { size: TreeSize(6), root: Hash::of_record(b"more\n") };
    let beside = TreeHead { size: TreeSize(5), root: Hash::of_record(b"other\n") };
    for anchored in [tree, ahead, beside] {
        lose_anchor(&site);
        let anchored = anchored_at(9, anchored);
        drop(FileAnchor::at(site.anchor()).create(&anchored, start_time()).unwrap());
        let refused = settle(&site, 5).unwrap_err();
        assert!(matches!(&refused, SettleError::Readable { .. }), "{refused:?}");
        assert_eq!(site.anchored(), Some(anchored), "it is left alone");
    }
}

/// What is written into a file that has no name any more is lost with the process.
#[tokio::test]
async fn an_anchor_or_a_log_that_is_taken_away_ends_the_signing() {
    for taken in ["anchor", "log"] {
        let site = Site::new();
        let log = site.open();
        log.append(candidates(0..3)).await.unwrap();
        let before = log.snapshot().head().clone();
        let path = if taken == "anchor" { site.anchor() } else { site.database() };
        std::fs::rename(&path, path.with_extension("moved")).unwrap();
        let refused = log.append(vec![candidate(3)]).await.err().unwrap();
        assert!(refused.to_string().contains("taken away or replaced"), "{taken}: {refused}");
        assert!(matches!(&*log.state(), State::ReadOnly(ReadOnly::Stopped { .. })), "{taken}");
        assert_eq!(log.snapshot().head(), &before, "{taken}: nothing was published");
    }
}

#[tokio::test]
async fn what_cannot_be_trusted_gets_no_anchor() {
    let site = Site::new();
    closed(&site, 5).await;
    let log = site.open();
    lose_anchor(&site);
    let locked = settle(&site, 5).unwrap_err();
    assert!(locked.to_string().contains("in use by another"), "{locked}");
    log.close();
    spoil(&site.database(), "tail", "body", "record_id = 2", |body| body[40] ^= 1);
    lose_anchor(&site);
    let refused = settle(&site, 5).unwrap_err();
    assert!(refused.to_string().contains("tail 2"), "{refused}");
    assert!(site.anchored().is_none());
    let log = site.open();
    assert!(log.append(vec![candidate(9)]).await.is_err());
}
