//! Sources that lie: no byte of theirs is stored, each is named, and an honest one beside them is enough.

use super::*;
use crate::support::hostile::{Behaviour, HostileServer};

const SIZE: u64 = 4_000;
const VICTIM: &str = "/tile/8/data/003";
const EDGE: &str = "/tile/8/data/015.p/160";

/// Makes a lie of what an honest source would send.
type Lie = fn(&Peer, Vec<u8>) -> Vec<u8>;

/// What a liar sends instead of a data tile, and a word of the reason for which it is refused.
const LIES: [(&str, Lie, &str); 10] = [
    (
        "a flipped bit",
        |_, mut body| {
            body[700] ^= 1;
            body
        },
        "",
    ),
    ("half of it", |_, body| body[..body.len() / 2].to_vec(), ""),
    ("nothing", |_, _| Vec::new(), "records"),
    ("an error page", |_, _| b"<html>\n<body>Bad Gateway</body>\n</html>\n".to_vec(), "records"),
    ("another tile", |peer, _| peer.answer("/tile/8/data/005", SIZE).unwrap(), "root"),
    (
        "records in another order",
        |_, body| {
            let text = String::from_utf8(body).unwrap();
            let mut records: Vec<&str> = text.trim_end().split("\n\n").collect();
            records.swap(3, 4);
            format!("{}\n\n", records.join("\n\n")).into_bytes()
        },
        "",
    ),
    (
        "a record less",
        |_, body| {
            let text = String::from_utf8(body).unwrap();
            let records: Vec<&str> = text.trim_end().split("\n\n").collect();
            format!("{}\n\n", records[1..].join("\n\n")).into_bytes()
        },
        "records",
    ),
    (
        "a record more",
        |_, mut body| {
            body.extend(b"one more\n\n");
            body
        },
        "records",
    ),
    (
        "another blank line",
        |_, mut body| {
            body.push(b'\n');
            body
        },
        "blank line",
    ),
    (
        "a carriage return",
        |_, body| String::from_utf8(body).unwrap().replacen('\n', "\r\n", 1).into_bytes(),
        "control character",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lie_is_stored_and_an_honest_source_is_enough() {
    let Some((peer, _directory, _)) = setup("no_lie_is_stored") else { return };
    for victim in [VICTIM, EDGE] {
        for (name, lie, word) in LIES {
            let directory = tempfile::tempdir().unwrap();
            let mirror = Mirror::new(directory.path(), &peer.vkey);
            let liar = peer.serve(SIZE, move |path, body| {
                Behaviour::ok(if path == victim { lie(peer, body) } else { body })
            });
            let refused = unproven(mirror.sync(&[liar.url()]).await);
            let named = refused.contains(&format!("{}{victim}", liar.url()));
            // Another tile at the edge has more records than were asked for before it has another root.
            let said = refused.contains(word) || victim == EDGE;
            assert!(named && said, "{name}: {refused}");
            assert_eq!(mirror.replica().reader().size().0, 0, "{name}");

            let honest = peer.serve_honestly(SIZE);
            let log = mirror.log(&[liar.url(), honest.url()]);
            sync(&log, &mirror.replica()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            peer.assert_mirrored(&mirror.replica().reader(), SIZE, 1001);
            let health = log.transport().health();
            assert_eq!((health[0].1.lies, health[1].1.lies), (1, 0), "{name}: who lied is marked");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_hash_tiles_are_refused() {
    let Some((peer, _directory, mirror)) = setup("wrong_hash_tiles_are_refused") else { return };
    for victim in ["/tile/8/1/000", "/tile/8/1/001", "/tile/8/2/000.p/2"] {
        let liar = peer.serve(peer::SIZE, move |path, mut body| {
            if path == victim {
                body[33] ^= 0x80;
            }
            Behaviour::ok(body)
        });
        let refused = unproven(mirror.sync(&[liar.url()]).await);
        assert!(refused.contains(&liar.url()), "{victim}: {refused}");
        assert!(mirror.replica().reader().head().is_none());
    }
    // The first window was verified before the second was found wanting.
    assert!([0, 65_536].contains(&mirror.replica().reader().size().0));
    mirror.sync(&[peer.url()]).await.unwrap();
    peer.assert_mirrored(&mirror.replica().reader(), peer::SIZE, 1001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_blank_line_may_be_missing_and_nothing_else_is_different() {
    let Some((peer, _directory, mirror)) = setup("the_last_blank_line_may_be_missing") else { return };
    let server = peer.serve(SIZE, |path, mut body| {
        if path.contains("/data/") {
            assert_eq!(body.pop(), Some(b'\n'));
        }
        Behaviour::ok(body)
    });
    mirror.sync(&[server.url()]).await.unwrap();
    peer.assert_mirrored(&mirror.replica().reader(), SIZE, 17);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_without_data_tiles_is_named() {
    let Some((peer, _directory, mirror)) = setup("a_route_without_data_tiles_is_named") else { return };
    for refusal in [Behaviour::not_found(), Behaviour::error(403, "not here")] {
        let server = HostileServer::start(move |path| match peer.answer(path, SIZE) {
            Some(body) if !path.contains("/data/") => Behaviour::ok(body),
            _ => refusal.clone(),
        });
        let refused = mirror.sync(&[server.url()]).await;
        let Err(RecordsError::NoDataTiles { path, said, .. }) = &refused else { panic!("{refused:?}") };
        assert!(path.starts_with("tile/8/data/") && said.contains(&server.url()), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_pass_is_asked_again() {
    let Some((peer, _directory, mirror)) = setup("what_may_pass_is_asked_again") else { return };
    let failures = std::sync::Mutex::new(vec![
        Behaviour::error(503, "busy"),
        Behaviour::Truncated { claimed: 50_000, body: b"a".to_vec() },
    ]);
    let server = peer.serve(SIZE, move |path, body| {
        let failure = (path == VICTIM).then(|| failures.lock().unwrap().pop()).flatten();
        failure.unwrap_or(Behaviour::ok(body))
    });
    let done = mirror.sync(&[server.url()]).await.unwrap();
    assert_eq!(done.progress.retries, 2);
    peer.assert_mirrored(&mirror.replica().reader(), SIZE, 1001);
    let down = HostileServer::start(move |path| match peer.answer(path, 8_000) {
        Some(body) if !path.contains("/data/") => Behaviour::ok(body),
        _ => Behaviour::error(503, "busy"),
    });
    let failed = mirror.sync(&[down.url()]).await;
    let unavailable = matches!(failed, Err(RecordsError::Remote(RemoteError::Unavailable { .. })));
    assert!(unavailable, "{failed:?}");
    assert_eq!(mirror.replica().reader().size().0, SIZE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_is_caught_even_when_the_heads_were_forgotten() {
    let Some((peer, _directory, mirror)) = setup("a_fork_is_caught") else { return };
    mirror.sync(&[peer.serve_honestly(SIZE).url()]).await.unwrap();
    // The same log signs another tree of the same size, and what remembers heads is lost.
    let root = tallystick::tlog::Hash::of_record(b"another history\n");
    let tree = tallystick::tlog::TreeHead { size: tallystick::tlog::TreeSize(SIZE), root };
    let forked = tallystick::note::sign(&tree.format(), &[&peer.signer()]).unwrap();
    for file in ["remote.db", "remote.db-wal", "remote.db-shm"] {
        let _ = std::fs::remove_file(mirror.directory.join(file));
    }
    let server = peer.serve(SIZE, move |path, body| {
        Behaviour::ok(if path == "/latest" { forked.clone().into_bytes() } else { body })
    });
    let caught = mirror.sync(&[server.url()]).await;
    let Err(RecordsError::Remote(RemoteError::Misbehavior(evidence))) = &caught else { panic!("{caught:?}") };
    assert_eq!(evidence.verify(&peer.vkey.parse().unwrap()), Ok(()));
    peer.assert_mirrored(&mirror.replica().reader(), SIZE, 1001);
}
