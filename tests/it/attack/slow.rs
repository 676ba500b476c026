//! Clients that take their time: heads and bodies that come byte by byte, answers that nobody reads, connections that
//! do nothing at all.

use std::io::Read;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Target, connection_from};
use crate::crash::campaign::{Tally, times};
use crate::crash::source::Source;
use crate::crash::wire::Connection;
use crate::support::poll;

/// The head of a request may take ten seconds.
const CUT_WITHIN: Duration = Duration::from_secs(40);
/// Connections of each slow kind.
const SLOW: usize = 60;

#[test]
fn slow_clients_are_cut_and_idle_ones_do_not_matter() {
    let mut target = Target::new("");
    let mut tally = Tally::new("08-slow", "slow or idle connection");
    // The short form keeps to what a test process may open; the long one comes near the server's limit of 8,192.
    let idle = times(500) as usize;
    let failures = target.attack(&mut tally, |server| {
        let open = || Connection::open(server.address).expect("the server accepts");
        let idle: Vec<Connection> = (0..idle).map(|_| open()).collect();
        // Never the end of a head; a body that does not come; answers that are not read.
        let mut heads: Vec<Connection> = (0..SLOW).map(|_| open()).collect();
        let mut bodies: Vec<Connection> = (0..SLOW).map(|_| open()).collect();
        let mut deaf: Vec<Connection> = (0..SLOW).map(|_| open()).collect();
        for connection in &mut bodies {
            let head = "POST /latest HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
            connection.send(head.as_bytes()).expect("the server takes a head");
        }
        let many = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", Source::lookup(0)).repeat(200);
        for connection in &mut deaf {
            connection.socket().set_write_timeout(Some(Duration::from_millis(50))).expect("a socket");
            // Ends when the buffers of both sides are full.
            let _ = connection.send(many.as_bytes());
        }
        poll("slow heads are cut", CUT_WITHIN, || {
            heads.retain_mut(|connection| connection.send(b"X").is_ok());
            heads.is_empty().then_some(())
        });
        let is_refused = |connection: &mut Connection| {
            let mut first = [0; 12];
            connection.socket().read_exact(&mut first).is_ok() && &first == b"HTTP/1.1 405"
        };
        let refused = bodies.iter_mut().map(is_refused).filter(|refused| *refused);
        let mut failures = Vec::new();
        if refused.count() != SLOW {
            failures.push("a POST whose body does not come was not refused at once".to_owned());
        }
        drop((idle, deaf));
        failures
    });
    tally.tried((idle + 3 * SLOW) as u64);
    failures.into_iter().for_each(|failure| tally.failed(failure));
    tally.finish();
}

/// How much more than before the server may use some time after its clients are gone.
const KEPT_MAX_KIB: u64 = 64 << 10;
/// The time after which it must have given back the rest.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn memory_comes_back_when_connections_are_gone() {
    tallystick::http::listen::raise_descriptor_limit();
    let mut target = Target::new("");
    let mut tally = Tally::new("17-memory", "connection of a flood whose memory comes back");
    // 8,000 in the long form, which take about 200 MiB.
    let flood = times(1_000).min(8_000);
    let quiet = target.resident_kib();
    let held = target.attack(&mut tally, |server| {
        let open = || {
            let mut connection = connection_from(Ipv4Addr::new(127, 1, 1, 1), server.address);
            connection.send(b"GET /latest HTTP/1.1\r\nHost: x\r\n\r\n").expect("the server reads");
            connection
        };
        let mut connections: Vec<Connection> = (0..flood).map(|_| open()).collect();
        connections.iter_mut().for_each(|connection| drop(connection.answer().expect("an answer")));
        connections.len()
    });
    tally.tried(held as u64);
    let left = poll("the memory comes back", GIVEN_BACK_WITHIN, || {
        let now = target.resident_kib();
        (now <= quiet + KEPT_MAX_KIB).then_some(now)
    });
    tally.note(format!("{} MiB before, {} MiB after", quiet >> 10, left >> 10));
    tally.finish();
}
