//! A witness that is killed at any moment, and asked for two histories all the time, never cosigns both.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tallystick::tlog::Hash;

use super::SmallLog;
use crate::support::poll;
use crate::support::web::post;
use crate::support::witness::WitnessProcess;

const KILLS: usize = 12;

/// Which root was cosigned for each size; a second one fails the test.
#[derive(Default)]
struct Seen(BTreeMap<u64, Hash>);

impl Seen {
    fn cosigned(&mut self, size: u64, root: Hash) {
        let known = *self.0.entry(size).or_insert(root);
        assert_eq!(known, root, "two roots were cosigned for the size {size}");
    }
}

/// One client, that pushes its history whatever the witness says, until it is told to end.
fn push(history: &SmallLog, url: &Mutex<String>, seen: &Mutex<Seen>, over: &AtomicBool) {
    let (mut old, mut size) = (0, 2);
    while !over.load(Ordering::Relaxed) {
        let at = url.lock().unwrap().clone();
        let Ok(page) = post(&at, "/add-checkpoint", &history.body(old, size)) else {
            // It was killed. What it has done is not known: the next question finds out.
            std::thread::yield_now();
            continue;
        };
        match page.status {
            200 => {
                seen.lock().unwrap().cosigned(size, history.head(size).root);
                (old, size) = (size, size + 1);
            }
            409 if page.content_type == "text/x.tlog.size" => {
                old = page.text().trim_end().parse().expect("a size");
                size = old + 1;
            }
            // The other history is ahead: a fork of it, or no proof from there.
            409 | 422 => (old, size) = (0, size + 1),
            status => panic!("{status}: {}", page.text()),
        }
    }
}

#[test]
fn a_killed_witness_never_cosigns_a_fork() {
    let directory = tempfile::tempdir().unwrap();
    let log = SmallLog::new("log.example");
    let logs = [log.signer().verifier().to_string()];
    let start = || WitnessProcess::start(&directory.path().join("w"), "witness.example/w1", &logs);
    let mut witness = start();
    let url = Arc::new(Mutex::new(witness.url.clone()));
    let (seen, over) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = [log.clone(), log.forked_at(1), log.clone()]
        .into_iter()
        .map(|history| {
            let (url, seen, over) = (url.clone(), seen.clone(), over.clone());
            std::thread::spawn(move || push(&history, &url, &seen, &over))
        })
        .collect();
    for kill in 1..=KILLS {
        let before = seen.lock().unwrap().0.len();
        poll("new cosignatures", std::time::Duration::from_secs(60), || {
            (seen.lock().unwrap().0.len() >= before + 5).then_some(())
        });
        witness.kill();
        witness = start();
        *url.lock().unwrap() = witness.url.clone();
        eprintln!("kill {kill}: {} sizes", seen.lock().unwrap().0.len());
    }
    over.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().expect("a client"));
    assert!(seen.lock().unwrap().0.len() >= KILLS * 5);
}
