//! The 30 records of sum.golang.org: verified, kept, and answered again with nothing but what was kept.

use std::collections::HashSet;

use super::*;
use crate::support::raw::run_behind_triggers;

fn check_all(log: &RemoteLog, answers: Vec<ProvenRecord>) {
    let newest = log.newest().expect("a head");
    assert_eq!(newest.tree.size.0, 66_398_721);
    assert_eq!(newest.note.as_bytes(), fixture_answer("latest").unwrap());
    for ((module, text), proven) in fixture_modules().into_iter().zip(answers) {
        assert_eq!(proven.lines.module, module);
        assert_eq!(proven.lines.to_text(), text);
        assert_eq!(proven.head, newest.tree);
        assert_provable(log, &proven);
    }
}

/// Without a server, from the store alone.
async fn check_offline(client: &Client) {
    let log = client.open_offline();
    let mut answers = Vec::new();
    for (module, _) in fixture_modules() {
        answers.push(log.lookup(&module, ample()).await.unwrap());
    }
    check_all(&log, answers);
    let missing = log.lookup(&module("example.com/unknown@v1.0.0"), ample()).await;
    assert!(matches!(missing, Err(RemoteError::NotFound { .. })), "{missing:?}");
}

#[tokio::test]
async fn all_records_from_a_directory() {
    let client = Client::golang();
    let log = client.open(&[format!("file://{}", fixture_directory().display())]);
    let mut answers = Vec::new();
    for (module, _) in fixture_modules() {
        answers.push(log.lookup(&module, ample()).await.unwrap());
    }
    check_all(&log, answers);
    drop(log);
    check_offline(&client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_records_at_once_over_http_ask_for_nothing_twice() {
    let (client, server) = (Client::golang(), honest_fixture_server());
    let log = client.open(&[server.url()]);
    let mut flights = Vec::new();
    // Twice each: the second caller joins the first one's flight.
    for (module, _) in fixture_modules().into_iter().chain(fixture_modules()) {
        let log = log.clone();
        flights.push(tokio::spawn(async move { log.lookup(&module, ample()).await.unwrap() }));
    }
    let mut answers = Vec::new();
    for flight in flights {
        answers.push(flight.await.unwrap());
    }
    answers.truncate(30);
    check_all(&log, answers);
    let paths = server.paths();
    let distinct: HashSet<&String> = paths.iter().collect();
    assert_eq!(distinct.len(), paths.len(), "asked twice: {paths:#?}");
    assert_eq!(paths.iter().filter(|path| *path == "/latest").count(), 1);
    assert_eq!(paths.iter().filter(|path| path.starts_with("/lookup/")).count(), 30);
    // 80 are in the fixture, which is what the go command's own client needs for the same look-ups.
    assert!(paths.len() <= 1 + 30 + 80, "{} requests", paths.len());

    for (module, _) in fixture_modules() {
        log.lookup(&module, ample()).await.unwrap();
    }
    assert_eq!(server.paths().len(), paths.len(), "what is known needs no network");
    drop((log, server));
    check_offline(&client).await;
}

#[tokio::test]
async fn a_partial_tile_that_is_gone_is_cut_from_the_full_one() {
    let server = HostileServer::start(|path| {
        // The full tile begins with the partial one; the rest is made up, and nobody can tell.
        let full = |body: Vec<u8>| [body, vec![7; 8192]].concat()[..8192].to_vec();
        let partial = |path: &str| -> Option<Vec<u8>> {
            let directory = fixture_directory().join(format!("{}.p", path.trim_start_matches('/')));
            let file = std::fs::read_dir(directory).ok()?.next()?.unwrap().path();
            Some(std::fs::read(file).unwrap())
        };
        match fixture_answer(path).filter(|_| !path.contains(".p/")) {
            Some(body) => Behaviour::ok(body),
            None => partial(path).map_or_else(Behaviour::not_found, |body| Behaviour::ok(full(body))),
        }
    });
    let client = Client::golang();
    let log = client.open(&[server.url()]);
    let proven = log.lookup(&module("rsc.io/quote@v1.5.2"), ample()).await.unwrap();
    assert_eq!(proven.record.0, 942);
    assert_provable(&log, &proven);
    assert_eq!(client.transport(&[server.url()]).health()[0].1.lies, 0);
}

#[tokio::test]
async fn a_damaged_tile_is_fetched_again_and_a_damaged_record_is_not_answered() {
    let (client, server) = (Client::golang(), honest_fixture_server());
    let quote = module("rsc.io/quote@v1.5.2");
    let proven = client.open(&[server.url()]).lookup(&quote, ample()).await.unwrap();
    let spoil = |sql| run_behind_triggers(&client.database(), sql);
    spoil("UPDATE tile SET body = zeroblob(32 * width); DELETE FROM record;");
    let log = client.open(&[server.url()]);
    assert_eq!(log.lookup(&quote, ample()).await.unwrap(), proven);
    spoil("UPDATE record SET body = replace(body, 'w5', 'w6')");
    let refused = log.lookup(&quote, ample()).await;
    assert!(matches!(refused, Err(RemoteError::Store(_))), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("record 942"));
}

#[tokio::test]
async fn rows_are_insert_only_and_the_file_belongs_to_one_key() {
    let (client, server) = (Client::golang(), honest_fixture_server());
    client.open(&[server.url()]).lookup(&module("rsc.io/quote@v1.5.2"), ample()).await.unwrap();
    let database = rusqlite::Connection::open(client.database()).unwrap();
    for change in [
        "UPDATE head SET note = ''",
        "DELETE FROM head",
        "UPDATE tile SET width = 1",
        "DELETE FROM tile",
        "UPDATE record SET body = ''",
        "DELETE FROM record",
        "UPDATE identity SET vkey = ''",
        "DELETE FROM identity",
    ] {
        let error = database.execute(change, []).expect_err(change);
        assert!(error.to_string().contains("insert-only"), "{change}: {error}");
    }
    let other = Client { key: small_log::SmallLog::new(1).vkey(), ..client };
    let refused = RemoteLog::open(other.options(other.transport(&[server.url()])));
    let error = refused.err().expect("another key").to_string();
    assert!(error.contains("keeps the log sum.golang.org with the key sum.golang.org+033de0ae"), "{error}");
}
