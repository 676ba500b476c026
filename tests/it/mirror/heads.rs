//! Signed heads: older and newer ones of one log are harmless, and two that contradict each other stop the log until a
//! person has looked.

use std::sync::Arc;

use tallystick::mirror::{EvidenceError, Misbehavior};
use tallystick::note::VerifierKey;
use tallystick::tlog::{ConsistencyProof, TreeSize};

use super::small_log::{NAME, SmallLog, answer, nth};
use super::*;

fn client(log: &SmallLog) -> Client {
    Client::new(NAME, &log.vkey())
}

/// A server that shows `first` until it is asked for `turn`, and the other log from then on.
fn two_faced(first: &SmallLog, then: &SmallLog, turn: u64) -> HostileServer {
    let (first, then) = (first.clone(), then.clone());
    let turned = std::sync::atomic::AtomicBool::new(false);
    HostileServer::start(move |path| {
        use std::sync::atomic::Ordering::SeqCst;
        if path == format!("/lookup/{}", nth(turn).escaped()) {
            turned.store(true, SeqCst);
        }
        let log = if turned.load(SeqCst) { &then } else { &first };
        answer(log.answer(path, log.size(), |_| log.size()))
    })
}

fn misbehaviour(result: Result<ProvenRecord, RemoteError>) -> Arc<Misbehavior> {
    match result {
        Err(RemoteError::Misbehavior(misbehaviour)) => misbehaviour,
        other => panic!("expected misbehaviour, got {other:?}"),
    }
}

#[tokio::test]
async fn a_fork_stops_the_log() {
    let honest = SmallLog::new(700);
    let cases = [
        ("same size", honest.fork(500, 700)),
        ("same size, all different", honest.fork(0, 700)),
        ("larger", honest.fork(500, 1500)),
        ("larger, at a tile's end", honest.fork(512, 768)),
        ("larger, in its last record", honest.fork(699, 701)),
        ("smaller", honest.fork(300, 600)),
        ("smaller, at a tile's end", honest.fork(100, 512)),
        ("smaller, all different", honest.fork(0, 1)),
    ];
    for (what, fork) in cases {
        let turn = fork.size() - 1;
        let (client, server) = (client(&honest), two_faced(&honest, &fork, turn));
        let log = client.open(&[server.url()]);
        let known = log.lookup(&nth(5.min(turn.wrapping_sub(1))), ample()).await.unwrap();
        let found = misbehaviour(log.lookup(&nth(turn), ample()).await);

        let key: VerifierKey = honest.vkey().parse().unwrap();
        assert_eq!(found.verify(&key), Ok(()), "{what}");
        let mut sizes = [700, fork.size()];
        sizes.sort_unstable();
        assert_eq!(
            (found.older.lines().nth(1), found.newer.lines().nth(1)),
            (Some(sizes[0].to_string().as_str()), Some(sizes[1].to_string().as_str()))
        );
        let text = found.to_text();
        assert!(text.starts_with("SECURITY ERROR\ngo.sum database server misbehavior detected!\n"), "{text}");
        assert_eq!(Misbehavior::parse(NAME, &text, found.seen_at).as_ref(), Ok(&*found), "{what}");

        // Nothing is asked or answered any more, not even what was proved before; nor after a restart, nor from a server that
        // has become honest.
        let requests = server.paths().len();
        assert_eq!(misbehaviour(log.lookup(&known.lines.module, ample()).await), found);
        assert_eq!(misbehaviour(log.lookup(&nth(8), ample()).await), found);
        assert!(matches!(log.advance(ample()).await, Err(RemoteError::Misbehavior(_))));
        assert_eq!(server.paths().len(), requests, "{what}");
        drop((log, server));
        let server = honest.serve();
        let log = client.open(&[server.url()]);
        assert_eq!(log.is_stopped().expect("stopped").to_text(), text);
        assert_eq!(misbehaviour(log.lookup(&nth(9), ample()).await).to_text(), text, "{what}");
        assert!(server.paths().is_empty(), "{what}");
        // The proof of what was taken from it stays: it is what the log had signed.
        assert_provable(&log, &known);
    }
}

#[tokio::test]
async fn evidence_convicts_nobody_when_it_is_changed() {
    let (honest, key) = (SmallLog::new(700), SmallLog::new(1).vkey().parse::<VerifierKey>().unwrap());
    let fork = honest.fork(500, 900);
    let server = two_faced(&honest, &fork, 899);
    let client = client(&honest);
    let log = client.open(&[server.url()]);
    log.lookup(&nth(3), ample()).await.unwrap();
    let found = misbehaviour(log.lookup(&nth(899), ample()).await);
    let changed = |change: &dyn Fn(&mut Misbehavior)| {
        let mut other = (*found).clone();
        change(&mut other);
        other.verify(&key)
    };
    assert_eq!(changed(&|_| {}), Ok(()));
    for at in 0..found.proof.0.len() {
        assert_eq!(changed(&|m| m.proof.0[at] = found.root_in_newer), Err(EvidenceError::Proof), "hash {at}");
    }
    assert_eq!(changed(&|m| m.proof = ConsistencyProof::default()), Err(EvidenceError::Proof));
    assert_eq!(changed(&|m| m.root_in_newer = honest.head(700).root), Err(EvidenceError::Proof));
    let swapped = changed(&|m| std::mem::swap(&mut m.older, &mut m.newer));
    assert_eq!(swapped, Err(EvidenceError::Proof));
    let unsigned = changed(&|m| m.newer = m.newer.replace("900", "901"));
    assert!(matches!(unsigned, Err(EvidenceError::Note { which: "new", .. })), "{unsigned:?}");
    // A head beside itself: consistent.
    let same = changed(&|m| {
        (m.newer, m.root_in_newer) = (m.older.clone(), honest.head(700).root);
        m.proof = ConsistencyProof::default();
    });
    assert_eq!(same, Err(EvidenceError::Consistent));
    let text = found.to_text();
    for cut in [0, 10, text.len() / 2, text.len() - 1] {
        assert_eq!(Misbehavior::parse(NAME, &text[..cut], found.seen_at), Err(EvidenceError::Form));
    }
}

#[tokio::test]
async fn an_older_head_is_compared_and_harmless() {
    let log = SmallLog::new(900);
    let served = log.clone();
    // Each answer carries the head of the time when the record was new.
    let server = HostileServer::start(move |path| answer(served.answer(path, 900, |n| n + 1)));
    let client = client(&log);
    let remote = client.open(&[server.url()]);
    for n in [0, 1, 255, 256, 257, 511, 700, 898, 899] {
        let proven = remote.lookup(&nth(n), ample()).await.unwrap();
        assert_eq!((proven.record.0, proven.head), (n, log.head(900)), "record {n}");
        assert_provable(&remote, &proven);
    }
    assert_eq!(remote.newest().unwrap().tree, log.head(900));
    // An older head that was compared once is known: its look-ups need no tile for it again.
    assert_eq!(remote.head(TreeSize(257)).unwrap().unwrap().note, log.note(257));
    // The log rolled back, as seen from outside: what is known stays, and the newest head does not move.
    let old = log.clone();
    let server = HostileServer::start(move |path| answer(old.answer(path, 300, |_| 300)));
    drop(remote);
    let remote = client.open(&[server.url()]);
    let refused = remote.advance(ample()).await;
    let Err(RemoteError::Unproven(unproven)) = &refused else { panic!("{refused:?}") };
    assert_eq!(unproven.lies[0].why, "an older head of 300 records, after one of 900");
    assert_eq!(remote.newest().unwrap().tree, log.head(900));
    assert_eq!(remote.lookup(&nth(899), ample()).await.unwrap().head, log.head(900));
    // A record of the old tree is proved under the new one, as far as tiles are known or served.
    let proven = remote.lookup(&nth(2), ample()).await.unwrap();
    assert_eq!((proven.head, remote.is_stopped()), (log.head(900), None));
}

#[tokio::test]
async fn a_newer_head_in_an_answer_is_moved_to() {
    let log = SmallLog::new(900);
    let served = log.clone();
    let server = HostileServer::start(move |path| {
        if path == "/latest" {
            Behaviour::ok(served.note(300))
        } else {
            answer(served.answer(path, 900, |n| n + 1))
        }
    });
    let client = client(&log);
    let remote = client.open(&[server.url()]);
    for (n, newest) in [(10, 300), (299, 300), (300, 301), (600, 601), (400, 601), (899, 900)] {
        let proven = remote.lookup(&nth(n), ample()).await.unwrap();
        assert_eq!((proven.head, remote.newest().unwrap().tree.size.0), (log.head(newest), newest));
        assert_provable(&remote, &proven);
    }
    assert_eq!(server.paths().iter().filter(|path| *path == "/latest").count(), 1);
}

#[tokio::test]
async fn without_latest_the_head_of_the_look_up_is_the_first() {
    let log = SmallLog::new(300);
    let served = log.clone();
    let server = HostileServer::start(move |path| {
        if path == "/latest" { Behaviour::not_found() } else { answer(served.answer(path, 300, |_| 300)) }
    });
    let client = client(&log);
    let remote = client.open(&[server.url()]);
    let proven = remote.lookup(&nth(7), ample()).await.unwrap();
    assert_eq!((proven.head, remote.newest().unwrap().tree), (log.head(300), log.head(300)));
    assert!(matches!(remote.advance(ample()).await, Err(RemoteError::NotFound { .. })));
}

#[tokio::test]
async fn the_empty_tree_is_the_beginning_of_every_tree() {
    let log = SmallLog::new(2);
    let served = log.clone();
    let server = HostileServer::start(move |path| {
        if path == "/latest" { Behaviour::ok(served.note(0)) } else { answer(served.answer(path, 2, |_| 2)) }
    });
    let client = client(&log);
    let remote = client.open(&[server.url()]);
    assert_eq!(remote.advance(ample()).await.unwrap().tree.size.0, 0);
    assert_eq!(remote.lookup(&nth(1), ample()).await.unwrap().head, log.head(2));
    assert_eq!(remote.advance(ample()).await.unwrap().tree, log.head(2));
}

/// A database of the first version, which knew one contradiction without a number.
#[tokio::test]
async fn a_stop_that_was_kept_before_stops_had_numbers_stays() {
    let (honest, fork) = (SmallLog::new(700), SmallLog::new(700).fork(500, 900));
    let server = two_faced(&honest, &fork, 899);
    let (victim, client) = (client(&honest), client(&honest));
    let log = victim.open(&[server.url()]);
    log.lookup(&nth(3), ample()).await.unwrap();
    let found = misbehaviour(log.lookup(&nth(899), ample()).await);
    let database = rusqlite::Connection::open(client.database()).unwrap();
    database.execute_batch(include_str!("../../../migrations/sqlite/remote_0001.sql")).unwrap();
    database.execute_batch("PRAGMA user_version = 1; PRAGMA application_id = 1919249775;").unwrap();
    database.execute("INSERT INTO identity VALUES (1, ?, ?, 0)", [NAME, &honest.vkey()]).unwrap();
    database.execute("INSERT INTO misbehaviour VALUES (1, ?, 5)", [found.to_text()]).unwrap();
    let log = client.open_offline();
    let incident = log.incident().expect("it is stopped");
    assert_eq!((incident.id, incident.misbehavior.to_text()), (1, found.to_text()));
    assert_eq!(std::fs::read_to_string(&incident.evidence).unwrap(), found.to_text());
    assert_eq!((log.resume(2).await.unwrap(), log.resume(1).await.unwrap()), (false, true));
    assert_eq!(client.open_offline().incident(), None);
    assert!(incident.evidence.exists());
}
