//! Clients that take their time: heads and bodies that come byte by byte, answers that nobody reads, connections that
//! do nothing at all.

use std::io::Read;
use std::time::Duration;

use super::Target;
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
