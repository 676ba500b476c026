//! `tallystick monitor`: what it tells of logs that grow, fork, disagree, fall silent, go away; and its own state.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tallystick::note;
use tallystick::tlog::{Hash, InclusionProof, RecordId, TreeHead, verify_inclusion};

use super::gossip::own_log;
use super::served::{PATIENCE, growing};
use super::small_log::{NAME, SmallLog, answer};
use super::*;
use crate::cli::{Ran, Sandbox};
use crate::client::oracle::{self, Judged};
use crate::support::{logs, poll};

const SECRET: &str = "a secret of more than sixteen bytes";
const WATCHED: &str = "corp.example/billing";

/// Appends a record about a version of the watched module.
fn publish(log: &mut SmallLog, version: u64) -> String {
    let hash = Hash::of_record(&version.to_le_bytes());
    let text = format!("{WATCHED} v1.{version}.0 h1:{hash}\n{WATCHED} v1.{version}.0/go.mod h1:{hash}\n");
    log.push(&text);
    text
}

/// A monitor of one log, in a directory of its own.
pub(super) struct Lab {
    pub(super) sandbox: Sandbox,
    section: String,
}

impl Lab {
    pub(super) fn new(log: &SmallLog, url: &str, more: &str) -> Lab {
        let section =
            format!("[[log]]\nname = \"{NAME}\"\nkey = \"{}\"\nurls = [\"{url}\"]\n{more}\n", log.vkey());
        let lab = Lab { sandbox: Sandbox::new(), section };
        lab.configure("");
        lab
    }

    pub(super) fn configure(&self, top: &str) {
        self.sandbox.write("monitor.toml", &format!("state = \"state\"\n{top}\n{}", self.section));
    }

    pub(super) fn run(&self) -> Ran {
        self.sandbox.run(&["monitor", "monitor.toml", "--once", "--json"])
    }

    #[track_caller]
    pub(super) fn events(&self, code: i32) -> Vec<Value> {
        let ran = self.run();
        assert_eq!(ran.code, code, "{}{}", ran.stdout, ran.stderr);
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(super) fn state(&self) -> PathBuf {
        self.sandbox.path("state")
    }
}

/// Whether the event proves itself, to somebody who has only the log's key.
#[track_caller]
pub(super) fn assert_proved(event: &Value, key: &str) {
    let note = note::open(
        event["tree"]["note"].as_str().unwrap().as_bytes(),
        &[&key.parse::<tallystick::note::VerifierKey>().unwrap()],
    )
    .unwrap();
    let head = TreeHead::parse(&note.text).unwrap();
    let lines = event["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let hashes = event["hashes"].as_array().unwrap().iter();
    let proof = InclusionProof(hashes.map(|hash| hash.as_str().unwrap().parse().unwrap()).collect());
    let (record, leaf) = (RecordId(event["record"].as_u64().unwrap()), Hash::of_record(text.as_bytes()));
    assert_eq!(verify_inclusion(&proof, head.size, &head.root, record, &leaf), Ok(()), "{event}");
}

pub(super) fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

#[test]
fn versions_of_watched_modules_are_told_once_with_their_proof() {
    let mut log = SmallLog::new(700);
    let size = Arc::new(AtomicU64::new(700));
    let texts = [publish(&mut log, 1), publish(&mut log, 2)];
    log.grow(1_000, 0);
    let upstream = growing(&log, &size);
    let lab = Lab::new(&log, &upstream.url(), &format!("modules = [\"{WATCHED}\", \"*.corp.example\"]"));
    lab.configure("feed = \"feed.atom\"\ntextfile = \"monitor.prom\"");
    assert_eq!(lab.events(0), Vec::<Value>::new(), "what was there at the first start is not news");
    size.store(701, SeqCst);
    let first = lab.events(0);
    size.store(1_000, SeqCst);
    let events = [first, lab.events(0), lab.events(0)].concat();
    assert_eq!(kinds(&events), ["module", "module"]);
    for (n, (event, text)) in events.iter().zip(&texts).enumerate() {
        assert_eq!((&event["id"], &event["record"]), (&json!(n + 1), &json!(700 + n)));
        assert_eq!(event["module"], json!(format!("{WATCHED}@v1.{}.0", n + 1)));
        assert_eq!(event["lines"], json!(text.lines().collect::<Vec<_>>()));
        assert_proved(event, &log.vkey());
    }
    let feed = std::fs::read_to_string(lab.sandbox.path("feed.atom")).unwrap();
    assert_eq!(
        (feed.matches("<entry>").count(), feed.matches("corp.example/billing@v1.2.0 was published").count()),
        (2, 2)
    );
    let figures = std::fs::read_to_string(lab.sandbox.path("monitor.prom")).unwrap();
    assert!(figures.contains(&format!("tallystick_monitor_read{{log=\"{NAME}\"}} 1000\n")), "{figures}");
    assert!(figures.contains(&format!("tallystick_monitor_events_total{{log=\"{NAME}\"}} 2\n")), "{figures}");
}

#[test]
fn from_its_beginning_a_log_is_read_whole_and_wrong_records_are_refused() {
    let mut log = SmallLog::new(300);
    publish(&mut log, 1);
    log.grow(600, 0);
    let lying = Arc::new(AtomicBool::new(true));
    let (honest, lies) = (log.clone(), lying.clone());
    let upstream = HostileServer::start(move |path| {
        let mut body = honest.answer(path, 600, |_| 600);
        if let Some(body) = body.as_mut().filter(|_| lies.load(SeqCst) && path.starts_with("/tile/8/data/")) {
            body[40] ^= 1;
        }
        answer(body)
    });
    let lab = Lab::new(&log, &upstream.url(), &format!("modules = [\"{WATCHED}\"]\nfrom = 0"));
    let ran = lab.run();
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("its record 0 is another one"), "{}", ran.stderr);
    lying.store(false, SeqCst);
    let events = poll("it is asked again", PATIENCE, || Some(lab.run()).filter(|ran| ran.code == 0));
    let event: Value = serde_json::from_str(&events.stdout).unwrap();
    assert_eq!((&event["kind"], &event["record"]), (&json!("module"), &json!(300)));
    assert_proved(&event, &log.vkey());
}

#[test]
fn a_split_view_is_found_within_one_poll() {
    let log = SmallLog::new(700);
    let (upstream, forked) = log.serve_until_it_turns(log.fork(500, 900));
    for lost in [None, Some("the heads"), Some("the state")] {
        forked.store(false, SeqCst);
        let lab = Lab::new(&log, &upstream.url(), "");
        assert_eq!(lab.events(0), Vec::<Value>::new());
        for entry in std::fs::read_dir(lab.state()).unwrap() {
            let path = entry.unwrap().path();
            let is_state = path.ends_with("monitor.state");
            if lost == Some("the state") && is_state
                || lost == Some("the heads") && !is_state && path.is_file()
            {
                std::fs::remove_file(path).unwrap();
            }
        }
        forked.store(true, SeqCst);
        let events = lab.events(4);
        assert_eq!(kinds(&events), ["fork"], "{lost:?}");
        assert_eq!(lab.events(4), Vec::<Value>::new(), "it is told once, and stays");
        if oracle::is_there("a_split_view_is_found_within_one_poll") {
            let proved = Judged { older: 700, newer: 900, error: String::new() };
            assert_eq!(oracle::judge(&log.vkey(), events[0]["evidence"].as_str().unwrap()), proved);
        }
    }
}

#[test]
fn records_that_disagree_with_go_sum_or_another_log_are_alarms() {
    let (directory, _) = own_log(&[20]);
    let server = directory.serve();
    // The same module version as record 3 of the other log, with other hashes; and record 4 as it is there.
    let mut log = SmallLog::new(10);
    log.push(&logs::lines_with(3, 1).to_text());
    log.push(&logs::lines(4).to_text());
    log.push(&logs::lines_with(100, 0).to_text());
    let upstream = log.serve();
    let lab = Lab::new(
        &log,
        &upstream.url(),
        "from = 0\nmodules = [\"corp.example\"]\ncompare = [\"sum.corp.example\"]\ngosum = [\"go.sum\"]",
    );
    let other = format!(
        "[[log]]\nname = \"sum.corp.example\"\nkey = \"{}\"\nurls = [\"{}\"]\n",
        server.vkey, server.url
    );
    let lab = Lab { section: lab.section.clone() + &other, ..lab };
    lab.configure("");
    // Record 1 as it is, record 2 as it is in another tree.
    lab.sandbox.write("go.sum", &(log.text(1).to_owned() + log.fork(2, 3).text(2)));
    let events = lab.events(4);
    assert_eq!(kinds(&events), ["gosum-conflict", "module", "log-conflict", "module", "module"]);
    assert_eq!((&events[0]["record"], &events[0]["module"]), (&json!(2), &json!("example.com/m@v1.0.2")));
    assert_eq!(events[2]["evidence"], json!(logs::lines(3).to_text()));
    events.iter().for_each(|event| assert_proved(event, &log.vkey()));
    server.stop();
}

#[test]
fn without_records_heads_are_followed_and_silence_is_told() {
    let mut log = SmallLog::new(700);
    publish(&mut log, 1);
    let size = Arc::new(AtomicU64::new(700));
    let (honest, shown, refuses) = (log.clone(), size.clone(), Arc::new(AtomicBool::new(true)));
    let refusing = refuses.clone();
    let upstream = HostileServer::start(move |path| {
        let size = shown.load(SeqCst);
        let refused = refusing.load(SeqCst) && path.starts_with("/tile/8/data/");
        answer(honest.answer(path, size, |_| size).filter(|_| !refused))
    });
    let more = format!("modules = [\"{WATCHED}\"]\nfrom = 690\nsilence = \"1s\"\nlag = \"1s\"");
    let lab = Lab::new(&log, &upstream.url(), &more);
    assert_eq!(kinds(&lab.events(0)), ["heads-only"]);
    let silent = poll("it is told", PATIENCE, || Some(lab.events(0)).filter(|events| !events.is_empty()));
    assert_eq!(kinds(&silent), ["silent"]);
    assert_eq!(lab.events(0), Vec::<Value>::new());
    size.store(701, SeqCst);
    assert_eq!(kinds(&lab.events(0)), ["recovered"], "a new head");
    refuses.store(false, SeqCst);
    let read = poll("records are read", PATIENCE, || {
        Some(lab.events(0)).filter(|events| kinds(events).contains(&"module"))
    });
    assert!(kinds(&read).ends_with(&["recovered", "module"]), "{read:?}");
    drop(upstream);
    let lagging = poll("it is told", PATIENCE, || Some(lab.events(3)).filter(|events| !events.is_empty()));
    assert!(kinds(&lagging).contains(&"lagging"), "{lagging:?}");
}

#[test]
fn damage_of_its_own_state_is_no_fork() {
    let log = SmallLog::new(700);
    let upstream = log.serve();
    let lab = Lab::new(&log, &upstream.url(), "");
    lab.events(0);
    let file = lab.state().join("monitor.state");
    let mut text = std::fs::read(&file).unwrap();
    // As after a power cut on a file system that forgets what was written (golang/go#38348).
    text.fill(0);
    std::fs::write(&file, &text).unwrap();
    let ran = lab.run();
    assert_eq!((ran.code, ran.stdout.as_str()), (4, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("no log has done that"), "{}", ran.stderr);
    std::fs::remove_file(&file).unwrap();
    lab.events(0);
    // Another key is another log.
    let other = lab.section.replace(&log.vkey(), "sum.test.example+00000000+AAAA");
    lab.sandbox.write("monitor.toml", &format!("state = \"state\"\n{other}"));
    assert_eq!(lab.run().code, 2);
}

/// Takes web hooks: bodies, with whether their signature is right.
pub(super) struct Receiver {
    url: String,
    pub(super) taken: Arc<Mutex<Vec<(bool, Value)>>>,
    refuses: Arc<AtomicBool>,
}

impl Receiver {
    pub(super) fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (taken, refuses) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let receiver = Receiver { url, taken: taken.clone(), refuses: refuses.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut length, mut signature) = (0, String::new());
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                        break;
                    }
                    let (name, value) = line.trim().split_once(": ").unwrap_or_default();
                    match name.to_lowercase().as_str() {
                        "content-length" => length = value.parse().unwrap(),
                        "x-hub-signature-256" => signature = value.to_owned(),
                        _ => {}
                    }
                }
                let mut body = vec![0; length];
                let whole = stream.read_exact(&mut body).ok();
                let Some(event) = whole.and_then(|()| serde_json::from_slice(&body).ok()) else {
                    continue; // killed while it told
                };
                let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
                mac.update(&body);
                let right: String =
                    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                let status = if refuses.load(SeqCst) { "503 Later" } else { "204 Taken" };
                if !refuses.load(SeqCst) {
                    let is_right = signature == format!("sha256={right}");
                    taken.lock().unwrap().push((is_right, event));
                }
                let _ = write!(
                    stream.get_mut(),
                    "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
        });
        receiver
    }
}

pub(super) fn with_hook(lab: &Lab, receiver: &Receiver) {
    use std::os::unix::fs::PermissionsExt;
    lab.sandbox.write("hook.secret", &format!("{SECRET}\n"));
    let secret = lab.sandbox.path("hook.secret");
    std::fs::set_permissions(secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    lab.configure(&format!("[webhook]\nurl = \"{}\"\nsecret_file = \"hook.secret\"", receiver.url));
}

#[test]
fn a_web_hook_is_told_when_it_can_be_and_in_order() {
    let mut log = SmallLog::new(5);
    (0..3).for_each(|n| drop(publish(&mut log, n)));
    let upstream = log.serve();
    let receiver = Receiver::start();
    let lab = Lab::new(&log, &upstream.url(), &format!("modules = [\"{WATCHED}\"]\nfrom = 0"));
    with_hook(&lab, &receiver);
    receiver.refuses.store(true, SeqCst);
    assert_eq!(lab.events(3).len(), 3, "they are found, and nobody takes them");
    assert_eq!(lab.events(3).len(), 0);
    receiver.refuses.store(false, SeqCst);
    assert_eq!(lab.events(0).len(), 0);
    let taken = receiver.taken.lock().unwrap().clone();
    let ids: Vec<u64> = taken.iter().map(|(_, event)| event["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 3]);
    for (is_right, event) in &taken {
        assert!(is_right, "{event}");
        assert_proved(event, &log.vkey());
    }
}

/// Killed at any moment: every event is found once, and told at least once.
#[test]
fn kills_lose_no_event() {
    let mut log = SmallLog::new(0);
    for n in 0..120 {
        publish(&mut log, n);
        log.grow(25 * (n + 1), 0);
    }
    let upstream = log.serve();
    let receiver = Receiver::start();
    let lab = Lab::new(&log, &upstream.url(), &format!("modules = [\"{WATCHED}\"]\nfrom = 0\npoll = \"1s\""));
    with_hook(&lab, &receiver);
    let told = || receiver.taken.lock().unwrap().len();
    for round in 1..=6 {
        let mut command = lab.sandbox.command(&["monitor", "monitor.toml"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let enough = round * 12;
        poll("events are told", PATIENCE, || (told() >= enough).then_some(()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(lab.run().code, 0);
    let taken = receiver.taken.lock().unwrap().clone();
    let ids: BTreeSet<u64> = taken.iter().map(|(_, event)| event["id"].as_u64().unwrap()).collect();
    let records: BTreeSet<u64> = taken.iter().map(|(_, event)| event["record"].as_u64().unwrap()).collect();
    assert_eq!((ids.len(), records.len()), (120, 120), "each record is one event");
    assert_eq!(ids, (1..=120).collect());
}
