//! What others get from a mirror, `/sumdb/<name>/…` of `tallystick serve`, whatever its upstream does: it is honest, grows,
//! lies, forks, goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use tallystick::mirror::Misbehavior;
use tallystick::tlog::{TreeSize, new_tiles};

use super::small_log::{NAME, SmallLog, answer, nth};
use super::*;
use crate::client::oracle::{self, Judged};
use crate::support::poll;
use crate::support::serve::{LogDirectory, Server};

/// Longer than anything takes here.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The server of these tests, as it is called by itself.
const OWN: &str = "sum.corp.example";

/// A configuration that has nothing to do with modules but one private path, and mirrors a log.
pub(super) fn sections(name: &str, vkey: &str, url: &str, more: &str) -> String {
    let sumdb = format!("[sumdb.\"{name}\"]\nkey = \"{vkey}\"\nurls = [\"{url}\"]\n{more}\n");
    let route = "[[route]]\nmodules = [\"corp.example\", \"team.example/secret/*\"]\nsource = [\"file:///nonexistent\"]\nchecksum = \"compute\"\n";
    sumdb + route
}

/// A server that mirrors the log at `url`.
pub(super) fn mirroring(log: &SmallLog, url: &str, more: &str) -> LogDirectory {
    mirroring_named(NAME, &log.vkey(), url, more)
}

/// The same, of a log that is not one of ours.
pub(super) fn mirroring_named(name: &str, vkey: &str, url: &str, more: &str) -> LogDirectory {
    LogDirectory::new(OWN, &sections(name, vkey, url, more))
}

/// The same directory, with another URL or mode.
pub(super) fn reconfigure(directory: &LogDirectory, log: &SmallLog, url: &str, more: &str) {
    directory.configure(OWN, &sections(NAME, &log.vkey(), url, more));
}

pub(super) fn get(server: &Server, rest: &str) -> (u16, Vec<u8>) {
    let page = server.get(&format!("/sumdb/{NAME}/{rest}"));
    (page.status, page.body)
}

pub(super) fn refusal(server: &Server, rest: &str) -> (u16, String) {
    let (status, body) = get(server, rest);
    (status, String::from_utf8(body).unwrap())
}

pub(super) fn lookup_of(n: u64) -> String {
    format!("lookup/{}", nth(n).escaped())
}

/// A server whose newest head has the size that the counter says.
pub(super) fn growing(log: &SmallLog, size: &Arc<AtomicU64>) -> HostileServer {
    let (log, size) = (log.clone(), size.clone());
    HostileServer::start(move |path| {
        let size = size.load(SeqCst);
        answer(log.answer(path, size, |_| size))
    })
}

#[test]
fn answers_are_the_logs_own_bytes() {
    let log = SmallLog::new(701);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), "");
    let server = directory.serve();
    assert_eq!(get(&server, "supported").0, 200);
    assert_eq!(get(&server, "latest"), (200, log.note(701).into_bytes()));
    for n in [0, 5, 255, 256, 511, 699, 0] {
        assert_eq!(get(&server, &lookup_of(n)), (200, log.lookup(n, 701)), "record {n}");
    }
    let mut tiles: Vec<String> =
        new_tiles(8, TreeSize(0), TreeSize(701)).iter().map(|tile| tile.path()).collect();
    tiles.extend(
        ["tile/8/0/000.p/7", "tile/8/0/002.p/1", "tile/8/0/002.p/188", "tile/8/1/000.p/1"].map(str::to_owned),
    );
    // The second time from what is kept.
    for tile in tiles.iter().chain(&tiles) {
        assert_eq!(get(&server, tile), (200, log.tile(tile, 701).unwrap()), "{tile}");
    }
    let asked = upstream.paths();
    let mut once = asked.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), asked.len(), "asked twice: {asked:#?}");
    let (status, text) = refusal(&server, "tile/8/data/000");
    assert!(status == 404 && text.starts_with(&format!("data tiles of {NAME} are not kept here")), "{text}");
    assert_eq!(get(&server, "tile/4/0/000").0, 404);
    assert_eq!(refusal(&server, "tile/8/0/0").1, "invalid tile syntax\n");
    assert_eq!(refusal(&server, "lookup/example.com/M@v1.0.0").0, 400);
    let (status, text) = refusal(&server, "lookup/example.com/m@v1.0.9999");
    assert!(
        status == 404 && text == format!("not found: {NAME} does not have example.com/m@v1.0.9999\n"),
        "{text}"
    );
    assert_eq!(server.get("/sumdb/sum.other.example/supported").status, 404);
    assert_eq!(server.get("/sumdb/sum.golang.org/supported").status, 404, "no route and no section names it");
    server.stop();
}

/// Its two lines are found among more, and all of them are answered.
#[test]
fn a_record_of_more_lines_is_answered_whole() {
    let mut log = SmallLog::new(300);
    let more = log.text(7).replace("v1.0.7", "v1.0.300")
        + "example.com/m v1.0.300 h2:x\nexample.com/other v1.0.0 h1:x\n";
    log.push(&more);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), "");
    let server = directory.serve();
    assert_eq!(get(&server, &lookup_of(300)), (200, log.lookup(300, 301)));
    server.stop();
    drop(upstream);
    let server = directory.serve();
    assert_eq!(get(&server, &lookup_of(300)), (200, log.lookup(300, 301)), "from the store");
    server.stop();
}

#[test]
fn without_a_network_what_is_kept_is_answered_and_the_rest_says_why() {
    let log = SmallLog::new(700);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), "");
    let server = directory.serve();
    assert_eq!(get(&server, &lookup_of(600)).0, 200);
    server.stop();
    drop(upstream);
    let server = directory.serve();
    assert_eq!(get(&server, "latest"), (200, log.note(700).into_bytes()));
    assert_eq!(get(&server, &lookup_of(600)), (200, log.lookup(600, 700)));
    // All that proves it under that head.
    for tile in ["tile/8/0/002.p/188", "tile/8/1/000.p/2"] {
        assert_eq!(get(&server, tile), (200, log.tile(tile, 700).unwrap()), "{tile}");
    }
    for (rest, what) in [
        (lookup_of(3), "example.com/m@v1.0.3"),
        ("tile/8/0/001".to_owned(), "tile/8/0/001"),
        ("tile/8/0/003.p/9".to_owned(), "tile/8/0/003.p/9"),
    ] {
        let (status, text) = refusal(&server, &rest);
        let wanted =
            format!("{what} is not kept here, and {NAME} cannot be reached from here at the moment\n");
        assert!(status == 503 && text.starts_with(&wanted), "{rest}: {status} {text}");
    }
    server.stop();
}

#[test]
fn a_client_with_a_newer_head_is_followed() {
    let (log, size) = (SmallLog::new(900), Arc::new(AtomicU64::new(300)));
    let upstream = growing(&log, &size);
    let directory = mirroring(&log, &upstream.url(), "");
    let server = directory.serve();
    assert_eq!(get(&server, &lookup_of(299)), (200, log.lookup(299, 300)));
    size.store(900, SeqCst);
    // A head that is known is not asked for again by itself.
    assert_eq!(get(&server, "latest"), (200, log.note(300).into_bytes()));
    let edge = "tile/8/0/003.p/132";
    let mut seen = (0, Vec::new());
    // Just after the head was asked for it is not asked for again.
    poll("the mirror advances", PATIENCE, || {
        seen = get(&server, edge);
        (seen.0 == 200).then_some(())
    });
    assert_eq!(seen.1, log.tile(edge, 900).unwrap());
    assert_eq!(get(&server, "latest"), (200, log.note(900).into_bytes()));
    // A record that was proved under the old head is provable under the new one, without a network.
    let (status, text) = refusal(&server, "tile/8/0/004.p/1");
    assert!(
        status == 503 && text.contains("beyond the newest tree head that is known here, of 900 records"),
        "{text}"
    );
    drop(upstream);
    assert_eq!(get(&server, &lookup_of(299)), (200, log.lookup(299, 900)));
    for tile in ["tile/8/0/001", "tile/8/1/000.p/3", edge] {
        assert_eq!(get(&server, tile), (200, log.tile(tile, 900).unwrap()), "{tile}");
    }
    server.stop();
}

#[test]
fn what_does_not_verify_is_neither_answered_nor_kept() {
    let (log, lying) = (SmallLog::new(700), Arc::new(AtomicBool::new(true)));
    let (honest, lies) = (log.clone(), lying.clone());
    let upstream = HostileServer::start(move |path| {
        let body = honest.answer(path, 700, |_| 700);
        answer(body.map(|mut body| {
            if lies.load(SeqCst) && path != "/latest" {
                body[40] ^= 1;
            }
            body
        }))
    });
    let directory = mirroring(&log, &upstream.url(), "");
    let server = directory.serve();
    for rest in [lookup_of(3), "tile/8/0/001".to_owned()] {
        let (status, text) = refusal(&server, &rest);
        assert!(status == 503 && text.contains("does not verify\nIt is refused."), "{rest}: {status} {text}");
    }
    lying.store(false, SeqCst);
    assert_eq!(get(&server, "tile/8/0/001"), (200, log.tile("tile/8/0/001", 700).unwrap()));
    assert_eq!(get(&server, &lookup_of(3)), (200, log.lookup(3, 700)));
    server.stop();
}

#[test]
fn a_fork_stops_what_is_new_and_the_verified_prefix_is_served() {
    let log = SmallLog::new(700);
    let (upstream, forked) = log.serve_until_it_turns(log.fork(500, 900));
    let directory = mirroring(&log, &upstream.url(), "");
    let server = directory.serve();
    assert_eq!(get(&server, &lookup_of(3)).0, 200);
    forked.store(true, SeqCst);
    let (status, text) = refusal(&server, &lookup_of(899));
    let wanted = format!("{NAME} contradicts what it signed before, so nothing new is taken from it\n");
    assert!(status == 500 && text.starts_with(&wanted), "{status} {text}");
    let asked = upstream.paths().len();
    assert_eq!(get(&server, "tile/8/0/001").0, 500, "not kept");
    assert_eq!(upstream.paths().len(), asked, "nothing is asked any more");
    assert_eq!(server.printed().matches("a remote log contradicts itself").count(), 1);
    assert_eq!(server.log_metric("mirror_stopped", NAME), 1);
    // The tree that was verified, and none of the fork's tiles.
    assert_eq!(get(&server, "latest"), (200, log.note(700).into_bytes()));
    assert_eq!(get(&server, &lookup_of(3)), (200, log.lookup(3, 700)));
    for tile in ["tile/8/0/000", "tile/8/0/002.p/188", "tile/8/1/000.p/2"] {
        assert_eq!(get(&server, tile), (200, log.tile(tile, 700).unwrap()), "{tile}");
    }
    server.stop();
    let file = directory.data().join(format!("mirror/{NAME}.incident-1.txt"));
    let evidence = std::fs::read_to_string(file).unwrap();
    let found = Misbehavior::parse(NAME, &evidence, Clock::system().now()).unwrap();
    assert_eq!(found.verify(&log.vkey().parse().unwrap()), Ok(()));
    assert_eq!((found.older, found.newer), (log.note(700), log.fork(500, 900).note(900)));
    if oracle::is_there("a_fork_stops_what_is_new_and_the_verified_prefix_is_served") {
        let proved = Judged { older: 700, newer: 900, error: String::new() };
        assert_eq!(oracle::judge(&log.vkey(), &evidence), proved);
        let other = evidence.replacen("\n\t700\n", "\n\t701\n", 1);
        assert!(oracle::judge(&log.vkey(), &other).error.contains("old database: "));
    }
}

#[test]
fn a_private_path_is_never_named_to_the_log() {
    let log = SmallLog::new(10);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), "");
    let server = directory.serve();
    let (status, text) = refusal(&server, "lookup/corp.example/secret@v1.0.0");
    assert!(
        status == 404 && text.starts_with(&format!("corp.example/secret@v1.0.0 is not asked for at {NAME}")),
        "{text}"
    );
    for path in ["corp.example/team/!secret", "corp.example/!team/secret", "corp.example/!team"] {
        let (status, text) = refusal(&server, &format!("lookup/{path}@v1.0.0"));
        assert!(status == 404 && text.contains("is not asked for at"), "{status} {text}");
    }
    for path in ["team.example/!secret/x", "team.example/secret"] {
        let (status, text) = refusal(&server, &format!("lookup/{path}@v1.0.0"));
        assert!(status == 404 && text.contains("route 1 keeps \"team.example/secret/*\""), "{status} {text}");
        let own = server.get(&format!("/lookup/{path}@v1.0.0"));
        let text = String::from_utf8(own.body).unwrap();
        assert!(own.status == 403 && text.contains("named to nobody"), "{} {text}", own.status);
    }
    assert_eq!(get(&server, "lookup/public.example/x@v1.0.0").0, 404);
    let paths = upstream.paths();
    assert!(!paths.iter().any(|path| path.contains("secret")), "{paths:?}");
    assert!(paths.iter().any(|path| path.contains("public.example")), "{paths:?}");
    server.stop();
}

#[test]
fn heads_are_watched_and_nothing_else_is_kept() {
    let (log, size) = (SmallLog::new(900), Arc::new(AtomicU64::new(300)));
    let upstream = growing(&log, &size);
    let directory = mirroring(&log, &upstream.url(), "mode = \"heads\"\npoll = \"1s\"");
    let server = directory.serve();
    poll("the first head", PATIENCE, || (server.log_metric("mirror_size", NAME) == 300).then_some(()));
    size.store(900, SeqCst);
    poll("the second head", PATIENCE, || (server.log_metric("mirror_size", NAME) == 900).then_some(()));
    assert_eq!(get(&server, "latest"), (200, log.note(900).into_bytes()));
    let only = format!("{NAME}: only its tree heads are watched here, its records are not kept\n");
    for rest in ["supported", &lookup_of(3), "tile/8/0/000"] {
        let (status, text) = refusal(&server, rest);
        assert!(status == 404 && text.starts_with(&only), "{rest}: {status} {text}");
    }
    // Gone back: refused, and what was seen stays.
    size.store(300, SeqCst);
    poll("a failure", PATIENCE, || (server.log_metric("mirror_failures", NAME) > 0).then_some(()));
    assert_eq!((server.log_metric("mirror_size", NAME), server.log_metric("mirror_stopped", NAME)), (900, 0));
    assert!(!upstream.paths().iter().any(|path| path.starts_with("/lookup/")));
    server.stop();
}
