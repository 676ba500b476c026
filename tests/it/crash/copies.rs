//! Two processes that think that a log is theirs: on one directory, on copies of it, on an old backup of it.

use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::campaign::{Random, Tally, seed, times};
use super::history::History;
use super::server::{Place, Server, copy_tree};
use super::source::Source;
use crate::support::poll;

/// A second process is refused before anybody could think that it works.
const AT_ONCE: Duration = Duration::from_secs(10);

fn ask(server: &Server, number: u64, history: &mut History, source: &Source) {
    let answer = server.get(&Source::lookup(number)).expect("an answer");
    history.observe_lookup(number, &answer, history.floor(), source).unwrap();
}

/// Known modules are answered, new ones refused with `words`, which `/readyz` and the log say too.
fn check_reads_only(server: &Server, history: &mut History, source: &Source, words: &[&str]) {
    ask(server, 0, history, source);
    let refused = server.get(&Source::lookup(999_999)).expect("an answer");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    let (readiness, log) = (server.readiness(), server.stderr());
    assert!(readiness.contains("read-only"), "{readiness}");
    for word in words {
        assert!(readiness.contains(word), "{word:?} in {readiness}");
        assert!(log.contains(word), "{word:?} in {log}");
    }
    assert!(
        refused.text().contains("read-only") || words.iter().any(|word| refused.text().contains(word)),
        "{}",
        refused.text()
    );
}

#[test]
fn a_second_server_on_the_same_data_is_refused_at_once() {
    let source = Source::start();
    let place = Place::new(&source.url());
    let server = place.serve();
    let mut history = History::new(server.verifier.clone());
    ask(&server, 0, &mut history, &source);
    let free_ports = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    for more in [&[][..], &free_ports[..]] {
        let started = Instant::now();
        let mut command = place.command();
        command.args(more);
        let second = place.try_serve_to(command, place.path("stderr-2")).map(|_| "it runs");
        let ended = second.expect_err("the second server must be refused");
        assert_eq!(ended.code, Some(5), "{more:?}: {ended:?}");
        assert!(ended.stderr.contains("in use by another tallystick process"), "{ended:?}");
        assert!(started.elapsed() < AT_ONCE);
    }
    ask(&server, 1, &mut history, &source);
    history.verify_all(&server, &source, &mut Random::new(seed())).unwrap();
}

/// A backup tool that holds the database's lock for long is no other writer: the log says who it is, waits, and goes on.
#[test]
fn a_database_that_another_program_has_locked_is_waited_for() {
    let source = Source::start();
    let place = Place::new(&source.url());
    let server = place.serve();
    let mut history = History::new(server.verifier.clone());
    ask(&server, 0, &mut history, &source);
    let tool = rusqlite::Connection::open(place.data().join("log.db")).unwrap();
    for round in 0..2 {
        tool.execute_batch("BEGIN IMMEDIATE").unwrap();
        let holder = format!("log.db is locked by process {} (", std::process::id());
        check_reads_only(&server, &mut history, &source, &[&holder, "fix: end that process"]);
        assert!(!server.readiness().contains("another writer"), "{}", server.readiness());
        tool.execute_batch("ROLLBACK").unwrap();
        let writes = || {
            let answer = server.get(&Source::lookup(1 + round)).ok().filter(|answer| answer.status == 200);
            answer.map(drop)
        };
        poll("the log writes again", Duration::from_secs(60), writes);
        assert_eq!(server.readiness(), "ready\n");
    }
    // At a start too.
    assert_eq!(server.stop().code, Some(0));
    tool.execute_batch("BEGIN IMMEDIATE").unwrap();
    let ended = place.try_serve().map(|_| "it runs").expect_err("the database is locked");
    let holder = format!("log.db is locked by process {} (", std::process::id());
    assert!(ended.code == Some(1) && ended.stderr.contains(&holder), "{ended:?}");
    tool.execute_batch("ROLLBACK").unwrap();
    let server = place.serve();
    ask(&server, 5, &mut history, &source);
    history.verify_all(&server, &source, &mut Random::new(seed())).unwrap();
}

#[test]
fn an_old_backup_is_read_only_until_the_newer_one_is_back() {
    let source = Source::start();
    let place = Place::new(&source.url());
    let server = place.serve();
    let mut history = History::new(server.verifier.clone());
    (0..3).for_each(|number| ask(&server, number, &mut history, &source));
    server.stop();
    copy_tree(&place.data(), &place.path("backup"));
    let server = place.serve();
    (3..6).for_each(|number| ask(&server, number, &mut history, &source));
    server.stop();

    fs::rename(place.data(), place.path("newer")).unwrap();
    fs::rename(place.path("backup"), place.data()).unwrap();
    let server = place.serve();
    let mut seen = History::new(server.verifier.clone());
    check_reads_only(&server, &mut seen, &source, &["this log has 3 records", "head of 6 records", "backup"]);
    // A module that only the newer one knows is no new module: it must not be taken in again.
    assert_eq!(server.get(&Source::lookup(4)).expect("an answer").status, 503);
    server.stop();

    fs::remove_dir_all(place.data()).unwrap();
    fs::rename(place.path("newer"), place.data()).unwrap();
    let server = place.serve();
    assert_eq!(server.readiness(), "ready\n");
    ask(&server, 6, &mut history, &source);
    history.verify_all(&server, &source, &mut Random::new(seed())).unwrap();
}

#[test]
fn a_log_without_its_anchor_is_read_only() {
    let source = Source::start();
    let place = Place::new(&source.url());
    let server = place.serve();
    let mut history = History::new(server.verifier.clone());
    ask(&server, 0, &mut history, &source);
    server.kill();
    fs::rename(place.path("anchor"), place.path("elsewhere")).unwrap();
    place.configure("");
    let server = place.serve();
    check_reads_only(&server, &mut history, &source, &["no anchor", "anchor/anchor.db"]);
    server.stop();
    fs::remove_dir_all(place.path("anchor")).unwrap();
    fs::rename(place.path("elsewhere"), place.path("anchor")).unwrap();
    let server = place.serve();
    ask(&server, 1, &mut history, &source);
}

#[test]
fn an_anchor_beside_its_data_is_named() {
    let source = Source::start();
    let place = Place::new(&source.url());
    place.configure_anchor("data/anchor.db");
    let server = place.serve();
    assert!(server.stderr().contains("it protects against nothing"), "{}", server.stderr());
}

/// One race: a log is copied while it is written to, and both go on with the one anchor.
fn race(round: u64, random: &mut Random) -> Result<bool, String> {
    let source = Source::start();
    let original = Place::new(&source.url());
    let first = original.serve();
    let history = Mutex::new(History::new(first.verifier.clone()));
    // What both say goes into one history. Heads may be older than those of the other one.
    let observe = |server: &Server, number: u64| -> Result<(), String> {
        match server.get(&Source::lookup(number)) {
            Ok(answer) if answer.status == 200 => {
                history.lock().unwrap().observe_lookup(number, &answer, 0, &source)
            }
            _ => Ok(()),
        }
    };
    (0..3).try_for_each(|number| observe(&first, number))?;
    let writing = random.below(4);
    let clone = std::thread::scope(|scope| {
        let writer = scope.spawn(|| (10..10 + writing).try_for_each(|number| observe(&first, number)));
        let clone = original.copied();
        writer.join().expect("it does not panic").map(|()| clone)
    })?;
    let anchor = original.path("anchor/anchor.db");
    clone.configure_anchor(&anchor.display().to_string());
    let second = match clone.try_serve() {
        Ok(second) => second,
        // A copy that was torn while it was made is found out, or the original won the anchor.
        Err(ended) if ended.fault().is_none() && matches!(ended.code, Some(1 | 4)) => return Ok(false),
        Err(ended) => return Err(format!("the clone ended badly: {ended:?}")),
    };
    let order = random.below(2);
    std::thread::scope(|scope| {
        let ask = |server, from: u64| {
            let observe = &observe;
            scope.spawn(move || (from..from + 6).try_for_each(|number| observe(server, number)))
        };
        // The same modules on both, and others, in either order.
        let (one, two) = (ask(&first, 20 + order), ask(&second, 21 - order));
        one.join().expect("it does not panic").and(two.join().expect("it does not panic"))
    })
    .map_err(|why| format!("round {round}: {why}"))?;
    let both = [&first, &second].iter().all(|server| {
        let new = server.get(&Source::lookup(40 + u64::from(server.id()))).map(|answer| answer.status);
        new.is_ok_and(|status| status == 200)
    });
    if both { Err(format!("round {round}: the original and its clone both sign")) } else { Ok(true) }
}

#[test]
fn of_a_log_and_its_clone_one_signs() {
    let mut tally = Tally::new("09-clones", "race of a log and a copy of it for one anchor");
    let mut random = Random::new(seed());
    let mut races = 0;
    for round in 0..times(5) {
        match race(round, &mut random) {
            Ok(raced) => races += u64::from(raced),
            Err(why) => tally.failed(why),
        }
        tally.tried(1);
    }
    tally.note(format!("in {races} both were up at one time"));
    tally.finish();
}
