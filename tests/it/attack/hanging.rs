//! Look-ups that hang: at a source that never answers, and many for one name. Whoever else asks is
//! answered.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{Target, connection_from};
use crate::crash::campaign::{Tally, times};
use crate::crash::server::Place;
use crate::crash::source::Source;
use crate::crash::wire::Connection;
use crate::support::hostile::{Behaviour, HostileServer};
use crate::support::poll;

const PATIENCE: Duration = Duration::from_secs(60);
const GREEDY: Ipv4Addr = Ipv4Addr::new(127, 1, 1, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 2, 2, 2);
/// Misses that the server works on at once for one source, by default.
const PLACES: usize = 48;

/// Asks for every path on a connection of its own from one address, and reads nothing. The look-ups
/// wait for as long as the returned connections live.
pub(crate) fn hang(
    server: SocketAddr,
    from: Ipv4Addr,
    paths: impl IntoIterator<Item = String>,
) -> Vec<Connection> {
    let ask = |path: String| {
        let mut connection = connection_from(from, server);
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        connection.send(request.as_bytes()).expect("the server reads");
        connection
    };
    paths.into_iter().map(ask).collect()
}

/// The path of the look-up of a module that [`source_that_hangs`] never gives.
pub(crate) fn hanging(number: u64) -> String {
    format!("/lookup/hang.example/m{number}@v1.0.0")
}

/// A module proxy that passes on what `source` has and never answers for the modules of
/// hang.example.
pub(crate) fn source_that_hangs(source: &Source) -> HostileServer {
    let source: SocketAddr = source.url().trim_start_matches("http://").parse().expect("an address");
    HostileServer::start(move |path| match path.starts_with("/hang.example/") {
        true => Behaviour::Stall,
        false => match crate::crash::wire::get(source, path) {
            Ok(answer) if answer.status == 200 => Behaviour::ok(answer.body),
            _ => Behaviour::not_found(),
        },
    })
}

fn hung(source: &HostileServer) -> usize {
    source.paths().iter().filter(|path| path.starts_with("/hang.example/")).count()
}

/// Two routes, one source, and all of its places are taken by names that hang: before, everybody's
/// new modules waited for them until the deadline, 50 s later, and were refused.
#[test]
fn names_that_hang_for_one_client_do_not_keep_another_from_new_modules() {
    let source = Source::start();
    let slow = source_that_hangs(&source);
    let place = Place::new(&slow.url());
    place.configure(&format!(
        "[[route]]\nmodules = [\"hang.example\"]\nsource = [\"{}\"]\nchecksum = \"compute\"\n",
        slow.url()
    ));
    let mut target = Target::of(source, place);
    let mut tally = Tally::new("17-hanging", "new module beside look-ups that hang");
    let (greedy, asked) = (times(300), times(30));
    let failures = target.attack(&mut tally, |server| {
        let mut failures = Vec::new();
        let waiting = hang(server.address, GREEDY, (0..greedy).map(hanging));
        poll("every place is taken", PATIENCE, || (hung(&slow) >= PLACES).then_some(()));
        let mut other = connection_from(OTHER, server.address);
        for number in 0..asked {
            let answer = other.get(&Source::lookup(700_000 + number)).expect("an answer");
            failures.extend((answer.status != 200).then(|| format!("another client: {}", answer.text())));
        }
        drop(waiting);
        // Nobody waits for them any more, so they give way to the same client too.
        let mut greedy = connection_from(GREEDY, server.address);
        for number in 0..asked {
            let answer = greedy.get(&Source::lookup(800_000 + number)).expect("an answer");
            failures.extend((answer.status != 200).then(|| format!("the same client: {}", answer.text())));
        }
        failures
    });
    tally.tried(2 * asked);
    failures.into_iter().for_each(|failure| tally.failed(failure));
    tally.finish();
}
