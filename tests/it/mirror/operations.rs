//! `mirror export|import|verify|stats|diff`, each without a server and beside one; and the server's own re-verification.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use serde_json::Value;

use super::commands::{ran, status};
use super::served::{PATIENCE, get, growing, lookup_of, mirroring};
use super::small_log::{NAME, SmallLog};
use crate::cli::{Ran, Sandbox};
use crate::client::oracle;
use crate::support::poll;
use crate::support::raw::behind_triggers;
use crate::support::serve::LogDirectory;

const FULL: &str = "mode = \"full\"\npoll = \"1s\"";
const NOWHERE: &str = "file:///nonexistent";

/// A full mirror that has seen heads of 300 and of 701 records, and nobody to ask any more.
fn mirrored() -> (SmallLog, LogDirectory) {
    let (log, size) = (SmallLog::new(701), Arc::new(AtomicU64::new(300)));
    let upstream = growing(&log, &size);
    let directory = mirroring(&log, &upstream.url(), FULL);
    ran(&directory, &["sync"], 0);
    size.store(701, SeqCst);
    ran(&directory, &["sync"], 0);
    (log, directory)
}

/// Without a server, then beside one.
fn both_ways(directory: &LogDirectory, test: impl Fn(&LogDirectory, &str)) {
    test(directory, "alone");
    let server = directory.serve();
    test(directory, "beside");
    server.stop();
}

/// A place of its own beside the configuration.
fn beside(directory: &LogDirectory, name: &str) -> PathBuf {
    directory.config().parent().unwrap().join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Any command.
fn run(directory: &LogDirectory, arguments: &[&str]) -> Ran {
    let config = directory.config();
    Sandbox::new().run(&[&["--config", text(&config)], arguments].concat())
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr))
}

#[test]
fn an_export_is_verified_by_go_and_imported_by_another() {
    let (log, directory) = mirrored();
    both_ways(&directory, |directory, how| {
        let out = beside(directory, &format!("out-{how}"));
        ran(directory, &["export", NAME, "/proc/none/log.tar.zst"], 1);
        ran(directory, &["stats", NAME, "--svg", "/proc/none/growth.svg"], 1);
        let done = ran(directory, &["export", NAME, text(&out)], 0).stdout;
        assert!(done.starts_with(&format!("{NAME}: 701 records in 7 files, ")), "{done}");
        let again = ran(directory, &["export", NAME, text(&out)], 0).stdout;
        assert_eq!(again, format!("{NAME}: nothing new, 701 records in {}\n", out.display()));
        if oracle::is_there("operations::an_export_is_verified_by_go") {
            let checked = oracle::check_static(&log.vkey(), &[&out], &[1, 300, 512]);
            assert_eq!((checked.size, checked.files), (701, 7));
        }
        let refused = ran(directory, &["export", NAME, text(&out), "--from", "300"], 2).stderr;
        assert!(refused.contains("holds an export\n  fix: "), "{refused}");
        let delta = beside(directory, &format!("delta-{how}.tar.zst"));
        let done = ran(directory, &["export", NAME, text(&delta), "--from", "300"], 0).stdout;
        assert!(done.starts_with(&format!("{NAME}: from 300 to 701 records, ")), "{done}");

        let other = mirroring(&log, NOWHERE, FULL);
        both_ways(&other, |other, how| {
            let told = ran(other, &["import", NAME, text(&out)], 0).stdout;
            let wanted = if how == "alone" { "701 records" } else { "nothing new, 701 records" };
            assert_eq!(told, format!("{NAME}: {wanted}\n"));
            assert_eq!(status(other)["full"]["size"], 701);
        });
        // A mirror of 300 goes on with the delta, one of none does not.
        let other = mirroring(&log, NOWHERE, FULL);
        let server = (how == "beside").then(|| other.serve());
        let refused = ran(&other, &["import", NAME, text(&delta)], 2).stderr;
        assert!(
            refused.contains("a delta from 300 records on, and only 0 are stored here\n  fix: "),
            "{refused}"
        );
        drop(server);
        let small = SmallLog::new(300);
        let upstream = small.serve();
        let other = mirroring(&log, &upstream.url(), FULL);
        ran(&other, &["sync"], 0);
        drop(upstream);
        let server = (how == "beside").then(|| other.serve());
        let told = ran(&other, &["import", NAME, text(&delta)], 0).stdout;
        assert_eq!(told, format!("{NAME}: 701 records, 401 more than before\n"));
        if let Some(server) = server {
            assert_eq!(get(&server, &lookup_of(700)), (200, log.lookup(700, 701)), "it is served at once");
            server.stop();
        }
    });
}

#[test]
fn an_import_ends_with_the_code_that_says_what_to_do() {
    let (log, directory) = mirrored();
    let out = beside(&directory, "out");
    ran(&directory, &["export", NAME, text(&out)], 0);
    for server in [false, true] {
        // Not in this mode; not there; not a log.
        let other = mirroring(&log, NOWHERE, "");
        let running = server.then(|| other.serve());
        let refused = ran(&other, &["import", NAME, text(&out)], 2).stderr;
        assert!(
            refused.contains("no full mirror of sum.test.example is kept here\n  fix: set mode"),
            "{refused}"
        );
        ran(&other, &["import", "sum.other.example", text(&out)], 2);
        drop(running);
        let other = mirroring(&log, NOWHERE, FULL);
        let running = server.then(|| other.serve());
        ran(&other, &["import", NAME, "/nonexistent"], 1);
        for url in ["http://ci:s3cret@log.example", "https://ci:s3cret@log.example/#tree"] {
            let refused = ran(&other, &["import", NAME, url], 2).stderr;
            assert!(refused.contains("the source to import ") && !refused.contains("s3cret"), "{refused}");
        }
        let refused = ran(&other, &["import", NAME, "/etc"], 1).stderr;
        assert!(refused.contains("it has no file `latest`"), "{refused}");
        // Bytes that do not verify, then a contradiction.
        let data = out.join("tile/8/data/001");
        let honest = std::fs::read_to_string(&data).unwrap();
        std::fs::write(&data, honest.replace("v1.0.300 h1:", "v1.0.300 h1:A")).unwrap();
        let refused = ran(&other, &["import", NAME, text(&out)], 4).stderr;
        assert!(refused.contains("tile/8/data/001"), "{refused}");
        std::fs::remove_file(&data).unwrap();
        let refused = ran(&other, &["import", NAME, text(&out)], 1).stderr;
        assert!(refused.contains("it has no tile/8/data/001: "), "{refused}");
        std::fs::write(&data, honest).unwrap();
        ran(&other, &["import", NAME, text(&out)], 0);
        drop(running);
        let fork = log.fork(500, 900);
        let upstream = fork.serve();
        let liar = mirroring(&fork, &upstream.url(), FULL);
        ran(&liar, &["sync"], 0);
        let forked = beside(&liar, "forked.tar.zst");
        ran(&liar, &["export", NAME, text(&forked)], 0);
        let running = server.then(|| other.serve());
        let stopped = ran(&other, &["import", NAME, text(&forked)], 4).stderr;
        assert!(stopped.contains(&format!("tallystick mirror resume {NAME} --incident 1")), "{stopped}");
        assert_eq!(status(&other)["stopped"]["incident"], 1);
        drop(running);
    }
}

/// Changes the root of the head of 300 records, which nobody asks for.
fn damage(directory: &LogDirectory) {
    let file = directory.data().join(format!("mirror/{NAME}.full.db"));
    let zero = "UPDATE head SET root = zeroblob(32) WHERE size = 300";
    let changed = behind_triggers(&file, |database| database.execute(zero, [])).unwrap();
    assert_eq!(changed, 1);
}

#[test]
fn a_verification_is_clean_or_names_the_place() {
    let (_log, directory) = mirrored();
    both_ways(&directory, |directory, _| {
        let clean = ran(directory, &["verify", NAME], 0);
        assert_eq!(clean.stdout, format!("{NAME}: clean; 701 records, 2 heads\n"));
        let report = json(&ran(directory, &["verify", NAME, "--json"], 0));
        assert_eq!((&report["clean"], &report["records"]), (&true.into(), &701.into()));
    });
    damage(&directory);
    let damaged = || {
        let kept = json(&run(&directory, &["incidents", "--json"]));
        let kept =
            kept["incidents"].as_array().unwrap().iter().filter(|incident| incident["kind"] == "damage");
        kept.map(|incident| incident["detail"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(damaged(), [""; 0]);
    both_ways(&directory, |directory, how| {
        let report = json(&ran(directory, &["verify", NAME, "--json"], 4));
        assert_eq!(report["clean"], false);
        assert!(
            report["findings"].as_array().unwrap().iter().any(|found| found["place"] == "head 300"),
            "{report}"
        );
        let told = ran(directory, &["verify", NAME], 4);
        assert!(
            told.stdout.contains("head 300") && told.stderr.contains("  fix: "),
            "{}{}",
            told.stdout,
            told.stderr
        );
        let (kept, found) = (damaged(), report["findings"].as_array().unwrap().len());
        assert_eq!(kept.len(), found, "each is kept once, {how} and after it: {kept:?}");
        assert!(kept.iter().any(|detail| detail.contains("head 300")), "{kept:?}");
    });
}

#[test]
fn a_server_verifies_again_by_itself() {
    let (log, directory) = mirrored();
    damage(&directory);
    let config = std::fs::read_to_string(
        mirroring(&log, NOWHERE, &format!("{FULL}\nverify_interval = \"1s\"")).config(),
    );
    std::fs::write(directory.config(), config.unwrap()).unwrap();
    let server = directory.serve();
    poll("two rounds", PATIENCE, || (server.log_metric("mirror_verified_rounds", NAME) >= 2).then_some(()));
    assert!(server.log_metric("mirror_verified_records", NAME) >= 1402);
    assert!(server.log_metric("mirror_damage", NAME) >= 1);
    assert!(server.printed().contains("what is stored of a remote log is damaged"), "{}", server.printed());
    let incidents = || json(&run(&directory, &["incidents", "--json"]));
    let detail = poll("the incident", PATIENCE, || {
        incidents()["incidents"]
            .as_array()
            .unwrap()
            .iter()
            .find(|incident| incident["kind"] == "damage")
            .cloned()
    });
    assert!(detail.to_string().contains("head 300"), "{detail}");
    server.stop();
    let shown = run(&directory, &["config", "show", "--json"]).stdout;
    assert!(shown.contains(&format!("sumdb.{NAME}.verify_interval")), "{shown}");
}

#[test]
fn statistics_count_and_draw() {
    let (_log, directory) = mirrored();
    both_ways(&directory, |directory, _| {
        let svg = beside(directory, "growth.svg");
        let stats =
            json(&ran(directory, &["stats", NAME, "--json", "--svg", text(&svg)], 0))["stats"].clone();
        assert_eq!(
            (&stats["records"], &stats["heads"], &stats["others"]),
            (&701.into(), &2.into(), &0.into())
        );
        assert_eq!(stats["hosts"], serde_json::json!([["example.com", 701]]));
        assert_eq!(stats["paths"], serde_json::json!([["example.com/m", 701]]));
        let sizes: Vec<u64> =
            stats["growth"].as_array().unwrap().iter().map(|point| point[1].as_u64().unwrap()).collect();
        assert_eq!(sizes, [300, 701]);
        let drawn = std::fs::read_to_string(&svg).unwrap();
        assert!(drawn.starts_with("<svg ") && drawn.contains(&format!("{NAME}: records")), "{drawn}");
        let told = ran(directory, &["stats", NAME], 0).stdout;
        assert!(told.contains("  records     701\n") && told.contains("example.com/m"), "{told}");
        assert!(told.contains("701 ┤") && told.contains("300 ┤"), "{told}");
    });
}

#[test]
fn a_diff_shows_what_both_have_and_every_disagreement() {
    let (log, directory) = mirrored();
    // The own log has three of the public records and one of its own.
    let own = "corp.example/m v1.0.0 h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\
               corp.example/m v1.0.0/go.mod h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
    let import = |records: &str| {
        let file = beside(&directory, "records.txt");
        std::fs::write(&file, records).unwrap();
        let ran = run(&directory, &["import", text(&file), "--trust", "--importer", "a test"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    };
    let server = directory.serve();
    import(&[log.text(3), log.text(500), log.text(700), own].concat());
    server.stop();
    both_ways(&directory, |directory, _| {
        let all = json(&ran(directory, &["diff", "--json"], 0));
        let wanted = serde_json::json!([
            { "path": "corp.example/m", "own": 1, "mirror": 0, "both": 0 },
            { "path": "example.com/m", "own": 3, "mirror": 701, "both": 3 },
        ]);
        assert_eq!((&all[0]["paths"], &all[0]["disagree"]), (&wanted, &0.into()), "{all}");
        let some = json(&ran(directory, &["diff", NAME, "--modules", "corp.example", "--json"], 0));
        assert_eq!(some[0]["paths"], serde_json::json!([wanted[0]]), "{some}");
        let only = json(&ran(directory, &["diff", NAME, "--modules", "other.example", "--json"], 0));
        assert_eq!(only[0]["paths"], serde_json::json!([]));
        let told = ran(directory, &["diff"], 0).stdout;
        assert!(
            told.ends_with(&format!("{NAME}: 4 versions in the own log, 701 in the mirror, 3 the same\n")),
            "{told}"
        );
    });
    let lines = log.text(9).replace("h1:", "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\u{0}");
    let other: String = lines.lines().map(|line| format!("{}\n", line.split('\0').next().unwrap())).collect();
    import(&other);
    both_ways(&directory, |directory, _| {
        let told = ran(directory, &["diff"], 4);
        assert!(
            told.stdout.contains("example.com/m@v1.0.9\n  own log, record 4\n    example.com/m"),
            "{}",
            told.stdout
        );
        assert!(
            told.stderr.contains("1 module version of which") && told.stderr.contains("fix: "),
            "{}",
            told.stderr
        );
        let all = json(&ran(directory, &["diff", "--json"], 4));
        assert_eq!(all[0]["disagreements"][0]["mirror_record"], 9, "{all}");
    });
    let incidents = json(&run(&directory, &["incidents", "--json"]));
    let kinds: Vec<&str> = incidents["incidents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|incident| incident["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["hash-conflict"], "kept once: {incidents}");
}
