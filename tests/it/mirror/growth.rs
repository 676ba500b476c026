//! A log that grows while many look-ups are in flight: no head is lost, nothing is proved twice, and what is kept stays small.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::small_log::{NAME, SmallLog, answer, nth};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn look_ups_race_with_growth() {
    let log = SmallLog::new(2000);
    let (served, size) = (log.clone(), Arc::new(AtomicU64::new(600)));
    let growing = size.clone();
    let server = HostileServer::start(move |path| {
        // Every look-up finds a larger log.
        let grown =
            if path.starts_with("/lookup/") { growing.fetch_add(7, Ordering::SeqCst) + 7 } else { 2000 };
        let newest = growing.load(Ordering::SeqCst);
        if path == "/latest" {
            Behaviour::ok(served.note(newest))
        } else {
            answer(served.answer(path, 2000, |_| grown))
        }
    });
    let client = Client::new(NAME, &log.vkey());
    let remote = client.open(&[server.url()]);
    let mut flights = Vec::new();
    for n in (0..600).step_by(5) {
        let remote = remote.clone();
        flights.push(tokio::spawn(async move { (n, remote.lookup(&nth(n), ample()).await.unwrap()) }));
    }
    for flight in flights {
        let (n, proven) = flight.await.unwrap();
        assert_eq!((proven.record.0, proven.head), (n, log.head(proven.head.size.0)));
        assert_provable(&remote, &proven);
    }
    assert_eq!(remote.newest().unwrap().tree, log.head(size.load(Ordering::SeqCst)));
    drop(remote);

    // Of each tile one row is kept, the widest; with it everything is provable still.
    let remote = client.open_offline();
    for n in (0..600).step_by(5) {
        assert_provable(&remote, &remote.lookup(&nth(n), ample()).await.unwrap());
    }
    let database = rusqlite::Connection::open(client.database()).unwrap();
    let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(
        count("SELECT count(*) FROM tile"),
        count("SELECT count(*) FROM (SELECT DISTINCT level, number FROM tile)")
    );
    assert_eq!(count("SELECT count(*) FROM record"), 120);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_what_is_kept() {
    let log = SmallLog::new(1000);
    let served = log.clone();
    let server = HostileServer::start(move |path| {
        if path == "/latest" {
            Behaviour::ok(served.note(1))
        } else {
            answer(served.answer(path, 1000, |n| n + 1))
        }
    });
    let client = Client::new(NAME, &log.vkey());
    let (one, two) = (client.open(&[server.url()]), client.open(&[server.url()]));
    for n in (0..1000).step_by(50) {
        let (module, now) = (nth(n), ample());
        let (a, b) = tokio::join!(one.lookup(&module, now), two.lookup(&module, now));
        assert_eq!((a.unwrap().record.0, b.unwrap().record.0), (n, n));
    }
    assert_eq!(one.newest().unwrap().tree.size.0.max(two.newest().unwrap().tree.size.0), 951);
}

#[tokio::test]
async fn a_caller_who_gives_up_does_not_take_the_answer_away() {
    let (client, server) = (Client::golang(), honest_fixture_server());
    let log = client.open(&[server.url()]);
    let quote = module("rsc.io/quote@v1.5.2");
    let given_up = log.lookup(&quote, Clock::system().instant()).await;
    assert!(matches!(given_up, Err(RemoteError::Unavailable { .. })), "{given_up:?}");
    log.lookup(&quote, ample()).await.unwrap();
    assert_eq!(server.paths().iter().filter(|path| path.starts_with("/lookup/")).count(), 1);
}

#[tokio::test]
async fn look_ups_in_flight_are_bounded_and_abandoned_ones_count() {
    let (client, server) = (Client::golang(), HostileServer::always(Behaviour::Stall));
    let mut options = client.options(client.transport(&[server.url()]));
    options.limits.lookups = 2;
    let log = RemoteLog::open(options).unwrap();
    let now = Clock::system().instant();
    for n in 0..2 {
        let error = log.lookup(&nth(n), now).await.unwrap_err();
        assert!(error.to_string().contains("in time"), "{error}");
    }
    tokio::task::yield_now().await;
    let refused = log.lookup(&nth(2), ample()).await;
    assert!(
        matches!(&refused, Err(RemoteError::Unavailable { text, retry_after: Some(_) }) if text.contains("too many")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_is_not_durable_is_not_used() {
    let log = SmallLog::new(300);
    let served = log.clone();
    let server = HostileServer::start(move |path| {
        if path == "/latest" {
            Behaviour::ok(served.note(100))
        } else {
            answer(served.answer(path, 300, |_| 300))
        }
    });
    let client = Client::new(NAME, &log.vkey());
    let remote = client.open(&[server.url()]);
    let database = rusqlite::Connection::open(client.database()).unwrap();
    for (table, newest) in [("head", None), ("tile", Some(100)), ("record", Some(100))] {
        let refuse = format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'refused'); END"
        );
        database.execute_batch(&refuse).unwrap();
        let failed = remote.lookup(&nth(7), ample()).await;
        assert!(matches!(failed, Err(RemoteError::Store(_))), "{table}: {failed:?}");
        assert_eq!(remote.find(&nth(7)).unwrap(), None, "{table}");
        assert_eq!(remote.newest().map(|head| head.tree.size.0), newest, "{table}");
        database.execute_batch("DROP TRIGGER refuse").unwrap();
    }
    let proven = remote.lookup(&nth(7), ample()).await.unwrap();
    assert_eq!(proven.head, log.head(300));
    assert_provable(&remote, &proven);
}
