//! A log that does not answer some look-ups: what else goes on.

use std::net::IpAddr;

use tallystick::share::{Claimant, ClientNetwork};

use super::*;
use crate::support::poll;

const PATIENCE: Duration = Duration::from_secs(30);

fn network(last: u8) -> Option<Claimant> {
    Some(Claimant::Network(ClientNetwork::of(IpAddr::from([127, last, last, last]))))
}

/// The fixture, whose look-ups of other modules hang for ever.
fn server() -> HostileServer {
    HostileServer::start(|path| match fixture_answer(path) {
        Some(body) => Behaviour::ok(body),
        None if path.starts_with("/lookup/") => Behaviour::Stall,
        None => Behaviour::not_found(),
    })
}

fn hung(server: &HostileServer) -> usize {
    server.paths().iter().filter(|path| path.contains("hang.example")).count()
}

/// Before, look-ups, tiles and heads had their permits in common, which were given to whoever came
/// first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn look_ups_that_hang_do_not_stop_heads_tiles_or_other_clients() {
    let (server, client) = (server(), Client::golang());
    let limits = RemoteLimits { requests: 4, ..RemoteLimits::default() };
    let options = RemoteLogOptions { limits, ..client.options(client.transport(&[server.url()])) };
    let log = RemoteLog::open(options).unwrap();
    for n in 0..40 {
        let (log, module) = (log.clone(), module(&format!("hang.example/m{n}@v1.0.0")));
        tokio::spawn(async move { log.lookup_for(&module, network(1), ample()).await });
    }
    poll("look-ups hang", PATIENCE, || (hung(&server) == 4).then_some(()));
    log.advance(ample()).await.expect("a head has its own way");
    for (module, text) in fixture_modules().into_iter().take(5) {
        let proven = log.lookup_for(&module, network(2), ample()).await.expect("another client has its turn");
        assert_eq!(proven.text, text);
    }
    assert!(hung(&server) <= 4 + 5, "what gives way is asked again once for each: {}", hung(&server));
}

/// A look-up whose client went away gives its place to one that somebody waits for, and is ended
/// when too many are in flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandoned_look_ups_give_way_to_the_same_client() {
    let (server, client) = (server(), Client::golang());
    let limits = RemoteLimits { requests: 2, lookups: 6, ..RemoteLimits::default() };
    let options = RemoteLogOptions { limits, ..client.options(client.transport(&[server.url()])) };
    let log = RemoteLog::open(options).unwrap();
    let waiting: Vec<_> = (0..6)
        .map(|n| {
            let (log, module) = (log.clone(), module(&format!("hang.example/m{n}@v1.0.0")));
            tokio::spawn(async move { log.lookup_for(&module, network(1), ample()).await })
        })
        .collect();
    poll("look-ups hang", PATIENCE, || (hung(&server) == 2).then_some(()));
    let (module, text) = fixture_modules().remove(0);
    for lookup in waiting {
        lookup.abort();
        assert!(lookup.await.is_err());
    }
    assert_eq!(log.lookup_for(&module, network(1), ample()).await.unwrap().text, text);
}
