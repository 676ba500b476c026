//! The split view drill: one log shows two trees, signed with the same key, to two groups of clients. Whoever looks at both finds it
//! at once, and what is found convicts the key's holder before a program that has nothing of ours.

use serde_json::Value;

use super::served::mirroring;
use super::small_log::{NAME, SmallLog};
use crate::cli::Sandbox;
use crate::client::oracle::{self, Judged};

/// Head offices see 900 records, the others a tree of 800 that parts after 500.
fn views() -> (SmallLog, SmallLog) {
    let log = SmallLog::new(900);
    let other = log.fork(500, 800);
    (log, other)
}

#[track_caller]
fn assert_convicts(log: &SmallLog, evidence: &str) {
    if oracle::is_there("the split view drill") {
        let proved = Judged { older: 800, newer: 900, error: String::new() };
        assert_eq!(oracle::judge(&log.vkey(), evidence), proved);
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
