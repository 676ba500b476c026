//! `tallystick audit --gosum`: the records of a go.sum, where nobody gives all of a log.

use serde_json::{Value, json};

use super::small_log::{NAME, SmallLog, answer};
use super::*;
use crate::cli::Sandbox;
use crate::fixture::files;

/// Ends with this exit code; the report.
#[track_caller]
fn audit(log: &str, key: &str, gosum: &str, rest: &[&str], code: i32) -> Value {
    let sandbox = Sandbox::new();
    sandbox.write("go.sum", gosum);
    let words = ["audit", log, "--key", key, "--gosum", "go.sum", "--json"];
    let ran = sandbox.run(&[&words[..], rest].concat());
    assert_eq!(ran.code, code, "{}{}", ran.stdout, ran.stderr);
    assert!(!sandbox.path("tallystick-audit").exists(), "it remembers nothing");
    serde_json::from_str(&ran.stdout).unwrap()
}

#[track_caller]
fn assert_found(report: &Value, expected: &[(&str, &str)]) {
    let all = report["findings"].as_array().unwrap().iter();
    let found: Vec<_> =
        all.map(|one| (one["subject"].as_str().unwrap(), one["place"].as_str().unwrap())).collect();
    assert_eq!(found, expected, "{report}");
}

fn golang_key() -> String {
    format!("{}/keys/sum.golang.org.vkey", env!("CARGO_MANIFEST_DIR"))
}

/// What sum.golang.org said of 30 modules, each under a head of its own time.
#[test]
fn the_fixture_is_audited_as_far_as_it_goes() {
    let (directory, key) = (fixture_directory(), golang_key());
    let gosum: String = fixture_modules().into_iter().map(|(_, text)| text).collect();
    let log = directory.to_str().unwrap();
    let whole = Sandbox::new().run(&["audit", log, "--key", &key]);
    assert_eq!(whole.code, 2, "{}", whole.stderr);
    assert!(
        whole.stderr.contains("does not give data tiles") && whole.stderr.contains("--gosum FILE"),
        "{}",
        whole.stderr
    );

    let report = audit(log, &key, &gosum, &[], 0);
    let tiles = files(&directory, "tile").len();
    assert_eq!((&report["size"], &report["records"]), (&json!(66_398_721), &json!(30)), "{report}");
    assert_eq!((&report["heads"], &report["hash_tiles"]), (&json!(20), &json!(tiles)), "{report}");
    assert_eq!((&report["lookups"], &report["skipped"]), (&json!(30), &json!([])), "{report}");

    // What is not there is said, and does not hinder the rest.
    let line = "example.com/unknown v1.0.0 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=\n";
    let report = audit(log, &key, &(gosum.clone() + line), &[], 0);
    assert_eq!(report["skipped"], json!(["example.com/unknown@v1.0.0: this log does not have it"]));
    // A line that says something else, of a record that is what it was.
    let other = gosum.replace("h1:w5fcysjrx7yqtD/", "h1:w5fcysjrx7yqtE/");
    assert_ne!(other, gosum);
    assert_found(&audit(log, &key, &other, &[], 4), &[("records", "rsc.io/quote@v1.5.2, record 942")]);
}

#[test]
fn every_changed_file_of_the_fixture_is_found() {
    let copy = tempfile::tempdir().unwrap();
    let write = |path: &str, bytes: &[u8]| {
        let path = copy.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for below in ["tile", "lookup"] {
        all.extend(
            files(&fixture_directory(), below)
                .into_iter()
                .map(|(path, data)| (format!("{below}/{path}"), data)),
        );
    }
    write("latest", &fixture_answer("latest").unwrap());
    all.iter().for_each(|(path, data)| write(path, data));
    let gosum: String = fixture_modules().into_iter().map(|(_, text)| text).collect();
    for (path, data) in all.iter().step_by(7) {
        let mut changed = data.clone();
        changed[data.len() / 2] ^= 1;
        write(path, &changed);
        let report = audit(copy.path().to_str().unwrap(), &golang_key(), &gosum, &[], 4);
        let found = report["findings"].as_array().unwrap();
        assert!(!found.is_empty() && report["more_findings"] == 0, "{path}: {report}");
        write(path, data);
    }
    audit(copy.path().to_str().unwrap(), &golang_key(), &gosum, &[], 0);
}

/// Look-ups are answered from one tree, `latest` and the tiles from another that parts from it after 500 records.
#[test]
fn heads_and_records_of_another_tree_are_found() {
    let log = SmallLog::new(900);
    let other = log.fork(500, 800);
    let (honest, forked) = (log.clone(), other.clone());
    let server = HostileServer::start(move |path| match path.starts_with("/lookup/") {
        true => answer(forked.answer(path, 800, |_| 800)),
        false => answer(honest.answer(path, 900, |_| 900).filter(|_| !path.contains("/data/"))),
    });
    // The record is in both trees, the head is not.
    let report = audit(&server.url(), &log.vkey(), log.text(7), &[], 4);
    assert_found(&report, &[("heads", "lookup of example.com/m@v1.0.7")]);
    assert_eq!(report["heads"], 2, "{report}");
    let report = audit(&server.url(), &log.vkey(), other.text(600), &[], 4);
    let place = "example.com/m@v1.0.600, record 600";
    assert_found(&report, &[("heads", "lookup of example.com/m@v1.0.600"), ("records", place)]);
    // A head that a build kept.
    let honest = log.clone();
    let server = HostileServer::start(move |path| answer(honest.answer(path, 900, |_| 900)));
    let kept = tempfile::tempdir().unwrap();
    let file = kept.path().join("latest");
    for (note, code) in [(log.note(700), 0), (other.note(700), 4)] {
        std::fs::write(&file, note).unwrap();
        audit(&server.url(), &log.vkey(), log.text(7), &["--from", file.to_str().unwrap()], code);
    }
}

/// A database that the configuration knows is not asked for what is private; any other is asked for everything.
#[test]
fn private_names_are_not_told_to_a_known_database() {
    let log = SmallLog::new(300);
    let hash = "h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=";
    let names = ["corp.example/secret", "corp.example/Team/x", "corp.example/team", "public.example/x"];
    let gosum: String = (0..20).map(|n| log.text(n)).collect::<String>()
        + &names.map(|name| format!("{name} v1.0.0 {hash}\n")).concat();
    let route = "[[route]]\nmodules = [\"corp.example/secret\", \"corp.example/team/*\"]\nsource = [\"file:///nonexistent\"]\n\
                 checksum = \"compute\"\n";
    let known = format!("[sumdb.\"{}\"]\nkey = \"{}\"\nurls = [\"https://x.example\"]\n", NAME, log.vkey());
    for (config, withheld) in [(format!("{known}{route}"), 3), (route.to_owned(), 0)] {
        let upstream = log.serve();
        let sandbox = Sandbox::new();
        sandbox.write("go.sum", &gosum);
        sandbox.write("t.toml", &config);
        let words = [
            "audit",
            &upstream.url(),
            "--key",
            &log.vkey(),
            "--gosum",
            "go.sum",
            "--json",
            "--config",
            "t.toml",
        ];
        let ran = sandbox.run(&words);
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        let skipped = report["skipped"].as_array().unwrap();
        let unnamed = skipped.iter().filter(|text| text.as_str().unwrap().contains("not named to")).count();
        assert_eq!((skipped.len(), unnamed), (4, withheld), "{report}");
        let told = upstream.paths().iter().filter(|path| path.contains("corp.example")).count();
        assert_eq!(told, 3 - withheld, "{:?}", upstream.paths());
    }
    // Without a configuration GOPRIVATE says what is private to the public database.
    let upstream = HostileServer::always(crate::support::hostile::Behaviour::not_found());
    let sandbox = Sandbox::new();
    sandbox.write("go.sum", &gosum);
    let words = ["audit", &upstream.url(), "--key", &golang_key(), "--gosum", "go.sum"];
    let _ = sandbox.run_with(&words, &[("GOPRIVATE", "corp.example")]);
    assert!(!upstream.paths().iter().any(|path| path.contains("corp.example")), "{:?}", upstream.paths());
}
