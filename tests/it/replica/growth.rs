//! Logs that grow, from sizes and to sizes that are not multiples of anything.

use super::*;
use crate::support::hostile::{Behaviour, HostileServer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_go_wrote_is_mirrored_to_the_byte() {
    let Some((peer, _directory, mirror)) = setup("a_directory_that_go_wrote_is_mirrored_to_the_byte") else {
        return;
    };
    let done = mirror.sync(&[peer.url()]).await.unwrap();
    assert_eq!((done.from.0, done.progress.size.0), (0, peer::SIZE));
    assert_eq!((done.progress.requests, done.progress.retries), (peer::SIZE.div_ceil(256), 0));
    let replica = mirror.replica();
    assert!(replica.is_trained());
    peer.assert_mirrored(&replica.reader(), peer::SIZE, 3);
    replica.settle().unwrap();
    peer.assert_mirrored(&replica.reader(), peer::SIZE, 11);
    drop(replica);
    let again = mirror.sync(&[peer.url()]).await.unwrap();
    assert_eq!((again.from.0, again.progress.requests), (peer::SIZE, 0), "nothing is fetched twice");
    peer.assert_mirrored(&mirror.replica().reader(), peer::SIZE, 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_growing_log_is_followed_and_nothing_is_fetched_twice_but_the_partial_tile() {
    let Some((peer, _directory, mirror)) = setup("a_growing_log_is_followed") else { return };
    let mut before = 0;
    for size in [1, 2, 255, 256, 257, 600, 4_000, 8_000, 20_000, 65_536, 65_537, 128_000, peer::SIZE] {
        let server = peer.serve_honestly(size);
        let done = mirror.sync(&[server.url()]).await.unwrap();
        assert_eq!((done.from.0, done.progress.size.0), (before, size));
        let mut asked: Vec<String> =
            server.paths().into_iter().filter(|path| path.contains("/data/")).collect();
        asked.sort();
        asked.dedup();
        let tiles = size.div_ceil(256) - before / 256;
        assert_eq!((asked.len() as u64, done.progress.requests), (tiles, tiles), "{before} to {size}");
        peer.assert_mirrored(&mirror.replica().reader(), size, 53);
        before = size;
    }
    let replica = mirror.replica();
    assert!(replica.is_trained(), "a log that was small once has a dictionary by now");
    let heads = replica.reader().heads(tallystick::tlog::TreeSize(u64::MAX), 100).unwrap();
    assert_eq!(heads.len(), 13);
    peer.assert_records(&replica.reader(), peer::SIZE, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partial_tile_that_is_gone_is_cut_out_of_the_full_one() {
    let Some((peer, _directory, mirror)) = setup("a_partial_tile_that_is_gone") else { return };
    // The source has grown since it signed this head, and keeps only the newest partial tiles.
    let server = HostileServer::start(move |path| match path {
        "/latest" => Behaviour::ok(peer.head(4_000)),
        _ => match tallystick::tlog::Tile::parse(path.trim_start_matches('/')) {
            Ok(tile) if !tile.is_partial() => {
                peer.tile(&tile).map_or_else(Behaviour::not_found, Behaviour::ok)
            }
            Ok(tile) if tile.parent(0, tallystick::tlog::TreeSize(peer::SIZE)) == Some(tile) => {
                Behaviour::ok(peer.tile(&tile).unwrap())
            }
            _ => Behaviour::not_found(),
        },
    });
    // Level 1 is partial in both trees, so that one must be there.
    let both = peer.serve(4_000, |path, body| {
        if path.contains("/8/1/") || path == "/latest" { Behaviour::ok(body) } else { Behaviour::not_found() }
    });
    mirror.sync(&[server.url(), both.url()]).await.unwrap();
    peer.assert_mirrored(&mirror.replica().reader(), 4_000, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_is_behind_its_own_file_finds_that_out_and_goes_on() {
    let Some((peer, _directory, mirror)) = setup("a_mirror_that_is_behind_its_own_file") else { return };
    let stale = mirror.replica();
    for (there, size) in [(4_000, 72_000), (76_000, 80_000)] {
        // What is in the file is not what `stale` has in memory: as after a commit that was reported as failed and stands.
        // There is one writer; here the lock is taken away under it.
        std::fs::remove_file(mirror.database().with_extension("lock")).unwrap();
        mirror.sync(&[peer.serve_honestly(there).url()]).await.unwrap();
        let server = peer.serve_honestly(size);
        let log = mirror.log(&[server.url()]);
        match sync(&log, &stale).await {
            Err(RecordsError::Store(tallystick::store::StoreError::Conflict { .. })) => {}
            other => panic!("expected a conflict, got {other:?}"),
        }
        let done = sync(&log, &stale).await.unwrap();
        assert_eq!((done.from.0, done.progress.size.0), (there, size));
        peer.assert_mirrored(&stale.reader(), size, 53);
    }
}
