//! A damaged page hides the newest row of a mirror: the log is not held to an older head then.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tallystick::mirror::{ReplicateOptions, replicate};
use tallystick::store::StoreError;
use tallystick::store::replica::{Replica, look};
use tallystick::tlog::TreeSize;

use super::small_log::{NAME, SmallLog, answer};
use super::*;
use crate::support::raw::behind_triggers;

/// A client of a log that grows from 300 to 520 records, and what it knows then.
async fn followed(log: &SmallLog, replica: Option<&Replica>) -> Client {
    let (served, size) = (log.clone(), Arc::new(AtomicU64::new(0)));
    let shown = size.clone();
    let server = HostileServer::start(move |path| {
        let size = shown.load(SeqCst);
        answer(served.answer(path, size, |_| size))
    });
    let client = Client::new(NAME, &log.vkey());
    for now in [300, 520] {
        size.store(now, SeqCst);
        let remote = client.open(&[server.url()]);
        let head = remote.advance(ample()).await.unwrap();
        assert_eq!(head.tree, log.head(now));
        if let Some(replica) = replica {
            let options = ReplicateOptions { tries: 1, ..ReplicateOptions::default() };
            replicate(&remote, replica, &head, options, |_| ()).await.unwrap();
        }
    }
    client
}

fn change(database: &Path, sql: &str) {
    behind_triggers(database, |raw| raw.execute_batch(sql).unwrap());
}

fn assert_differs(opened: Result<(), String>, named: &str, sql: &str) {
    let why = opened.expect_err(sql);
    assert!(why.contains("its two copies differ") && why.contains(named), "{sql}: {why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newest_head_that_is_lost_is_damage_and_not_an_older_head() {
    let log = SmallLog::new(600);
    let upstream = log.serve();
    for sql in [
        "DELETE FROM head WHERE size = 520",
        "DELETE FROM head",
        "DELETE FROM newest_head",
        "UPDATE newest_head
         SET (size, root, note) = (SELECT size, root, note FROM head WHERE size = 300)",
        "UPDATE newest_head SET note = note || 'x'",
    ] {
        let client = followed(&log, None).await;
        let running = client.open(&[upstream.url()]);
        change(&client.database(), sql);
        // What is known in memory stays, and nothing is written beside it.
        let refused = running.advance(ample()).await.map(drop);
        assert_differs(refused.map_err(|error| error.to_string()), "the newest head", sql);
        assert_eq!(running.newest().unwrap().tree, log.head(520), "{sql}");
        drop(running);
        let opened = RemoteLog::open(client.options(client.transport(&[upstream.url()]))).map(drop);
        assert_differs(opened.map_err(|error| error.to_string()), "remote.db", sql);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_is_lost_is_damage_and_not_trust() {
    let log = SmallLog::new(600);
    let fork = log.fork(100, 600).serve();
    for sql in [
        "DELETE FROM incident",
        "DELETE FROM incident_copy",
        "INSERT INTO resumption (incident, resumed_at) VALUES (1, 0)",
        "INSERT INTO resumption_copy (incident, resumed_at) VALUES (1, 0)",
    ] {
        let client = followed(&log, None).await;
        let remote = client.open(&[fork.url()]);
        remote.advance(ample()).await.unwrap_err();
        assert!(remote.is_stopped().is_some(), "the log has lied");
        drop(remote);
        assert!(client.open_offline().is_stopped().is_some());
        change(&client.database(), sql);
        let opened = RemoteLog::open(client.options(client.transport(&[fork.url()]))).map(drop);
        assert_differs(opened.map_err(|error| error.to_string()), "remote.db", sql);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_mirror_that_looks_shorter_is_damage() {
    let log = SmallLog::new(600);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("full.db");
    let open = || Replica::open(&path, NAME, &log.vkey(), 1024, Clock::system().now());
    let replica = open().unwrap();
    followed(&log, Some(&replica)).await;
    replica.settle().unwrap();
    drop(replica);
    let good = std::fs::read(&path).unwrap();
    let sizes = || look(&path).unwrap().map(|extent| (extent.size, extent.head));
    assert_eq!(sizes(), Some((TreeSize(520), Some(TreeSize(520)))));
    for sql in [
        "DELETE FROM head WHERE size = 520",
        "DELETE FROM newest_head",
        "DELETE FROM edge",
        "DELETE FROM edge_copy",
        "UPDATE edge SET size = 300",
        "UPDATE edge SET segments_end = 0",
        "UPDATE edge_copy SET size = 300",
    ] {
        change(&path, sql);
        let opened = open().map(drop).map_err(|error| error.to_string());
        assert_differs(opened, "full.db", sql);
        assert!(matches!(look(&path), Err(StoreError::Damaged { .. })), "{sql}");
        for side in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{side}", path.display()));
        }
        std::fs::write(&path, &good).unwrap();
    }
    assert_eq!(open().unwrap().reader().size(), TreeSize(520));
}

/// A mirror of an older program is looked at as it is, beside the older server that writes it.
#[test]
fn a_mirror_that_is_kept_once_is_looked_at_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data-of-2026-11/data/mirror");
    for end in ["", "-wal"] {
        let name = format!("full.example.full.db{end}");
        std::fs::copy(fixture.join(&name), directory.path().join(&name)).unwrap();
    }
    let extent = look(&directory.path().join("full.example.full.db")).unwrap().unwrap();
    assert!(extent.size.0 > 0 && extent.head == Some(extent.size), "{extent:?}");
}
