//! One client that takes everything: all connections, with requests that hang or with none at all. Others get their
//! share at once, and what needs no waiting is answered whoever waits.

use std::io::{ErrorKind, Read};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Target, connection_from};
use crate::crash::campaign::{Tally, times};
use crate::crash::server::Server;
use crate::crash::source::Source;
use crate::crash::wire::Connection;
use crate::support::hostile::{Behaviour, HostileServer};
use crate::support::poll;

/// Connections that the server serves in these tests.
const SLOTS: usize = 40;
/// What the greedy client opens: all slots, and half as many more as may wait for one. Were it all of them, a slot that
/// another client holds would leave one connection too many, which is closed without an answer.
const GREEDY: usize = SLOTS + SLOTS / 4;
const GREEDY_CLIENT: Ipv4Addr = Ipv4Addr::new(127, 1, 1, 1);
const GOOD_CLIENT: Ipv4Addr = Ipv4Addr::new(127, 2, 2, 2);
const PATIENCE: Duration = Duration::from_secs(60);

/// A configuration with few slots, in which modules below hang.example come from a server that never answers.
pub(super) fn few_slots(hanging: &HostileServer) -> String {
    // The look-ups hang for longer than any test waits.
    format!(
        "connections = {SLOTS}\ndeadline_seconds = 600\n\
         [[route]]\nmodules = [\"hang.example\"]\nsource = [\"{}\"]\nchecksum = \"compute\"\n",
        hanging.url()
    )
}

fn every_slot_taken(server: &Server) {
    poll("every slot is taken", PATIENCE, || {
        (server.figure("tallystick_http_connections_open")? >= SLOTS as f64).then_some(())
    });
}

/// What needs no waiting, on connections of another client that it keeps open. Returns what went wrong.
fn ask_as_another(server: &Server, rounds: u64) -> (Vec<Connection>, Vec<String>) {
    let (mut kept, mut failures) = (Vec::new(), Vec::new());
    for number in 0..rounds {
        let mut good = connection_from(GOOD_CLIENT, server.address);
        let tile = format!("/tile/8/0/000.p/{}", super::KNOWN);
        for path in [Source::lookup(number % super::KNOWN), "/latest".to_owned(), tile] {
            match good.get(&path) {
                Ok(answer) if answer.status == 200 => {}
                Ok(answer) => failures.push(format!("{path}: {}: {}", answer.status, answer.text())),
                Err(error) => failures.push(format!("{path}: {error}")),
            }
        }
        kept.push(good);
    }
    if !server.readiness().starts_with("ready") {
        failures.push(format!("health: {}", server.readiness()));
    }
    (kept, failures)
}

/// A connection of the greedy client, and what came on it.
struct Greedy {
    connection: Connection,
    received: Vec<u8>,
    is_over: bool,
}

impl Greedy {
    fn open(server: &Server, request: &str) -> Greedy {
        let mut connection = connection_from(GREEDY_CLIENT, server.address);
        connection.send(request.as_bytes()).expect("the server reads");
        connection.socket().set_nonblocking(true).expect("a socket");
        Greedy { connection, received: Vec::new(), is_over: false }
    }

    /// Takes what has come, and says whether the connection is over.
    fn look(&mut self) -> bool {
        let mut bytes = [0; 1024];
        while !self.is_over {
            match self.connection.socket().read(&mut bytes) {
                Ok(count) if count > 0 => self.received.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => self.is_over = true,
            }
        }
        self.is_over
    }

    /// Whether it was answered 503, and when it should come back.
    fn is_told_why(&self) -> bool {
        let text = String::from_utf8_lossy(&self.received).to_ascii_lowercase();
        text.starts_with("http/1.1 503 ") && text.contains("\r\nretry-after: ")
    }
}

#[test]
fn one_client_whose_look_ups_hang_does_not_keep_others_out() {
    let hanging = HostileServer::always(Behaviour::Stall);
    let mut target = Target::new(&few_slots(&hanging));
    let mut tally =
        Tally::new("17-slots", "request beside a client that holds every slot with look-ups that hang");
    // As many as are fewer than half of the slots, which are this client's share.
    let rounds = times(10).min(SLOTS as u64 / 2 - 1);
    let failures = target.attack(&mut tally, |server| {
        let look_up = "GET /lookup/hang.example/m@v1.0.0 HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut greedy: Vec<Greedy> = (0..GREEDY).map(|_| Greedy::open(server, look_up)).collect();
        every_slot_taken(server);
        let (kept, mut failures) = ask_as_another(server, rounds);
        poll("somebody made room and is told why", PATIENCE, || {
            greedy.iter_mut().any(|greedy| greedy.look() && greedy.is_told_why()).then_some(())
        });
        // Each has ended whole, or still waits. One whose request was not read yet is closed without an answer.
        let ended = greedy.iter_mut().filter_map(|greedy| greedy.look().then_some(&*greedy));
        let cut = ended.filter(|greedy| !greedy.received.is_empty() && !greedy.is_told_why());
        failures.extend(cut.map(|greedy| format!("told {:?}", String::from_utf8_lossy(&greedy.received))));
        if server.figure("tallystick_http_connections_open").is_none_or(|open| open > (SLOTS + 16) as f64) {
            failures.push("more connections are served than there are slots".to_owned());
        }
        drop(kept);
        failures
    });
    tally.tried(rounds * 3);
    failures.into_iter().for_each(|failure| tally.failed(failure));
    tally.finish();
}

#[test]
fn one_client_whose_connections_rest_does_not_keep_others_out() {
    let hanging = HostileServer::always(Behaviour::Stall);
    let mut target = Target::new(&few_slots(&hanging));
    let mut tally =
        Tally::new("17-slots-idle", "request beside a client that holds every slot with idle connections");
    let rounds = times(10).min(SLOTS as u64 / 2 - 1);
    let failures = target.attack(&mut tally, |server| {
        let greedy: Vec<Connection> =
            (0..GREEDY).map(|_| connection_from(GREEDY_CLIENT, server.address)).collect();
        every_slot_taken(server);
        let (_kept, failures) = ask_as_another(server, rounds);
        drop(greedy);
        failures
    });
    tally.tried(rounds * 3);
    failures.into_iter().for_each(|failure| tally.failed(failure));
    tally.finish();
}
