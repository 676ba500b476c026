//! The split view drill: one log shows two trees, signed with the same key, to two groups of clients. Whoever looks at both finds it
//! at once, and what is found convicts the key's holder before a program that has nothing of ours.
//!
//! The last test is the drill as README.md plays it: a log's files are copied, and both copies go on.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tallystick::tlog::{ConsistencyProof, TreeSize};
use tallystick::witness::AddCheckpoint;

use super::gossip::own_log;
use super::served::mirroring;
use super::small_log::{NAME, SmallLog};
use crate::cli::{Ran, Sandbox};
use crate::client::oracle::{self, Judged};
use crate::support::serve::{LogDirectory, Server};
use crate::support::witness::{WitnessProcess, command};
use crate::support::{logs, poll, web};

const PATIENCE: Duration = Duration::from_secs(30);

/// Head offices see 900 records, the others a tree of 800 that parts after 500.
fn views() -> (SmallLog, SmallLog) {
    let log = SmallLog::new(900);
    let other = log.fork(500, 800);
    (log, other)
}

#[track_caller]
fn assert_convicts(log: &SmallLog, evidence: &str) {
    assert_proves(&log.vkey(), evidence, 800, 900);
}

#[track_caller]
fn assert_proves(vkey: &str, evidence: &str, older: u64, newer: u64) {
    if oracle::is_there("the split view drill") {
        let proved = Judged { older, newer, error: String::new() };
        assert_eq!(oracle::judge(vkey, evidence), proved);
    }
}

#[test]
fn a_monitor_of_both_views_finds_it_in_its_first_poll() {
    let (log, other) = views();
    let (one, two) = (log.serve(), other.serve());
    for urls in [[one.url(), two.url()], [two.url(), one.url()]] {
        let sandbox = Sandbox::new();
        let [first, second] = urls;
        let text = format!(
            "state = \"state\"\n[[log]]\nname = \"{NAME}\"\nkey = \"{}\"\nurls = [\"{first}\", \"{second}\"]\n",
            log.vkey()
        );
        sandbox.write("monitor.toml", &text);
        let ran = sandbox.run(&["monitor", "monitor.toml", "--once", "--json"]);
        assert_eq!(ran.code, 4, "{}{}", ran.stdout, ran.stderr);
        let event: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(event["kind"], "fork");
        assert_convicts(&log, event["evidence"].as_str().unwrap());
        let file = sandbox.path("state").join(format!("{NAME}.incident-1.txt"));
        assert_eq!(std::fs::read_to_string(file).unwrap(), event["evidence"].as_str().unwrap());
    }
}

#[test]
fn the_first_gossip_between_the_groups_finds_it() {
    let (log, other) = views();
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), "");
    let server = directory.serve();
    let gossip = |note: &str| {
        let home = tempfile::tempdir().unwrap();
        let kept = home.path().join("pkg/sumdb").join(NAME);
        std::fs::create_dir_all(&kept).unwrap();
        std::fs::write(kept.join("latest"), note).unwrap();
        Sandbox::new().run(&["gossip", &server.url, "--gopath", home.path().to_str().unwrap(), "--json"])
    };
    assert_eq!(gossip(&log.note(700)).code, 0, "one of this group");
    assert_eq!(gossip(&log.note(500)).code, 0, "what both groups have seen");
    let ran = gossip(&other.note(800));
    assert_eq!(ran.code, 4, "{}{}", ran.stdout, ran.stderr);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_convicts(&log, answer[0]["evidence"].as_str().unwrap());
    server.stop();
}

/// `tallystick witness evidence`, as a person sees it and as a program does.
fn evidence_of(witness: &Path) -> (Ran, Value) {
    let run = |words: &[&str]| Ran::of(command(witness, words, &[]).output().unwrap());
    let (text, json) = (run(&["evidence"]), run(&["evidence", "--json"]));
    assert_eq!(text.code, json.code);
    (text, serde_json::from_str(&json.stdout).unwrap())
}

#[test]
fn a_witness_of_both_views_cosigns_one_and_keeps_what_convicts_the_log() {
    let log = SmallLog::new(900);
    let other = log.fork(500, 900);
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("w");
    let witness = WitnessProcess::start(&data, "witness.example/w1", &[log.vkey()]);
    let add = |view: &SmallLog, old: u64, size: u64| {
        let proof = ConsistencyProof::default();
        let request = AddCheckpoint { old: TreeSize(old), proof, checkpoint: view.checkpoint(size) };
        let page = web::post(&witness.url, "/add-checkpoint", request.format().as_bytes()).unwrap();
        (page.status, page.text())
    };
    assert_eq!(add(&log, 0, 900).0, 200);
    let (before, none) = evidence_of(&data);
    assert_eq!(
        (before.code, before.stdout.as_str(), none),
        (0, "no evidence against any log\n", Value::Array(vec![]))
    );
    // The other group's log has not been here before: it is told to go on from 900, and no proof leads there from its tree.
    assert_eq!(add(&other, 0, 800), (409, "900\n".to_owned()));
    let (status, why) = add(&other, 900, 900);
    assert_eq!(status, 409);
    assert!(why.contains("two histories"), "{why}");
    assert_eq!(add(&other.fork(900, 950), 900, 950).0, 422, "a proof that is none");
    let (text, json) = evidence_of(&data);
    assert_eq!(text.code, 4, "{}", text.stderr);
    assert!(text.stdout.contains("sum.test.example signed two trees of 900 records"), "{}", text.stdout);
    let kinds: Vec<_> = json.as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["inconsistent", "fork"], "the newest first");
    assert_eq!(json[0].get("report"), None, "a missing proof is no proof");
    assert_proves(&log.vkey(), json[1]["report"].as_str().unwrap(), 900, 900);
    assert_proves(&log.vkey(), &text.stdout, 900, 900);
    assert_eq!(add(&log, 900, 900).0, 200, "the first group's log is cosigned as before");
    assert!(witness.stop());
}

/// A log with two witnesses that have cosigned its 20 records, ended; and the witnesses.
fn witnessed_log(home: &Path) -> (LogDirectory, String, Vec<WitnessProcess>) {
    let (directory, signer) = own_log(&[20]);
    let vkey = signer.verifier().to_string();
    let witnesses: Vec<_> = ["w1", "w2"]
        .iter()
        .map(|name| {
            WitnessProcess::start(&home.join(name), &format!("{name}.example"), std::slice::from_ref(&vkey))
        })
        .collect();
    let mut rest =
        "[[route]]\nmodules = [\"none.example\"]\nsource = [\"file:///\"]\nchecksum = \"compute\"\n"
            .to_owned();
    for (number, witness) in witnesses.iter().enumerate() {
        rest += &format!(
            "[[witness]]\nname = \"w{}\"\nurl = \"{}\"\nkey = \"{}\"\n",
            number + 1,
            witness.url,
            witness.vkey
        );
    }
    directory.configure(signer.name().as_str(), &rest);
    let server = directory.serve();
    cosigned(&server, &witnesses);
    server.stop();
    (directory, vkey, witnesses)
}

/// Waits until both witnesses have cosigned the newest head.
fn cosigned(server: &Server, witnesses: &[WitnessProcess]) {
    poll("the newest head is cosigned", PATIENCE, || {
        let checkpoint = server.get("/tlog/checkpoint").text();
        let names = witnesses.iter().map(|witness| witness.vkey.split('+').next().unwrap());
        names.into_iter().all(|name| checkpoint.contains(&format!("\u{2014} {name} "))).then_some(())
    });
}

fn import(directory: &LogDirectory, lines: &str) {
    let sandbox = Sandbox::new();
    sandbox.write("records.txt", lines);
    let config = directory.config();
    let words =
        ["--config", config.to_str().unwrap(), "import", "records.txt", "--trust", "--importer", "drill"];
    sandbox.succeed(&words);
}

/// What `incidents` says of a running log, once it has `part` in it: an alarm is durable before it is answered, its incident is kept
/// by the writer after that.
fn shown_incidents(directory: &LogDirectory, rest: &[&str], part: &str) -> String {
    let config = directory.config();
    let words = ["--config", config.to_str().unwrap(), "incidents"];
    let words = [&words[..], rest].concat();
    poll("the incident is kept", PATIENCE, || {
        Some(Sandbox::new().run(&words).stdout).filter(|shown| shown.contains(part))
    })
}

#[test]
fn a_log_whose_files_were_copied_is_found_by_its_witnesses_by_gossip_and_by_a_monitor() {
    let home = tempfile::tempdir().unwrap();
    let (directory, vkey, witnesses) = witnessed_log(home.path());
    let clone = directory.copy();
    let (server, cloned) = (directory.serve(), clone.serve());
    assert_eq!(server.vkey, cloned.vkey);
    import(&directory, &logs::lines(20).to_text());
    cosigned(&server, &witnesses);
    import(&clone, &logs::lines_with(20, 1).to_text());

    // The witnesses refuse, keep both, and show the clone what it is.
    poll("the clone signs nothing more", PATIENCE, || (cloned.metric("read_only") == 1).then_some(()));
    let reports: Vec<String> = ["w1", "w2"]
        .iter()
        .filter_map(|name| {
            let (text, json) = evidence_of(&home.path().join(name));
            assert_eq!(text.code == 4, json.as_array().is_some_and(|all| !all.is_empty()));
            json[0]["report"].as_str().map(str::to_owned)
        })
        .collect();
    assert!(!reports.is_empty(), "the witness that told the clone has evidence");
    reports.iter().for_each(|report| assert_proves(&vkey, report, 21, 21));
    assert_eq!(server.metric("read_only"), 0, "the real log goes on");
    let incidents = shown_incidents(&clone, &["--json"], "misbehaviour");
    let incidents: Value = serde_json::from_str(&incidents).unwrap();
    let detail = &incidents["incidents"][0]["detail"];
    assert_eq!(detail["what"], "fork", "{detail}");
    assert_proves(&vkey, detail["text"].as_str().unwrap(), 21, 21);

    let sandbox = Sandbox::new();
    sandbox.write(
        "monitor.toml",
        &format!(
            "state = \"state\"\n[[log]]\nname = \"{}\"\nkey = \"{vkey}\"\nurls = [\"{}\", \"{}\"]\n",
            server.name(),
            server.url,
            cloned.url
        ),
    );
    let ran = sandbox.run(&["monitor", "monitor.toml", "--once", "--json"]);
    assert_eq!(ran.code, 4, "{}{}", ran.stdout, ran.stderr);
    let event: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_proves(&vkey, event["evidence"].as_str().unwrap(), 21, 21);

    // What a client of the clone was shown, told to the real log.
    sandbox.write("latest", &cloned.get("/latest").text());
    let ran = sandbox.run(&["gossip", &server.url, "--head", "latest", "--json"]);
    assert_eq!(ran.code, 4, "{}{}", ran.stdout, ran.stderr);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_proves(&vkey, answer[0]["evidence"].as_str().unwrap(), 21, 21);
    let shown = shown_incidents(&directory, &[], "what: fork\n");
    assert!(shown.contains("\tproof of misbehavior:\n"), "{shown}");
    server.stop();
    cloned.stop();
}
