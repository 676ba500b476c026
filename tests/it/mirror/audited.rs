//! `tallystick audit` of logs that are what they should be, and of logs that are not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use serde_json::Value;
use tallystick::tlog::{TreeSize, new_tiles};

use super::served::growing;
use super::small_log::{SmallLog, answer};
use super::*;
use crate::cli::{Ran, Sandbox};
use crate::replica::peer;
use crate::support::serve::LogDirectory;

/// An auditor with a directory of their own.
struct Auditor {
    sandbox: Sandbox,
    directory: tempfile::TempDir,
}

impl Auditor {
    fn new() -> Auditor {
        Auditor { sandbox: Sandbox::new(), directory: tempfile::tempdir().unwrap() }
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn run(&self, log: &str, rest: &[&str]) -> Ran {
        let state = self.state();
        let words = ["audit", log, "--state", state.to_str().unwrap()];
        self.sandbox.run(&[&words[..], rest].concat())
    }

    /// The report in JSON, of an audit that ends with this exit code.
    #[track_caller]
    fn report(&self, log: &str, rest: &[&str], code: i32) -> Value {
        let ran = self.run(log, &[rest, &["--json"]].concat());
        assert_eq!(ran.code, code, "{}{}", ran.stdout, ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    }
}

/// Subject and place of each finding.
fn findings(report: &Value) -> Vec<(String, String)> {
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let all = report["findings"].as_array().unwrap().iter();
    all.map(|finding| (text(finding, "subject"), text(finding, "place"))).collect()
}

fn finding(subject: &str, place: &str) -> (String, String) {
    (subject.to_owned(), place.to_owned())
}

/// Serves a log in which some answers are others.
fn altered(
    log: &SmallLog,
    alter: impl Fn(&str, Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
) -> HostileServer {
    let log = log.clone();
    HostileServer::start(move |path| {
        answer(log.answer(path, log.size(), |_| log.size()).map(|body| alter(path, body)))
    })
}

#[test]
fn a_log_is_audited_once_and_then_what_is_new() {
    let mut log = SmallLog::new(70_000);
    log.grow(70_300, 0);
    let size = Arc::new(AtomicU64::new(700));
    let (server, auditor, key) = (growing(&log, &size), Auditor::new(), log.vkey());
    let report = auditor.report(&server.url(), &["--key", &key], 0);
    assert_eq!((&report["size"], &report["from"]), (&700.into(), &0.into()), "{report}");
    assert_eq!(report["root"], log.head(700).root.to_string());
    // Three tiles of records and the three over them, and the one of level 1.
    assert_eq!((&report["data_tiles"], &report["hash_tiles"]), (&3.into(), &4.into()), "{report}");
    assert_eq!(report["lookups"], 65, "64 that are spread, and the last: {report}");
    assert!(report["skipped"][0].as_str().unwrap().starts_with("published heads: "), "{report}");
    size.store(70_300, SeqCst);
    let before = server.paths().len();
    let report = auditor.report(&server.url(), &["--key", &key], 0);
    assert_eq!((&report["size"], &report["from"]), (&70_300.into(), &512.into()), "{report}");
    assert_eq!(report["heads"], 2, "the new one, and the one before: {report}");
    let again = server.paths().split_off(before);
    assert!(
        !again.iter().any(|path| path.ends_with("/data/000") || path.ends_with("/data/001")),
        "{again:?}"
    );
    // One that has both levels of tiles, all at once.
    let text = Auditor::new().run(&server.url(), &["--key", &key]);
    assert_eq!(text.code, 0, "{}", text.stderr);
    assert!(text.stdout.contains("  records   70300 read\n"), "{}", text.stdout);
    assert!(text.stdout.ends_with("  clean     every record, tile and head agrees\n"), "{}", text.stdout);
}

#[test]
fn every_fault_is_named_with_its_place() {
    let log = SmallLog::new(700);
    let flip = |path: &'static str, at: usize| {
        altered(&log, move |asked, mut body| {
            if asked == path {
                body[at] ^= 1;
            }
            body
        })
    };
    let fork = log.fork(600, 700);
    let forked = fork.clone();
    let servers = [
        (flip("/tile/8/0/001", 40), vec![finding("tiles", "tile/8/0/001")]),
        (flip("/tile/8/0/002.p/188", 0), vec![finding("tiles", "tile/8/0/002.p/188")]),
        (flip("/tile/8/1/000.p/2", 63), vec![finding("tiles", "tile/8/1/000.p/2")]),
        // The signed head is of another tree: its records from 600 on are others.
        (
            altered(
                &log,
                move |asked, body| if asked == "/latest" { forked.note(700).into_bytes() } else { body },
            ),
            vec![finding("heads", "latest")],
        ),
        // A hash tile that is cut off.
        (
            altered(&log, |asked, body| if asked == "/tile/8/0/000" { body[..64].to_vec() } else { body }),
            vec![finding("tiles", "tile/8/0/000")],
        ),
        // Another record's answer.
        (
            {
                let other = log.lookup(3, 700);
                altered(
                    &log,
                    move |asked, body| if asked.ends_with("@v1.0.10") { other.clone() } else { body },
                )
            },
            vec![finding("lookups", "lookup of example.com/m@v1.0.10, record 10")],
        ),
        (
            altered(&log, |asked, body| if asked.ends_with("@v1.0.699") { b"gone".to_vec() } else { body }),
            vec![finding("lookups", "lookup of example.com/m@v1.0.699, record 699")],
        ),
    ];
    for (server, expected) in servers {
        let report = Auditor::new().report(&server.url(), &["--key", &log.vkey()], 4);
        assert_eq!(findings(&report), expected, "{report}");
    }
}

#[test]
fn a_record_that_was_changed_is_in_no_tile_and_under_no_head() {
    let log = SmallLog::new(700);
    let server = altered(&log, |asked, body| match asked {
        // The letters of a hash, in record 300.
        "/tile/8/data/001" => {
            String::from_utf8(body).unwrap().replacen("v1.0.300 h1:", "v1.0.9300 h1:", 1).into_bytes()
        }
        _ => body,
    });
    let auditor = Auditor::new();
    let report = auditor.report(&server.url(), &["--key", &log.vkey()], 4);
    let expected = [
        finding("heads", "latest"),
        finding("records", "record 300"),
        finding("tiles", "tile/8/0/001"),
        finding("tiles", "tile/8/1/000.p/2"),
    ];
    assert_eq!(findings(&report), expected, "{report}");
    // What was found stays found, though nothing of it is read again.
    let again = auditor.report(&server.url(), &["--key", &log.vkey()], 4);
    assert!(expected.iter().all(|finding| findings(&again).contains(finding)), "{again}");
    assert_eq!(again["from"], 512);
}

#[test]
fn records_that_should_not_be_there_are_found() {
    let mut log = SmallLog::new(300);
    let twice = log.text(17).to_owned();
    let lines = "example.com/m v1.0.20 h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY=\nexample.com/m v1.0.20/go.mod \
                 h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY=\n";
    log.push(&twice);
    log.push(lines);
    // One line only, and a path that no module has.
    log.push(&format!("{}\n", twice.lines().next().unwrap()));
    log.push("no dot/x v1.0.0 h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY=\n");
    let (server, auditor) = (log.serve(), Auditor::new());
    let junit = auditor.directory.path().join("audit.xml");
    let report =
        auditor.report(&server.url(), &["--key", &log.vkey(), "--junit", junit.to_str().unwrap()], 4);
    let expected = [
        finding("names", "example.com/m@v1.0.17"),
        finding("names", "example.com/m@v1.0.20"),
        finding("records", "record 302"),
        finding("records", "record 303"),
    ];
    let mut found = findings(&report);
    found.sort();
    assert_eq!(found, expected, "{report}");
    let what = |at: &str| {
        let all = report["findings"].as_array().unwrap();
        all.iter().find(|finding| finding["place"] == at).unwrap()["what"].as_str().unwrap().to_owned()
    };
    assert!(what("example.com/m@v1.0.17").ends_with("with the same lines"), "{report}");
    assert!(what("example.com/m@v1.0.20").ends_with("with OTHER LINES"), "{report}");
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert!(xml.contains("<testsuite name=\"tallystick audit\" tests=\"5\" failures=\"2\">"), "{xml}");
    assert_eq!(xml.matches("<failure ").count(), 4, "{xml}");
}

#[test]
fn heads_that_somebody_kept_must_be_of_the_log() {
    let log = SmallLog::new(700);
    let fork = log.fork(300, 400);
    let (server, auditor) = (log.serve(), Auditor::new());
    let write = |name: &str, text: String| {
        let path = auditor.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let honest = [write("one", log.note(1)), write("older", log.note(399))];
    let key = log.vkey();
    let report =
        auditor.report(&server.url(), &["--key", &key, "--from", &honest[0], "--from", &honest[1]], 0);
    assert_eq!(report["heads"], 3, "{report}");
    let other = write("fork", fork.note(400));
    let report = Auditor::new().report(&server.url(), &["--key", &key, "--from", &other], 4);
    assert_eq!(findings(&report), [finding("heads", &other)], "{report}");
    let what = report["findings"][0]["what"].as_str().unwrap();
    assert!(what.contains(&log.head(400).root.to_string()), "the root that the records give: {what}");
    assert!(what.contains(&fork.note(400)), "the note with its signature: {what}");
    let unsigned = write("unsigned", log.note(400).replace("\n400\n", "\n401\n"));
    let stranger = Auditor::new().report(&server.url(), &["--key", &key, "--from", &unsigned], 4);
    assert_eq!(findings(&stranger)[0].0, "heads", "{stranger}");
}

#[test]
fn what_cannot_be_audited_says_why() {
    let log = SmallLog::new(700);
    let key = log.vkey();
    let ends = |server: &HostileServer, auditor: &Auditor, code: i32, says: &str| {
        let ran = auditor.run(&server.url(), &["--key", &key]);
        assert_eq!(ran.code, code, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
    };
    let data = log.clone();
    let refuses = HostileServer::start(move |path| {
        if path.contains("/data/") { Behaviour::not_found() } else { answer(data.answer(path, 700, |_| 700)) }
    });
    ends(&refuses, &Auditor::new(), 2, "does not give data tiles");
    let stranger = altered(&log, |asked, body| if asked == "/latest" { b"hello\n".to_vec() } else { body });
    ends(&stranger, &Auditor::new(), 4, "the newest head is not one of sum.test.example");
    let broken =
        altered(&log, |asked, body| if asked == "/tile/8/data/001" { body[..100].to_vec() } else { body });
    ends(&broken, &Auditor::new(), 4, "data tile tile/8/data/001 cannot be taken apart");
    let auditor = Auditor::new();
    ends(&log.serve(), &auditor, 0, "");
    let older = log.clone();
    let older = HostileServer::start(move |path| answer(older.answer(path, 300, |_| 300)));
    ends(&older, &auditor, 3, "the newest head shown has 300 records, and 512 were audited before");
    let state = auditor.state().join("audit.state");
    let text = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, text.replacen("\"records\":512", "\"records\":256", 1)).unwrap();
    ends(&log.serve(), &auditor, 1, "its sum is not that of its text: it was damaged here");
    std::fs::write(&state, &text).unwrap();
    let lock = std::fs::File::options().write(true).open(auditor.state().join("audit.lock")).unwrap();
    lock.lock().unwrap();
    ends(&log.serve(), &auditor, 5, "is running");
    drop(lock);
    let other = "peer.example+4e432735+Adha1YWtJrkhdJ/uJUsLfPCL9TYgWIVxjEGYlPduHGg+";
    let ran = auditor.run(&log.serve().url(), &["--key", other]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
}

/// Writes a log as files, as a web server would have them.
fn write_files(log: &SmallLog, directory: &Path) {
    let size = log.size();
    for tile in new_tiles(8, TreeSize(0), TreeSize(size)) {
        let paths = [tile.path(), tile.path().replace("tile/8/0/", "tile/8/data/")];
        for path in paths {
            let file = directory.join(&path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, log.tile(&path, size).unwrap()).unwrap();
        }
    }
    std::fs::write(directory.join("latest"), log.note(size)).unwrap();
}

#[test]
fn a_directory_is_audited_too() {
    let (log, directory) = (SmallLog::new(700), tempfile::tempdir().unwrap());
    write_files(&log, directory.path());
    let path = directory.path().to_str().unwrap();
    let report = Auditor::new().report(path, &["--key", &log.vkey()], 0);
    let skipped = report["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 2, "no list of heads, no look-ups: {report}");
    let tile = directory.path().join("tile/8/0/002.p/188");
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[100] ^= 0x80;
    std::fs::write(&tile, bytes).unwrap();
    let report = Auditor::new().report(path, &["--key", &log.vkey()], 4);
    assert_eq!(findings(&report), [finding("tiles", "tile/8/0/002.p/188")], "{report}");
    let unknown = Auditor::new().run(path, &[]);
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
    assert!(unknown.stderr.contains("--key is missing"), "{}", unknown.stderr);
}

/// The server of x/mod, which lists no heads and has its own way with look-ups.
/// As a web server gives them.
#[test]
fn files_without_lookups_are_audited_when_that_is_said() {
    let log = SmallLog::new(700);
    let files = log.clone();
    let server = HostileServer::start(move |path| {
        answer(if path.starts_with("/lookup/") { None } else { files.answer(path, 700, |_| 700) })
    });
    let auditor = Auditor::new();
    assert!(!findings(&auditor.report(&server.url(), &["--key", &log.vkey()], 4)).is_empty());
    let report = Auditor::new().report(&server.url(), &["--key", &log.vkey(), "--no-lookups"], 0);
    assert_eq!((&report["size"], &report["lookups"]), (&700.into(), &0.into()), "{report}");
    assert!(report["skipped"].to_string().contains("look-ups: not wanted"), "{report}");
}

#[test]
fn the_server_of_x_mod_is_clean() {
    let peer = match peer::XmodServer::start(1_300) {
        Ok(peer) => peer,
        Err(why) => return eprintln!("SKIPPED: mirror::audited::the_server_of_x_mod_is_clean: {why}"),
    };
    let report = Auditor::new().report(&peer.url, &["--key", &peer.vkey], 0);
    assert_eq!((&report["size"], &report["lookups"]), (&1_300.into(), &65.into()), "{report}");
}

/// The heads that our server lists are compared, and its key is taken from it where none is given.
#[test]
fn our_own_server_is_audited_like_any_other() {
    let directory = LogDirectory::new("sum.corp.example", "");
    let server = directory.serve();
    let lines = directory.data().parent().unwrap().join("go.sum");
    let log = SmallLog::new(300);
    std::fs::write(&lines, (0..300).map(|n| log.text(n)).collect::<String>()).unwrap();
    let config = directory.config();
    let import = [
        "--config",
        config.to_str().unwrap(),
        "import",
        "--trust",
        "--importer",
        "test",
        lines.to_str().unwrap(),
    ];
    let imported = Sandbox::new().run(&import);
    assert_eq!(imported.code, 0, "{}{}", imported.stdout, imported.stderr);
    let auditor = Auditor::new();
    let ran = auditor.run(&server.url, &["--json"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("the server gave the key sum.corp.example+"), "{}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["size"], 300);
    assert_eq!((&report["lookups"], &report["skipped"]), (&65.into(), &Value::Array(Vec::new())), "{report}");
    assert!(report["heads"].as_u64().unwrap() >= 2, "the empty tree's and the newest: {report}");
    server.stop();
}
