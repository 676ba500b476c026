//! `mode = "full"`: `tallystick` as a whole, from a configuration to what its clients get.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use serde_json::Value;
use tallystick::tlog::{TreeSize, new_tiles};

use super::commands::{arguments, ran, run, status};
use super::served::{PATIENCE, get, growing, lookup_of, mirroring, mirroring_named, reconfigure, refusal};
use super::small_log::{NAME, SmallLog, answer, nth};
use super::*;
use crate::cli::Sandbox;
use crate::client::go::Developer;
use crate::client::oracle;
use crate::replica::peer;
use crate::support::poll;
use crate::support::serve::{LogDirectory, Server};

const FULL: &str = "mode = \"full\"\npoll = \"1s\"";

/// Every path that a client may ask of a log of this size.
fn paths(size: u64) -> Vec<String> {
    let mut paths: Vec<String> =
        new_tiles(8, TreeSize(0), TreeSize(size)).iter().map(|tile| tile.path()).collect();
    for number in 0..size.div_ceil(256) {
        match size - number * 256 {
            256.. => paths.push(format!("tile/8/data/{number:03}")),
            width => paths.extend([
                format!("tile/8/data/{number:03}.p/{width}"),
                format!("tile/8/data/{number:03}.p/1"),
            ]),
        }
    }
    paths
}

/// Everything that the log has is answered with its own bytes.
fn assert_served(server: &Server, log: &SmallLog, size: u64) {
    assert_eq!(get(server, "supported").0, 200);
    assert_eq!(get(server, "latest"), (200, log.note(size).into_bytes()));
    for n in 0..size {
        assert_eq!(get(server, &lookup_of(n)), (200, log.lookup(n, size)), "record {n}");
    }
    for path in paths(size) {
        assert_eq!(get(server, &path), (200, log.tile(&path, size).unwrap()), "{path}");
    }
}

/// The log that Go wrote, mirrored in full.
fn mirroring_peer(vkey: &str, url: &str) -> LogDirectory {
    mirroring_named(peer::NAME, vkey, url, FULL)
}

fn full(directory: &LogDirectory) -> Value {
    status(directory)["full"].clone()
}

#[test]
fn everything_is_answered_without_a_network() {
    let log = SmallLog::new(701);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), FULL);
    assert_eq!(ran(&directory, &["sync", "--once"], 0).stdout, format!("{NAME}: 701 records\n"));
    assert!(!upstream.paths().iter().any(|path| path.starts_with("/lookup/")));
    drop(upstream);
    let server = directory.serve();
    assert_served(&server, &log, 701);
    let (status, text) = refusal(&server, "lookup/example.com/m@v1.0.9999");
    assert!(status == 503 && text.contains("is not kept here, and"), "{status} {text}");
    let (status, text) = refusal(&server, "tile/8/data/002.p/190");
    let wanted = format!("tile/8/data/002.p/190 of {NAME} is not mirrored here yet: there are 701 records\n");
    assert!(status == 503 && text.starts_with(&wanted), "{status} {text}");
    let full = full(&directory);
    assert_eq!(
        (&full["records"], &full["size"], &full["lag_records"]),
        (&701.into(), &701.into(), &0.into())
    );
    server.stop();
}

#[test]
fn a_growing_log_is_followed_by_the_server_itself() {
    let (log, size) = (SmallLog::new(900), Arc::new(AtomicU64::new(300)));
    let upstream = growing(&log, &size);
    let directory = mirroring(&log, &upstream.url(), FULL);
    let server = directory.serve();
    for now in [300, 511, 512, 900] {
        size.store(now, SeqCst);
        poll("the mirror advances", PATIENCE, || (full(&directory)["size"] == now).then_some(()));
        assert_served(&server, &log, now);
    }
    assert_eq!(ran(&directory, &["sync"], 0).stdout, format!("{NAME}: nothing new, 900 records\n"));
    let asked: Vec<String> = upstream.paths().into_iter().filter(|path| path.contains("/data/")).collect();
    assert_eq!(
        asked,
        ["000", "001.p/44", "001.p/255", "001", "002", "003.p/132"]
            .map(|tile| format!("/tile/8/data/{tile}")),
    );
    server.stop();
}

/// What was verified in one mode is there in the next, and look-ups need no network for it.
#[test]
fn a_mode_is_raised_and_lowered_without_losing_anything() {
    let log = SmallLog::new(700);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), "mode = \"heads\"");
    ran(&directory, &["sync"], 0);
    let set = |url: &str, mode: &str| reconfigure(&directory, &log, url, mode);
    set(&upstream.url(), "");
    let server = directory.serve();
    assert_eq!(get(&server, &lookup_of(600)), (200, log.lookup(600, 700)));
    server.stop();
    // Raised with nobody there to replicate from.
    set("http://127.0.0.1:1", FULL);
    let server = directory.serve();
    assert_eq!(get(&server, &lookup_of(600)), (200, log.lookup(600, 700)));
    assert_eq!(get(&server, "latest"), (200, log.note(700).into_bytes()));
    assert_eq!(get(&server, &lookup_of(601)).0, 503);
    server.stop();
    set(&upstream.url(), FULL);
    ran(&directory, &["sync"], 0);
    drop(upstream);
    set("http://127.0.0.1:1", "");
    let server = directory.serve();
    for n in [0, 600, 699] {
        assert_eq!(get(&server, &lookup_of(n)), (200, log.lookup(n, 700)), "lowered, and still there");
    }
    server.stop();
}

/// Only the full mirror is left: its head is what a log is held to.
#[test]
fn a_fork_is_found_when_only_the_full_mirror_is_left() {
    let log = SmallLog::new(700);
    let fork = log.fork(500, 900);
    let (good, bad) = (log.serve(), fork.serve());
    let directory = mirroring(&log, &good.url(), FULL);
    ran(&directory, &["sync"], 0);
    for file in [format!("{NAME}.db"), format!("{NAME}.db-wal"), format!("{NAME}.db-shm")] {
        let _ = std::fs::remove_file(directory.data().join("mirror").join(file));
    }
    reconfigure(&directory, &log, &bad.url(), FULL);
    let ran = ran(&directory, &["sync"], 4);
    assert!(ran.stderr.contains("evidence: "), "{}", ran.stderr);
    let server = directory.serve();
    assert_served(&server, &log, 700);
    assert_eq!(get(&server, &lookup_of(800)).0, 500);
    assert_eq!(server.log_metric("mirror_stopped", NAME), 1);
    server.stop();
}

/// Some routes pass only what the `go` command asks for.
#[test]
fn where_data_tiles_are_refused_the_ways_out_are_named_and_look_ups_go_on() {
    let log = SmallLog::new(700);
    let (honest, refuses) = (log.clone(), Arc::new(AtomicBool::new(true)));
    let refusing = refuses.clone();
    let upstream = HostileServer::start(move |path| {
        if path.contains("/data/") && refusing.load(SeqCst) {
            return Behaviour::not_found();
        }
        answer(honest.answer(path, 700, |_| 700))
    });
    let directory = mirroring(&log, &upstream.url(), FULL);
    // Nothing that a scheduler should try again: somebody must change the configuration.
    let ran_without = ran(&directory, &["sync"], 1);
    for part in ["mode \"full\" needs data tiles, and no URL gives tile/8/data/0", "fix: name another URL"] {
        assert!(ran_without.stderr.contains(part), "{}", ran_without.stderr);
    }
    let server = directory.serve();
    assert_eq!(get(&server, &lookup_of(3)), (200, log.lookup(3, 700)));
    poll("the server has tried", PATIENCE, || server.printed().contains("needs data tiles").then_some(()));
    assert!(status(&directory)["last_error"]["why"].as_str().unwrap().contains("needs data tiles"));
    refuses.store(false, SeqCst);
    ran(&directory, &["sync"], 0);
    assert_served(&server, &log, 700);
    server.stop();
}

/// A lying URL is passed over, and nothing of it is served.
#[test]
fn lies_are_refused_and_named_and_the_next_url_is_asked() {
    let log = SmallLog::new(700);
    let lying = log.clone();
    let liar = HostileServer::start(move |path| {
        answer(lying.answer(path, 700, |_| 700).map(|mut body| {
            if path.contains("/data/") {
                body[30] ^= 1;
            }
            body
        }))
    });
    let directory = mirroring(&log, &liar.url(), FULL);
    let failed = run(&directory, &["sync"]);
    assert_eq!(failed.code, 3, "{}", failed.stderr);
    assert!(
        failed.stderr.contains("tile/8/data/00") && failed.stderr.contains(&liar.url()),
        "{}",
        failed.stderr
    );
    assert_eq!(full(&directory)["records"], 0);
    let good = log.serve();
    let urls = format!("{}\", \"{}", liar.url(), good.url());
    reconfigure(&directory, &log, &urls, FULL);
    let server = directory.serve();
    poll("the mirror is complete", PATIENCE, || (full(&directory)["size"] == 700).then_some(()));
    assert_served(&server, &log, 700);
    server.stop();
}

/// Two lines of a public module come from the mirror when it is asked for, with no network at all.
#[test]
fn a_miss_of_the_own_log_is_answered_from_the_mirror() {
    let log = SmallLog::new(700);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), FULL);
    let route = format!(
        "[[route]]\nmodules = [\"example.com\"]\nsource = [\"http://127.0.0.1:1\"]\nchecksum = \"{NAME}\"\n"
    );
    let config = std::fs::read_to_string(directory.config()).unwrap();
    std::fs::write(directory.config(), config.replacen("[[route]]", &format!("{route}\n[[route]]"), 1))
        .unwrap();
    ran(&directory, &["sync"], 0);
    drop(upstream);
    let server = directory.serve();
    let page = server.get(&format!("/{}", lookup_of(421)));
    let body = String::from_utf8(page.body).unwrap();
    assert!(page.status == 200 && body.starts_with(&format!("0\n{}\n", log.text(421))), "{body}");
    let evidence: Value = serde_json::from_slice(&server.get("/api/v1/records/0").body).unwrap();
    let kept = evidence.to_string();
    assert!(kept.contains(NAME) && kept.contains("421") && kept.contains("700"), "{kept}");
    server.stop();
}

/// The real `go` command and x/mod's client, with the key and a URL of ours, while the log itself cannot be reached; then
/// every record and hash, read and hashed again by a Go program.
#[test]
fn go_and_a_foreign_auditor_agree_with_the_mirror() {
    if !oracle::is_there("go_and_a_foreign_auditor_agree_with_the_mirror") {
        return;
    }
    let proxy = oracle::Proxy::new(vec![oracle::Spec::new("public.example/lib")]);
    let mut log = SmallLog::new(600);
    log.push(&proxy.lines("public.example/lib@v1.0.0").map(|line| line + "\n").concat());
    log.grow(777, 0);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), FULL);
    ran(&directory, &["sync"], 0);
    drop(upstream);
    let server = directory.serve();
    let url = format!("{}/sumdb/{NAME}", server.url);
    let developer = Developer::new(&proxy.url(), &format!("{} {url}", log.vkey()));
    developer.download("public.example/lib@v1.0.0").succeeded();
    assert_eq!(developer.newest_head(NAME), log.note(777));
    let lookups: Vec<String> = [0, 255, 256, 512, 776].map(|n| nth(n).to_string()).to_vec();
    let looked = oracle::look_up(&log.vkey(), &url, &lookups, serde_json::json!({}));
    for (n, found) in [0, 255, 256, 512, 776].into_iter().zip(&looked.results) {
        let lines: Vec<&str> = log.text(n).lines().collect();
        assert_eq!(found.lines.as_deref().unwrap_or_default(), &lines[..1], "{}", found.error);
    }
    let hashed = oracle::rehash(&log.vkey(), &url, &[1, 255, 256, 512, 600]);
    assert_eq!((hashed.size, hashed.root), (777, log.head(777).root.to_string()));
    server.stop();
}

/// The program itself, killed at every moment of a first run, and then serving what Go wrote.
#[test]
fn a_sync_that_is_killed_anywhere_goes_on() {
    let peer = match peer::peer() {
        Ok(peer) => peer,
        Err(why) => return eprintln!("SKIPPED: mirror::full::a_sync_that_is_killed_anywhere_goes_on: {why}"),
    };
    let directory = mirroring_peer(&peer.vkey, &peer.url());
    let records = || -> u64 {
        let all: Value = serde_json::from_str(&ran(&directory, &["status", "--json"], 0).stdout).unwrap();
        all.as_array().unwrap().first().map_or(0, |status| status["full"]["records"].as_u64().unwrap_or(0))
    };
    let (mut before, mut kills) = (0, 0);
    for moment in (0..).map(|n| 20 + 60 * n) {
        let sandbox = Sandbox::new();
        let all = arguments(&directory, &["sync"]);
        let mut command = sandbox.command(&all.iter().map(|word| &**word).collect::<Vec<_>>());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let end = Clock::system().instant() + Duration::from_millis(moment);
        let ended = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if Clock::system().instant() >= end => break None,
                None => std::thread::yield_now(),
            }
        };
        if let Some(status) = ended {
            assert!(status.success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        let now = records();
        assert!(now >= before && (now % 65_536 == 0 || now == peer::SIZE), "{before}, then {now}");
        before = now;
    }
    assert!(kills >= 3, "only {kills} runs were killed");
    assert_eq!(records(), peer::SIZE);
    if !oracle::is_there("a_sync_that_is_killed_anywhere_goes_on") {
        return;
    }
    let server = directory.serve();
    let url = format!("{}/sumdb/{}", server.url, peer::NAME);
    let hashed = oracle::rehash_widest(&peer.vkey, &url, &[65_536, 65_537]);
    assert_eq!(hashed.size, peer::SIZE);
    server.stop();
}

/// x/mod's own server is replicated, and answers as we do from then on.
#[test]
fn the_server_of_x_mod_is_mirrored_to_the_byte() {
    let peer = match peer::XmodServer::start(1_300) {
        Ok(peer) => peer,
        Err(why) => {
            return eprintln!("SKIPPED: mirror::full::the_server_of_x_mod_is_mirrored_to_the_byte: {why}");
        }
    };
    let directory = mirroring_peer(&peer.vkey, &peer.url);
    ran(&directory, &["sync"], 0);
    let mut wanted = vec!["latest".to_owned()];
    for number in 0..1_300_u64.div_ceil(256) {
        let tile = tallystick::tlog::Tile {
            height: 8,
            level: tallystick::tlog::TileLevel::Data,
            number,
            width: (1_300 - number * 256).min(256) as u32,
        };
        wanted.push(tile.path());
    }
    wanted.extend(new_tiles(8, TreeSize(0), TreeSize(1_300)).iter().map(|tile| tile.path()));
    let data = peer.get(&wanted[3]);
    for record in String::from_utf8(data).unwrap().split("\n\n").take(20) {
        let words: Vec<&str> = record.split(' ').collect();
        let module: ModuleVersion = format!("{}@{}", words[0], words[1]).parse().unwrap();
        wanted.push(format!("lookup/{}", module.escaped()));
    }
    let theirs: Vec<Vec<u8>> = wanted.iter().map(|path| peer.get(path)).collect();
    drop(peer);
    let server = directory.serve();
    for (path, want) in wanted.iter().zip(theirs) {
        let page = server.get(&format!("/sumdb/{}/{path}", peer::NAME));
        assert!((page.status, &page.body) == (200, &want), "{path}: {} {:?}", page.status, page.text());
    }
    server.stop();
}

/// One of the two databases comes from a backup: the head of the other is what new heads are compared with, before anything is
/// taken in.
#[test]
fn a_fork_is_found_when_the_heads_come_from_a_backup() {
    let log = SmallLog::new(700);
    let size = Arc::new(AtomicU64::new(300));
    let upstream = growing(&log, &size);
    let directory = mirroring(&log, &upstream.url(), FULL);
    ran(&directory, &["sync"], 0);
    let heads = directory.data().join(format!("mirror/{NAME}.db"));
    let backup = std::fs::read(&heads).unwrap();
    size.store(700, SeqCst);
    ran(&directory, &["sync"], 0);
    for file in [format!("{NAME}.db-wal"), format!("{NAME}.db-shm")] {
        let _ = std::fs::remove_file(directory.data().join("mirror").join(file));
    }
    std::fs::write(&heads, backup).unwrap();
    // Consistent with the head of the backup, smaller than that of the full mirror, and of another tree.
    let fork = log.fork(400, 600).serve();
    reconfigure(&directory, &log, &fork.url(), FULL);
    let ran = ran(&directory, &["sync"], 4);
    assert!(ran.stderr.contains("evidence: "), "{}", ran.stderr);
    let server = directory.serve();
    assert_served(&server, &log, 700);
    server.stop();
}

/// One URL that refuses data tiles and one without an address: both are named, and trying again is no use.
#[test]
fn each_url_that_gives_no_data_tiles_is_named() {
    let log = SmallLog::new(700);
    let honest = log.clone();
    let upstream = HostileServer::start(move |path| match path.contains("/data/") {
        true => Behaviour::error(403, "not here"),
        false => answer(honest.answer(path, 700, |_| 700)),
    });
    let urls = format!("{}\", \"http://nowhere.invalid", upstream.url());
    let directory = mirroring(&log, &urls, FULL);
    let ran = ran(&directory, &["sync"], 1);
    for part in [
        "mode \"full\" needs data tiles, and no URL gives tile/8/data/00",
        &format!("\n  {}/tile/8/data/00", upstream.url()),
        "403 access refused: not here",
        "\n  http://nowhere.invalid/tile/8/data/00",
        "cannot be reached (name look-up",
        "\n  fix: name another URL",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let server = directory.serve();
    poll("the server has tried", PATIENCE, || server.printed().contains("needs data tiles").then_some(()));
    // +Inf: an alert on a lag that is too long sees one that never ends.
    assert_eq!(server.log_metric("mirror_lag_seconds", NAME), u64::MAX);
    server.stop();
}

/// What a client asks for that is not there yet makes a healthy mirror look, and a failing one wait its time.
#[test]
fn clients_do_not_drive_a_failing_mirror() {
    let log = SmallLog::new(700);
    let honest = log.clone();
    let upstream = HostileServer::start(move |path| match path.contains("/data/") {
        true => Behaviour::not_found(),
        false => answer(honest.answer(path, 700, |_| 700)),
    });
    let directory = mirroring(&log, &upstream.url(), "mode = \"full\"\npoll = \"10m\"");
    let server = directory.serve();
    poll("the server has tried", PATIENCE, || server.printed().contains("needs data tiles").then_some(()));
    let failed = server.log_metric("mirror_failures", NAME);
    let asked = upstream.paths().len();
    let end = Clock::system().instant() + Duration::from_millis(2_500);
    while Clock::system().instant() < end {
        let (status, _) = refusal(&server, "tile/8/data/000");
        assert_eq!(status, 503);
    }
    assert_eq!((server.log_metric("mirror_failures", NAME), upstream.paths().len()), (failed, asked));
    // The head was reached, and that is no success.
    let status = status(&directory);
    assert!(status["last_success"].is_null(), "{status}");
    server.stop();
}

/// A mirror that was full once and is not any more goes on with the heads, as one that never was.
#[test]
fn a_lowered_mirror_moves_on() {
    let (log, size) = (SmallLog::new(900), Arc::new(AtomicU64::new(300)));
    let upstream = growing(&log, &size);
    let directory = mirroring(&log, &upstream.url(), FULL);
    ran(&directory, &["sync"], 0);
    reconfigure(&directory, &log, &upstream.url(), "poll = \"1s\"");
    size.store(900, SeqCst);
    ran(&directory, &["sync"], 0);
    let server = directory.serve();
    assert_eq!(get(&server, "latest"), (200, log.note(900).into_bytes()));
    for n in [0, 299, 300, 899] {
        assert_eq!(get(&server, &lookup_of(n)), (200, log.lookup(n, 900)), "record {n}");
    }
    assert_eq!(server.log_metric("mirror_lag_records", NAME), 0);
    server.stop();
}

/// What is to be done is said, and doing it is enough.
#[test]
fn a_mirror_whose_records_are_gone_says_which_files_to_move() {
    let log = SmallLog::new(900);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), FULL);
    ran(&directory, &["sync"], 0);
    let base = directory.data().join(format!("mirror/{NAME}.full")).display().to_string();
    std::fs::File::options().write(true).open(format!("{base}.segments")).unwrap().set_len(100).unwrap();
    let told = ran(&directory, &["sync"], 4).stderr;
    let remedy = format!("fix: move {base}.* (all files of that name) away");
    assert!(told.contains(&remedy) && told.contains(&format!("{base}.segments: 100 bytes where ")), "{told}");
    ran(&directory, &["export", NAME, "out"], 4);
    // Half of it is done: nothing that is left is written over.
    std::fs::remove_file(format!("{base}.db")).unwrap();
    assert!(ran(&directory, &["sync"], 4).stderr.contains(&remedy));
    let moved = directory.data().join("moved");
    std::fs::create_dir(&moved).unwrap();
    for end in ["db", "segments", "places", "lock"] {
        std::fs::rename(format!("{base}.{end}"), moved.join(end)).unwrap();
    }
    let server = directory.serve();
    poll("all of it again", PATIENCE, || (full(&directory)["size"] == 900).then_some(()));
    assert_served(&server, &log, 900);
    server.stop();
}

/// The index is derived: damage in it is no loss, and nothing is fetched for it.
#[test]
fn a_damaged_index_is_made_again_from_the_records() {
    let peer = match peer::peer() {
        Ok(peer) => peer,
        Err(why) => return eprintln!("SKIPPED: mirror::full::a_damaged_index_is_made_again: {why}"),
    };
    let directory = mirroring_peer(&peer.vkey, &peer.url());
    ran(&directory, &["sync"], 0);
    let full = directory.data().join(format!("mirror/{}.full.db", peer::NAME));
    let database = rusqlite::Connection::open(&full).unwrap();
    assert!(database.execute("UPDATE index_bucket SET body = x'00'", []).unwrap() > 0);
    drop(database);
    let told = ran(&directory, &["verify", peer::NAME], 4).stderr;
    assert!(told.contains(&format!("`tallystick mirror verify {} --rebuild-index`", peer::NAME)), "{told}");
    let verified = ran(&directory, &["verify", peer::NAME, "--rebuild-index"], 0).stdout;
    assert!(verified.contains(&format!("clean; {} records", peer::SIZE)), "{verified}");
    let server = directory.serve();
    let second = ran(&directory, &["verify", peer::NAME, "--rebuild-index"], 5);
    assert!(second.stderr.contains("lock"), "not beside a server: {}", second.stderr);
    let data = server.get(&format!("/sumdb/{}/tile/8/data/500", peer::NAME)).text();
    for record in data.split("\n\n").take(50) {
        let words: Vec<&str> = record.split(' ').collect();
        let module: ModuleVersion = format!("{}@{}", words[0], words[1]).parse().unwrap();
        let page = server.get(&format!("/sumdb/{}/lookup/{}", peer::NAME, module.escaped()));
        assert!(page.status == 200 && page.text().contains(record), "{module}: {}", page.text());
    }
    server.stop();
}
