//! Heads that clients were shown, told to a server: of its own log, and of a log that it mirrors.

use crate::support::logs::LogOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use serde_json::{Value, json};
use tallystick::config::keys;
use tallystick::gossip::{Gossip, Verdict};
use tallystick::log::{Conditions, Log, NotPassed, OpenedLog, PublishGate, ReadOnly, Snapshot, State};
use tallystick::mirror::Mirrors;
use tallystick::note::{SignerKey, sign};
use tallystick::store::StoreError;
use tallystick::tlog::{ConsistencyProof, Hash, TreeHead, TreeSize, verify_consistency};

use super::served::{growing, mirroring};
use super::small_log::{NAME, SmallLog};
use super::*;
use crate::cli::{Ran, Sandbox};
use crate::client::oracle::{self, Judged};
use crate::support::serve::{LogDirectory, Server};
use crate::support::{eventually, logs, web};

const OWN: &str = "sum.corp.example";
const NO_MODULES: &str =
    "[[route]]\nmodules = [\"none.example\"]\nsource = [\"file:///nonexistent\"]\nchecksum = \"compute\"\n";

fn tell(server: &Server, note: &str) -> (u16, Value) {
    let page = web::post(&server.url, "/api/v1/gossip", note.as_bytes()).unwrap();
    (page.status, serde_json::from_slice(&page.body).unwrap())
}

#[track_caller]
fn told(server: &Server, note: &str, verdict: &str) -> Value {
    let (status, answer) = tell(server, note);
    assert_eq!((status, &answer["verdict"]), (200, &json!(verdict)), "{answer}");
    answer
}

/// Whether the hashes lead from the posted head to the known one.
#[track_caller]
fn assert_proved(answer: &Value) {
    let tree = |head: &Value| -> TreeHead {
        let root = head["root"].as_str().unwrap().parse().unwrap();
        TreeHead { size: TreeSize(head["size"].as_u64().unwrap()), root }
    };
    let (old, new) = (tree(&answer["posted"]), tree(&answer["known"]));
    let hashes = answer["hashes"].as_array().unwrap_or_else(|| panic!("no proof: {answer}"));
    let proof = ConsistencyProof(hashes.iter().map(|hash| hash.as_str().unwrap().parse().unwrap()).collect());
    assert_eq!(verify_consistency(&proof, new.size, &new.root, old.size, &old.root), Ok(()), "{answer}");
}

/// A log of its own with heads of these sizes.
pub(super) fn own_log(sizes: &[u64]) -> (LogDirectory, SignerKey) {
    let directory = LogDirectory::new(OWN, NO_MODULES);
    let signer = || keys::load_or_create(&directory.data(), Some(OWN), |_| Ok(())).unwrap().0;
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (data, signers) = (directory.data(), vec![signer()]);
        let anchor = data.join("anchor.db");
        let clock = Clock::system();
        let options = LogOptions { directory: data, anchor, signers, reader_cache_kib: 1024, clock };
        let log = logs::open_log_as(options, Conditions::default()).unwrap();
        for size in sizes {
            let from = log.snapshot().size().0;
            log.append(logs::candidates(from..*size)).await.unwrap();
        }
        tokio::task::spawn_blocking(|| log.close()).await.unwrap();
    });
    let signer = signer();
    (directory, signer)
}

fn signed(signer: &SignerKey, size: u64, root: Hash) -> String {
    sign(&TreeHead { size: TreeSize(size), root }.format(), &[signer]).unwrap()
}

fn incidents(directory: &LogDirectory) -> Vec<Value> {
    let config = directory.config().to_str().unwrap().to_owned();
    let ran = Sandbox::new().run(&["--config", &config, "incidents", "--json"]);
    let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
    let is_open = shown["open"] != 0 || !shown["read_only"].is_null();
    assert_eq!(ran.code, if is_open { 4 } else { 0 }, "{shown} {}", ran.stderr);
    shown["incidents"].as_array().unwrap().clone()
}

#[test]
fn heads_of_the_own_log_are_proved_and_others_raise_nothing() {
    let (directory, signer) = own_log(&[300, 500]);
    let server = directory.serve();
    let head = |size: u64| -> Value {
        serde_json::from_slice(&server.get(&format!("/api/v1/heads/{size}")).body).unwrap()
    };
    for size in [300, 500] {
        let answer = told(&server, head(size)["note"].as_str().unwrap(), "consistent");
        assert_eq!((&answer["log"], &answer["is_own"]), (&json!(OWN), &json!(true)));
        assert_eq!((&answer["posted"]["size"], &answer["known"]["size"]), (&json!(size), &json!(500)));
        assert_proved(&answer);
    }
    let root: Hash = head(300)["root"].as_str().unwrap().parse().unwrap();
    // A head that was never published is one of the log all the same, and so is one in the words of C2SP.
    let between: Value =
        serde_json::from_slice(&server.get("/api/v1/proofs/inclusion?record=0&size=333").body).unwrap();
    let between = signed(&signer, 333, between["root"].as_str().unwrap().parse().unwrap());
    assert_proved(&told(&server, &between, "consistent"));
    let checkpoint = sign(&format!("{OWN}\n300\n{root}\n"), &[&signer]).unwrap();
    assert_proved(&told(&server, &checkpoint, "consistent"));
    assert_eq!(told(&server, &signed(&signer, 0, Hash::EMPTY_TREE), "consistent")["hashes"], Value::Null);

    let stranger = SmallLog::new(400);
    let mut many = head(300)["note"].as_str().unwrap().to_owned();
    let line = stranger.note(3).lines().last().unwrap().to_owned();
    many.extend((0..100).map(|_| format!("{line}\n")));
    let changed = head(300)["note"].as_str().unwrap().replace("\n300\n", "\n301\n");
    for (note, status, why) in [
        (stranger.note(400), 404, "unknown log"),
        (changed, 403, "invalid signature"),
        (many, 400, "more than 100 signatures"),
        ("<html>".to_owned(), 400, "malformed note"),
        (String::new(), 400, "malformed note"),
        (format!("{}\n\u{2014} x AAAA\n", "x\n".repeat(40_000)), 413, "larger than"),
        (sign("another text\n1\n", &[&signer]).unwrap(), 422, "no tree head"),
        (signed(&signer, 0, root), 422, "no tree head"),
        (sign(&format!("sum.other.example\n300\n{root}\n"), &[&signer]).unwrap(), 422, "no tree head"),
    ] {
        let (said, problem) = tell(&server, &note);
        assert_eq!(said, status, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(why), "{problem}");
    }
    assert_eq!(server.get("/api/v1/gossip").status, 405);
    assert_eq!((server.metric("gossip_consistent"), server.metric("gossip_refused")), (5, 8));
    assert_eq!((server.metric("gossip_forks"), server.metric("read_only")), (0, 0));
    server.stop();
    assert_eq!(incidents(&directory), Vec::<Value>::new());
}

#[test]
fn a_fork_of_the_own_log_ends_signing_and_leaves_evidence() {
    let (directory, signer) = own_log(&[500]);
    let server = directory.serve();
    let fork = signed(&signer, 400, Hash::of_record(b"another tree"));
    let answer = told(&server, &fork, "fork");
    let evidence = answer["evidence"].as_str().unwrap().to_owned();
    assert_eq!((server.metric("gossip_forks"), server.metric("read_only")), (1, 1));
    assert_eq!(std::fs::read_to_string(directory.data().join("log.incident-1.txt")).unwrap(), evidence);
    // Again, with what somebody has written below it: it is the same one.
    let line = SmallLog::new(3).note(3).lines().last().unwrap().to_owned();
    assert_eq!(told(&server, &format!("{fork}{line}\n"), "fork")["evidence"], json!(evidence));
    assert!(
        server.get("/lookup/corp.example/Team0/module-0@v1.0.0").status != 500,
        "what is there is served"
    );
    server.stop();
    let kept = incidents(&directory);
    assert_eq!((kept.len(), &kept[0]["kind"]), (1, &json!("misbehaviour")), "{kept:?}");
    let detail = &kept[0]["detail"];
    assert_eq!((&detail["what"], &detail["text"]), (&json!("fork"), &json!(evidence)));
    if oracle::is_there("a_fork_of_the_own_log_ends_signing_and_leaves_evidence") {
        let proved = Judged { older: 400, newer: 500, error: String::new() };
        assert_eq!(oracle::judge(&signer.verifier().to_string(), &evidence), proved);
    }
}

/// Two roots of one size; and a checkpoint convicts like a tree note.
#[test]
fn a_fork_of_the_same_size_and_one_in_a_checkpoint() {
    for text in ["go.sum database tree", OWN] {
        let (directory, signer) = own_log(&[20]);
        let server = directory.serve();
        let fork = sign(&format!("{text}\n20\n{}\n", Hash::of_record(b"another tree")), &[&signer]).unwrap();
        let evidence = told(&server, &fork, "fork")["evidence"].as_str().unwrap().to_owned();
        server.stop();
        if oracle::is_there("a_fork_of_the_same_size_and_one_in_a_checkpoint") {
            let proved = Judged { older: 20, newer: 20, error: String::new() };
            assert_eq!(oracle::judge(&signer.verifier().to_string(), &evidence), proved, "{text}");
        }
    }
}

#[test]
fn somebody_ahead_of_the_own_log_ends_signing() {
    let (directory, signer) = own_log(&[20]);
    let server = directory.serve();
    let ahead = signed(&signer, 21, Hash::of_record(b"rolled back"));
    assert_eq!(told(&server, &ahead, "ahead")["known"]["size"], 20);
    told(&server, &ahead, "ahead");
    assert_eq!((server.metric("gossip_ahead"), server.metric("read_only")), (2, 1));
    server.stop();
    let kept = incidents(&directory);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0]["detail"]["what"] == "ahead", "{kept:?}");
}

#[test]
fn heads_of_a_mirrored_log_are_compared_and_it_is_asked_for_larger_ones() {
    let log = SmallLog::new(900);
    let size = Arc::new(AtomicU64::new(700));
    let upstream = growing(&log, &size);
    let directory = mirroring(&log, &upstream.url(), "");
    let server = directory.serve();
    // The mirror knows nothing yet; the head that was posted makes it ask.
    let answer = told(&server, &log.note(500), "consistent");
    assert_eq!((&answer["log"], &answer["is_own"]), (&json!(NAME), &json!(false)));
    assert_eq!(answer["known"]["size"], 700);
    assert_proved(&answer);
    assert_proved(&told(&server, &log.note(700), "consistent"));
    assert_proved(&told(&server, &log.note(1), "consistent"));
    assert_eq!(told(&server, &log.note(900), "ahead")["known"]["size"], 700);
    size.store(900, SeqCst);
    tokio::runtime::Runtime::new().unwrap().block_on(eventually("it is asked again", async || {
        tell(&server, &log.note(900)).1["verdict"] == "consistent"
    }));
    // What nobody has signed, or a stranger, makes nobody ask.
    let asked = upstream.paths().len();
    tell(&server, &log.note(900).replace("\n900\n", "\n901\n"));
    tell(&server, "x\n\n\u{2014} x AAAAAAAA\n");
    assert_eq!(upstream.paths().len(), asked);
    server.stop();
}

#[test]
fn a_fork_of_a_mirrored_log_stops_it() {
    let log = SmallLog::new(900);
    for (fork, older, newer) in
        [(log.fork(500, 600).note(600), 600, 900), (log.fork(500, 900).note(900), 900, 900)]
    {
        let upstream = log.serve();
        let directory = mirroring(&log, &upstream.url(), "");
        let server = directory.serve();
        told(&server, &log.note(900), "consistent");
        let evidence = told(&server, &fork, "fork")["evidence"].as_str().unwrap().to_owned();
        assert_eq!(server.log_metric("mirror_stopped", NAME), 1);
        assert_eq!(
            (server.metric("gossip_forks"), server.metric("read_only")),
            (1, 0),
            "the own log goes on"
        );
        let file = directory.data().join(format!("mirror/{NAME}.incident-1.txt"));
        assert_eq!(std::fs::read_to_string(file).unwrap(), evidence);
        assert_eq!(told(&server, &log.note(3), "fork")["evidence"], json!(evidence), "it stays stopped");
        server.stop();
        if oracle::is_there("a_fork_of_a_mirrored_log_stops_it") {
            let proved = Judged { older, newer, error: String::new() };
            assert_eq!(oracle::judge(&log.vkey(), &evidence), proved);
        }
    }
}

fn gossip(server: &Server, rest: &[&str]) -> Ran {
    let all = [&["gossip", &server.url][..], rest].concat();
    Sandbox::new().run(&all)
}

#[test]
fn a_machine_tells_what_it_was_shown() {
    let log = SmallLog::new(900);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), "");
    let server = directory.serve();
    let home = tempfile::tempdir().unwrap();
    let gopath = home.path().to_str().unwrap();
    let keep = |name: &str, note: &str| {
        let directory = home.path().join("pkg/sumdb").join(name);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("latest"), note).unwrap();
    };
    let nothing = gossip(&server, &["--gopath", gopath]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (0, ""), "{}", nothing.stderr);
    assert!(nothing.stderr.contains("no go command of this user has seen a head yet"), "{}", nothing.stderr);

    keep(NAME, &log.note(700));
    keep(OWN, &server.get("/latest").text());
    keep("sum.golang.org", &String::from_utf8(fixture_answer("latest").unwrap()).unwrap());
    keep("deep.example/log/name", "");
    let ran = gossip(&server, &["--gopath", gopath, "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let heads: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let verdicts: Vec<&Value> = heads.iter().map(|head| &head["verdict"]).collect();
    assert_eq!(verdicts, ["consistent", "unknown", "consistent"], "{}", ran.stdout);
    assert_proved(&heads[2]);
    let table = gossip(&server, &["--gopath", gopath]);
    assert!(table.stdout.starts_with("LOG "), "{}", table.stdout);
    assert!(table.stdout.contains("one log with the server's head of 900 records"), "{}", table.stdout);

    keep(NAME, &log.fork(500, 600).note(600));
    let ran = gossip(&server, &["--gopath", gopath]);
    assert_eq!(ran.code, 4, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("ALARM: the log has signed two trees"), "{}", ran.stdout);
    assert!(ran.stdout.contains("\nSECURITY ERROR\n"), "{}", ran.stdout);
    let file = home.path().join("pkg/sumdb").join(NAME).join("latest");
    assert_eq!(gossip(&server, &["--head", file.to_str().unwrap()]).code, 4);
    let url = server.url.clone();
    server.stop();
    let gone = Sandbox::new().run(&["gossip", &url, "--gopath", gopath]);
    assert_eq!(gone.code, 3, "{}", gone.stderr);
}

fn stopped(log: &Log) -> bool {
    matches!(&*log.state(), State::ReadOnly(ReadOnly::Contradicted { stop: 1, why, .. }) if why.contains("was published"))
}

/// Whatever the alarm, and however the server ended: nothing is signed until an operator has said so, and then for this head only.
#[test]
fn an_alarm_stays_over_restarts_until_an_operator_ends_it() {
    for (size, verdict) in [(21, "ahead"), (12, "fork")] {
        let (directory, signer) = own_log(&[12, 20]);
        let config = directory.config().to_str().unwrap().to_owned();
        let run = |arguments: &[&str]| Sandbox::new().run(&[&["--config", &config][..], arguments].concat());
        let shown = signed(&signer, size, Hash::of_record(b"another tree"));
        let server = directory.serve();
        let latest = server.get("/latest").body;
        told(&server, &shown, verdict);
        drop(server); // killed: what was answered is durable

        for _ in 0..2 {
            let server = directory.serve();
            let ready = server.ready();
            for part in ["ready, read-only: ", &format!("a head of {size} records"), "incidents resolve 1"] {
                assert!(ready.to_lowercase().contains(part), "{part}: {ready}");
            }
            assert_eq!((server.metric("read_only"), server.get("/latest").body), (1, latest.clone()));
            assert_eq!(server.get("/tile/8/0/000.p/20").status, 200);
            assert_eq!(server.get("/tlog/checkpoint").status, 503, "it would have to be signed");
            let busy = run(&["incidents", "resolve", "1"]);
            assert_eq!(busy.code, 5, "{}{}", busy.stdout, busy.stderr);
            assert!(server.printed().contains(&format!("head of {size} records")), "{}", server.printed());
            server.stop();
        }
        // The incident itself may have been lost with the process.
        let kept = incidents(&directory);
        assert_eq!((kept.len(), &kept[0]["stop"]), (1, &json!(1)), "{kept:?}");
        let told_person = run(&["incidents"]).stderr;
        assert!(told_person.contains("incidents resolve 1"), "{told_person}");
        assert_eq!(append(&directory, 20), None, "no other command signs either");

        assert_eq!(run(&["incidents", "resolve", "2"]).code, 2);
        let resolved = run(&["incidents", "resolve", "1"]);
        assert_eq!(resolved.code, 0, "{}", resolved.stderr);
        let decided = &incidents(&directory)[0];
        assert_eq!((&decided["stop"], &decided["state"]), (&Value::Null, &json!("resolved")), "{decided}");
        assert_eq!(append(&directory, 20), Some(21));
        let server = directory.serve();
        assert_eq!((server.ready().as_str(), server.metric("read_only")), ("ready\n", 0));
        // The log has grown to 21 by itself: that head is of another tree now.
        told(&server, &shown, "fork");
        assert_eq!(server.metric("read_only"), 0, "a person has decided about this head");
        told(&server, &signed(&signer, 13, Hash::of_record(b"another tree")), "fork");
        assert_eq!(server.metric("read_only"), 1, "and not about this");
        server.stop();
        assert_eq!(append(&directory, 21), None);
    }
}

/// Appends a record to the log without a server; its new size, if it signs.
fn append(directory: &LogDirectory, id: u64) -> Option<u64> {
    let (data, signer) =
        (directory.data(), keys::load_or_create(&directory.data(), Some(OWN), |_| Ok(())).unwrap().0);
    let anchor = data.join("anchor.db");
    let options = LogOptions {
        directory: data,
        anchor,
        signers: vec![signer],
        reader_cache_kib: 1024,
        clock: Clock::system(),
    };
    let log = logs::open_log_as(options, Conditions::default()).unwrap();
    let appended = tokio::runtime::Runtime::new().unwrap().block_on(log.append(vec![logs::candidate(id)]));
    log.close();
    appended.ok().map(|receipt| receipt.snapshot.size().0)
}

#[test]
fn a_file_of_stops_that_cannot_be_read_is_a_stop() {
    let (directory, _) = own_log(&[3]);
    let file = directory.data().join("anchor.db.stops");
    std::fs::write(&file, "[{").unwrap();
    assert_eq!(append(&directory, 3), None);
    let server = directory.serve();
    assert!(server.ready().contains("anchor.db.stops is damaged"), "{}", server.ready());
    server.stop();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(append(&directory, 3), Some(4));
}

/// A gate that does not open any more.
struct Closed;

impl PublishGate for Closed {
    fn start(&self, _: &OpenedLog) -> Result<bool, StoreError> {
        Ok(true)
    }

    fn has_passed(&self, tree: &TreeHead) -> Result<bool, StoreError> {
        Ok(tree.size <= TreeSize(3))
    }

    fn pass(&self, _: &Snapshot) -> Result<(), NotPassed> {
        Err(NotPassed { have: 0, want: 1, waited: Duration::ZERO })
    }
}

/// Witnesses were shown the head, and whoever has it from them may tell. It is no sign of a rollback.
#[tokio::test]
async fn a_head_that_waits_for_its_witnesses_is_ahead_without_an_alarm() {
    let directory = tempfile::tempdir().unwrap();
    let open = |gate: Option<Arc<dyn PublishGate>>| {
        let data = directory.path().to_owned();
        let (anchor, signers) = (data.join("anchor.db"), vec![logs::signer()]);
        let options =
            LogOptions { directory: data, anchor, signers, reader_cache_kib: 1024, clock: logs::clock() };
        logs::open_log_as(options, Conditions { gate, hold: None }).unwrap()
    };
    let log = open(None);
    log.append(logs::candidates(0..3)).await.unwrap();
    log.close();
    let log = open(Some(Arc::new(Closed)));
    assert!(log.append(logs::candidates(3..5)).await.is_err(), "nothing is published");
    assert_eq!(log.snapshot().size(), TreeSize(3));
    let mut tree = crate::support::tree::Tree::default();
    (0..6).for_each(|i| drop(tree.push(logs::leaf(i))));
    let gossip = Gossip::new(log.clone(), Mirrors::default(), directory.path().to_owned(), logs::clock());
    let told = async |size: u64| {
        let note = sign(&tree.head_at(size).format(), &[&logs::signer()]).unwrap();
        gossip.hear(note.as_bytes(), ample()).await.unwrap().verdict
    };
    assert!(matches!(told(5).await, Verdict::Ahead));
    assert!(matches!(&*log.state(), State::ReadOnly(ReadOnly::Unwitnessed { .. })), "{:?}", log.state());
    // Nobody was ever shown this one.
    assert!(matches!(told(6).await, Verdict::Ahead));
    assert!(stopped(&log), "{:?}", log.state());
    drop(gossip);
    log.close();
    // Stopped or not: what has not its cosignatures is not published by a restart.
    let log = open(Some(Arc::new(Closed)));
    assert!(stopped(&log), "{:?}", log.state());
    assert_eq!((log.snapshot().size(), log.checkpoint()), (TreeSize(3), None));
    log.close();
}
