//! A monitor's go.sum files about records that were there before it began; and its own metrics.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use serde_json::{Value, json};

use super::monitor::{Lab, Receiver, assert_proved, kinds, with_hook};
use super::served::{PATIENCE, growing};
use super::small_log::{NAME, SmallLog, answer};
use super::*;
use crate::support::{poll, web};

const LOOKUP: &str = "gosum = [\"go.sum\"]\nlookup = true\nprivate = [\"corp.example/team/*\"]";
/// Two module versions that no log here has; one must not be named to anybody.
const ELSEWHERE: &str = "example.org/other v1.0.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\
    corp.example/Team/secret v1.0.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\
    corp.example/team/secret v1.0.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

/// What was looked up since the last time.
fn looked_up(upstream: &HostileServer, seen: &mut usize) -> usize {
    let all: Vec<String> = upstream.paths().into_iter().filter(|path| path.starts_with("/lookup/")).collect();
    assert!(!all.iter().any(|path| path.contains("secret")), "{all:?}");
    let new = all.len() - *seen;
    *seen = all.len();
    new
}

fn pass(lab: &Lab) -> Value {
    let text = std::fs::read_to_string(lab.state().join("monitor.state")).unwrap();
    let state: Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
    state["logs"][NAME]["gosum"].clone()
}

fn counts(pass: &Value) -> [u64; 4] {
    ["total", "next", "checked", "missing"].map(|key| pass[key].as_u64().unwrap())
}

#[test]
fn lines_of_older_records_are_looked_up_once_and_conflicts_told_once() {
    let log = SmallLog::new(700);
    let other = log.fork(0, 700);
    let upstream = log.serve();
    let lab = Lab::new(&log, &upstream.url(), LOOKUP);
    // As the log has them, but for two.
    let lines = |wrong: &[u64]| -> String {
        let text = |n| if wrong.contains(&n) { other.text(n) } else { log.text(n) };
        (0..150).map(text).chain([ELSEWHERE]).collect()
    };
    lab.sandbox.write("go.sum", &lines(&[7, 99]));
    let (mut seen, events) = (0, lab.events(4));
    assert_eq!(kinds(&events), ["gosum-conflict", "gosum-conflict"]);
    let records: BTreeSet<u64> = events.iter().map(|event| event["record"].as_u64().unwrap()).collect();
    assert_eq!(records, BTreeSet::from([7, 99]));
    for event in &events {
        assert_proved(event, &log.vkey());
        let theirs = other.text(event["record"].as_u64().unwrap());
        assert_eq!(event["evidence"], json!(theirs), "what go.sum says");
    }
    assert_eq!(looked_up(&upstream, &mut seen), 151);
    assert_eq!(counts(&pass(&lab)), [151, 151, 150, 1], "the log does not have one: counted, no event");

    assert_eq!(lab.events(0), Vec::<Value>::new());
    assert_eq!(looked_up(&upstream, &mut seen), 0, "nothing is asked again");

    // One was mended, one is new; of the others nothing is news, and what was proved is kept.
    lab.sandbox.write("go.sum", &lines(&[99, 100]));
    let events = lab.events(4);
    assert_eq!((kinds(&events), &events[0]["record"]), (vec!["gosum-conflict"], &json!(100)));
    assert_eq!(looked_up(&upstream, &mut seen), 1, "what the log did not have");
    // The mended one is wrong again: that is news.
    lab.sandbox.write("go.sum", &lines(&[7, 99, 100]));
    let events = lab.events(4);
    assert_eq!((kinds(&events), &events[0]["record"]), (vec!["gosum-conflict"], &json!(7)));
    let figures = lab.sandbox.path("monitor.prom");
    lab.configure(&format!("textfile = {figures:?}"));
    lab.events(0);
    let figures = std::fs::read_to_string(figures).unwrap();
    for (name, value) in [("checked", 150), ("missing", 1), ("left", 0)] {
        let line = format!("tallystick_monitor_gosum_{name}{{log=\"{NAME}\"}} {value}\n");
        assert!(figures.contains(&line), "{figures}");
    }
}

/// A record that is read as new and looked up as old is one event; without `lookup` nothing is named.
#[test]
fn a_conflict_is_told_by_one_of_both_ways_and_nothing_is_named_unasked() {
    let log = SmallLog::new(300);
    let other = log.fork(0, 300);
    let upstream = log.serve();
    for (more, events) in [("gosum = [\"go.sum\"]".to_owned(), 0), (LOOKUP.to_owned() + "\nfrom = 0", 1)] {
        let lab = Lab::new(&log, &upstream.url(), &more);
        lab.sandbox.write("go.sum", &(other.text(12).to_owned() + log.text(13)));
        assert_eq!(kinds(&lab.events(if events == 0 { 0 } else { 4 })), vec!["gosum-conflict"; events]);
        assert_eq!(looked_up(&upstream, &mut 0) > 0, events > 0);
    }
}

#[test]
fn what_cannot_be_looked_up_is_tried_again_and_keeps_nothing_from_the_rest() {
    let log = SmallLog::new(300);
    let (honest, refuses) = (log.clone(), Arc::new(AtomicU64::new(0)));
    let refusing = refuses.clone();
    let upstream = HostileServer::start(move |path| match refusing.load(SeqCst) {
        // One module version only, then all.
        1 if path == "/lookup/example.com/m@v1.0.5" => Behaviour::error(500, "Broken"),
        2 if path.starts_with("/lookup/") => Behaviour::error(500, "Broken"),
        _ => answer(honest.answer(path, 300, |_| 300)),
    });
    let lines: String = (0..20).map(|n| log.text(n)).collect();
    for (refused, code, expected) in [(1, 0, [20, 20, 19, 0]), (2, 3, [0; 4])] {
        refuses.store(refused, SeqCst);
        let lab = Lab::new(&log, &upstream.url(), LOOKUP);
        lab.sandbox.write("go.sum", &lines);
        let ran = lab.run();
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{}", ran.stderr);
        if code == 0 {
            assert_eq!(counts(&pass(&lab)), expected);
            assert!(pass(&lab)["again_at"].is_string(), "{}", pass(&lab));
        } else {
            assert_eq!(pass(&lab), Value::Null);
            refuses.store(0, SeqCst);
            poll("it is asked again", PATIENCE, || (lab.run().code == 0).then_some(()));
            assert_eq!(counts(&pass(&lab)), [20, 20, 20, 0]);
        }
    }
}

/// Killed at any moment: each conflict is one event, told at least once.
#[test]
fn kills_while_lines_are_looked_up_lose_and_repeat_no_event() {
    let log = SmallLog::new(400);
    let other = log.fork(0, 400);
    let upstream = log.serve();
    let receiver = Receiver::start();
    let lab = Lab::new(&log, &upstream.url(), &format!("{LOOKUP}\npoll = \"1s\""));
    with_hook(&lab, &receiver);
    lab.sandbox.write("go.sum", &(0..400).map(|n| other.text(n)).collect::<String>());
    for round in 1..=4 {
        let mut command = lab.sandbox.command(&["monitor", "monitor.toml"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let reached = || pass_of(&lab) >= round * 64 || pass_of(&lab) == 400;
        poll("lines are looked up", PATIENCE, || reached().then_some(()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_ne!(lab.run().code, 3);
    let taken = receiver.taken.lock().unwrap().clone();
    let ids: BTreeSet<u64> = taken.iter().map(|(_, event)| event["id"].as_u64().unwrap()).collect();
    let records: BTreeSet<u64> = taken.iter().map(|(_, event)| event["record"].as_u64().unwrap()).collect();
    assert_eq!((ids, records.len()), ((1..=400).collect(), 400), "each conflict is one event");
}

/// How many lines were looked up, as far as there is a state.
fn pass_of(lab: &Lab) -> u64 {
    let text = std::fs::read_to_string(lab.state().join("monitor.state")).unwrap_or_default();
    let state = text.split_once('\n').and_then(|(_, json)| serde_json::from_str::<Value>(json).ok());
    state.and_then(|state| state["logs"][NAME]["gosum"]["next"].as_u64()).unwrap_or(0)
}

#[test]
fn a_monitor_that_follows_has_its_own_door_for_health_and_figures() {
    let log = SmallLog::new(300);
    let size = Arc::new(AtomicU64::new(200));
    let upstream = growing(&log, &size);
    let lab = Lab::new(&log, &upstream.url(), "poll = \"1s\"");
    lab.configure("metrics_listen = \"127.0.0.1:0\"");
    let mut child = lab
        .sandbox
        .command(&["monitor", "monitor.toml"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let url =
        lines.find_map(|line| Some(line.split_once("http://")?.1.trim_end_matches("/metrics").to_owned()));
    let url = format!("http://{}", url.expect("it says where"));
    std::thread::spawn(move || lines.count());
    let page = |path: &str| web::get(&url, path).unwrap();
    assert_eq!(page("/healthz").text(), "ok\n");
    poll("it has polled", PATIENCE, || (page("/readyz").text() == "ready\n").then_some(()));
    let shows = |line: &str| page("/metrics").text().contains(line).then_some(());
    let of_size = |size: u64| format!("tallystick_monitor_size{{log=\"{NAME}\"}} {size}.0\n");
    assert!(shows(&of_size(200)).is_some(), "{}", page("/metrics").text());
    size.store(300, SeqCst);
    poll("it follows", PATIENCE, || shows(&of_size(300)));
    assert_eq!(page("/lookup/x@v1.0.0").status, 404);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    lab.events(0);
}
