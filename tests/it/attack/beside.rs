//! How long a good client waits beside an attack, at a fixed rate of requests.
//!
//! `reliability/run beside-slots 3` makes three runs for each attack and holds the 99th percentile to what it is without the
//! attack. The short form, which the suite runs, is one short run: it asserts that nothing that is at hand is refused,
//! and prints what it measured.
//!
//! A request is timed from the moment at which it was due, so that one that waits delays the others visibly.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{KNOWN, Target, connection_from, quantile};
use crate::crash::campaign::{Tally, times};
use crate::crash::source::Source;
use crate::crash::wire::Connection;
use crate::support::hostile::{Behaviour, HostileServer};
use crate::support::witness::WitnessProcess;
use crate::witness::SmallLog;

/// Requests of the good client in a second.
const RATE: u32 = 100;
/// Its requests on one connection.
const ON_ONE_CONNECTION: u64 = 10;
/// How long each connection of a greedy client pauses once it is answered or cut.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(200);
const GREEDY_CLIENT: Ipv4Addr = Ipv4Addr::new(127, 1, 1, 1);
const GOOD_CLIENT: Ipv4Addr = Ipv4Addr::new(127, 2, 2, 2);
/// The 99th percentile beside an attack is at most twice that without it, or this much more.
const ADDED_MS: f64 = 5.0;

/// How much is measured.
struct Length {
    runs: u64,
    seconds: u64,
    /// Connections that the server serves.
    slots: usize,
    is_long: bool,
}

impl Length {
    fn of_run() -> Length {
        match times(0) {
            0 => Length { runs: 1, seconds: 1, slots: 64, is_long: false },
            runs => Length { runs, seconds: 10, slots: 8_192, is_long: true },
        }
    }
}

/// What a greedy client sends on each of many connections, again and again as soon as it is answered or cut.
struct Attack {
    connections: usize,
    request: fn(usize) -> String,
}

impl Attack {
    /// Goes on until it is over.
    fn run(&self, server: SocketAddr, over: &AtomicBool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut clients = tokio::task::JoinSet::<()>::new();
            for number in 0..self.connections {
                let request = (self.request)(number);
                clients.spawn(async move {
                    loop {
                        // Refused, cut or answered: the next one, at a rate that leaves the processors to others.
                        let _ = greedy(server, &request).await;
                        pause(BETWEEN_REQUESTS).await;
                    }
                });
            }
            while !over.load(Ordering::SeqCst) {
                pause(Duration::from_millis(20)).await;
            }
            clients.abort_all();
        });
    }
}

async fn pause(length: Duration) {
    let _ = tokio::time::timeout(length, std::future::pending::<()>()).await;
}

async fn greedy(server: SocketAddr, request: &str) -> std::io::Result<()> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((GREEDY_CLIENT, 0).into())?;
    let mut stream = socket.connect(server).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 1024];
    while stream.read(&mut answer).await? > 0 {}
    Ok(())
}

/// Asks at the fixed rate, and returns the milliseconds that each request took, and what was refused.
fn ask_at_rate(seconds: u64, mut ask: impl FnMut(u64) -> Result<(), String>) -> (Vec<f64>, Vec<String>) {
    let (began, mut waited, mut refused) = (Instant::now(), Vec::new(), Vec::new());
    for number in 0..seconds * u64::from(RATE) {
        let due = began + Duration::from_secs(1) / RATE * number as u32;
        while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
        if let Err(why) = ask(number) {
            refused.push(why);
        }
        waited.push(due.elapsed().as_secs_f64() * 1000.0);
    }
    (waited, refused)
}

/// Hits, heads and tiles in turn, on connections that live as long as those of a build.
fn good_client(server: SocketAddr) -> impl FnMut(u64) -> Result<(), String> {
    let mut connection: Option<Connection> = None;
    move |number| {
        if number % ON_ONE_CONNECTION == 0 {
            connection = None;
        }
        let connection = connection.get_or_insert_with(|| connection_from(GOOD_CLIENT, server));
        let path = match number % 10 {
            3 => "/latest".to_owned(),
            7 => format!("/tile/8/0/000.p/{KNOWN}"),
            _ => Source::lookup(number % KNOWN),
        };
        let answer = connection.get(&path).map_err(|error| format!("{path}: {error}"))?;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(format!("{path}: {}: {}", answer.status, answer.text()))
        }
    }
}

/// Measures without the attack and beside it, as often as wanted, and judges.
fn measure(
    tally: &mut Tally,
    what: &str,
    length: &Length,
    server: SocketAddr,
    attack: &Attack,
    mut ask: impl FnMut(u64) -> Result<(), String>,
) {
    let (mut quiet, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..length.runs {
        let (waited, refused) = ask_at_rate(length.seconds, &mut ask);
        quiet.push(quantile(&waited, 99));
        refused.into_iter().for_each(|why| tally.failed(format!("before {what}: {why}")));
        let over = AtomicBool::new(false);
        let (waited, refused) = std::thread::scope(|scope| {
            scope.spawn(|| attack.run(server, &over));
            // The first second is the attack's, to take what it can.
            let first = ask_at_rate(1, &mut ask);
            let measured = ask_at_rate(length.seconds, &mut ask);
            over.store(true, Ordering::SeqCst);
            (measured.0, [first.1, measured.1].concat())
        });
        beside.push(quantile(&waited, 99));
        refused.into_iter().for_each(|why| tally.failed(format!("beside {what}: {why}")));
        tally.tried(1);
    }
    let [quiet, beside] = [quiet, beside].map(|runs| [0, 50, 100].map(|percent| quantile(&runs, percent)));
    let figures = |[low, middle, high]: [f64; 3]| format!("{low:.2} / {middle:.2} / {high:.2}");
    tally.note(format!("{what}: p99 ms quiet {}, beside {}", figures(quiet), figures(beside)));
    if length.is_long && beside[1] > (2.0 * quiet[1]).max(quiet[1] + ADDED_MS) {
        tally.failed(format!("{what}: a good client waits {:.2} ms, {:.2} ms without", beside[1], quiet[1]));
    }
}

/// One attack on a log whose look-ups below hang.example end at this server.
fn on_a_log(row: &'static str, what: &'static str, source: &HostileServer, attack: &Attack) {
    tallystick::http::listen::raise_descriptor_limit();
    let length = Length::of_run();
    let target = Target::new(&format!(
        "connections = {}\ndeadline_seconds = 600\n\
         [[route]]\nmodules = [\"hang.example\"]\nsource = [\"{}\"]\nchecksum = \"compute\"\n",
        length.slots,
        source.url()
    ));
    let mut tally = Tally::new(row, "run at a fixed rate without and beside the attack");
    let server = target.server.address;
    measure(&mut tally, what, &length, server, attack, good_client(server));
    tally.finish();
}

fn one_name(_: usize) -> String {
    "GET /lookup/hang.example/m@v1.0.0 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()
}

fn many_names(number: usize) -> String {
    format!("GET /lookup/hang.example/m{number}@v1.0.0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

#[test]
fn every_slot_taken_by_look_ups_that_hang() {
    let attack = Attack { connections: Length::of_run().slots + 100, request: one_name };
    on_a_log("17-beside-slots", "slots", &HostileServer::always(Behaviour::Stall), &attack);
}

#[test]
fn names_that_hang() {
    let attack = Attack { connections: 300, request: many_names };
    on_a_log("17-beside-hanging", "hanging names", &HostileServer::always(Behaviour::Stall), &attack);
}

#[test]
fn names_that_are_slow() {
    let attack = Attack { connections: 300, request: many_names };
    let slow = Behaviour::Drip { every: Duration::from_millis(100) };
    on_a_log("17-beside-slow", "slow names", &HostileServer::always(slow), &attack);
}

#[test]
fn a_source_that_wants_to_be_left_alone() {
    let attack = Attack { connections: 50, request: many_names };
    let headers = vec![("Retry-After", "3600".to_owned())];
    let refuses = Behaviour::Answer { status: 429, headers, body: b"too many requests".to_vec() };
    on_a_log("17-beside-429", "429s", &HostileServer::always(refuses), &attack);
}

fn slow_body(_: usize) -> String {
    "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 1000\r\n\r\nold 0\n".to_owned()
}

#[test]
fn bodies_that_do_not_come_to_a_witness() {
    tallystick::http::listen::raise_descriptor_limit();
    let length = Length::of_run();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = SmallLog::new("log.example");
    let keys = [log.signer().verifier().to_string()];
    let witness = WitnessProcess::start(&directory.path().join("w"), "witness.example/w1", &keys);
    let server = witness.url.trim_start_matches("http://").parse().expect("an address");
    let mut tally = Tally::new("17-beside-bodies", "run at a fixed rate without and beside the attack");
    let attack = Attack { connections: 600, request: slow_body };
    // The same step again and again: the request is read, its signature verified, and the size it should begin with said.
    let body = log.body(1, 2);
    let head = format!("POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {}\r\n\r\n", body.len());
    let request = [head.as_bytes(), &body].concat();
    measure(&mut tally, "slow bodies", &length, server, &attack, |_| {
        let mut connection = connection_from(GOOD_CLIENT, server);
        let answer = connection.send(&request).and_then(|()| connection.answer());
        match answer.map_err(|error| error.to_string())? {
            answer if answer.status == 409 && answer.text() == "0\n" => Ok(()),
            answer => Err(format!("{}: {}", answer.status, answer.text())),
        }
    });
    tally.finish();
}
