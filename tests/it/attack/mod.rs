//! Hostile clients against the real server: none of them may make it fall over, grow without bound, answer 5xx for what
//! is their own fault, or keep others from being served.
//!
//! While an attack goes on, a good client looks up known modules on connections of its own; how long it waited is in the
//! report. It must always be answered; how fast, on a machine that other tests share, is only reported.

mod beside;
mod flood;
mod hanging;
mod http2;
mod nonsense;
mod shares;
mod slow;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::crash::campaign::Tally;
use crate::crash::history::History;
use crate::crash::server::{Place, Server};
use crate::crash::source::Source;
use crate::crash::wire::Connection;

/// Modules that the good client knows.
const KNOWN: u64 = 20;
/// What the server may use under attack. At rest it uses about 30 MB; each connection has buffers.
const MEMORY_MAX_KIB: u64 = 512 << 10;

/// A server with a few modules, about to be attacked.
struct Target {
    source: Source,
    _place: Place,
    server: Server,
    history: History,
}

impl Target {
    fn new(configuration: &str) -> Target {
        let source = Source::start();
        let place = Place::new(&source.url());
        place.configure(configuration);
        Target::of(source, place)
    }

    fn of(source: Source, place: Place) -> Target {
        let server = place.serve();
        let mut target =
            Target { history: History::new(server.verifier.clone()), source, _place: place, server };
        (0..KNOWN).for_each(|number| target.ask(number).expect("nothing is wrong yet"));
        target
    }

    fn ask(&mut self, number: u64) -> Result<(), String> {
        let answer = self.server.get(&Source::lookup(number)).map_err(|error| error.to_string())?;
        self.history.observe_lookup(number, &answer, self.history.floor(), &self.source)
    }

    /// Runs an attack while a good client looks up what is known.
    fn attack<T>(&mut self, tally: &mut Tally, attack: impl FnOnce(&Server) -> T) -> T {
        let before = self.latencies(Duration::from_millis(300), &AtomicBool::new(false));
        let over = AtomicBool::new(false);
        let (attacked, during) = std::thread::scope(|scope| {
            let good = scope.spawn(|| self.latencies(Duration::from_secs(600), &over));
            // A panic in the attack must not leave the good client running.
            let attacked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attack(&self.server)));
            over.store(true, Ordering::SeqCst);
            (attacked, good.join().expect("the good client is served"))
        });
        let attacked = attacked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        tally.note(format!(
            "good client: {} times 10 answers, p50 {:.2} ms, p99 {:.2} ms; before the attack p50 {:.2} ms, p99 {:.2} ms",
            during.len(),
            quantile(&during, 50),
            quantile(&during, 99),
            quantile(&before, 50),
            quantile(&before, 99)
        ));
        tally.note(format!("memory at most {} MiB", self.memory_kib() >> 10));
        if self.memory_kib() > MEMORY_MAX_KIB {
            tally.failed(format!("{} KiB of memory", self.memory_kib()));
        }
        if let Err(why) = self.ask(0).and_then(|()| self.ask(KNOWN)) {
            tally.failed(format!("after the attack: {why}"));
        }
        if self.server.stderr().contains("panicked") {
            tally.failed(format!("it panicked: {}", self.server.stderr()));
        }
        attacked
    }

    /// Milliseconds that a good client waits for each answer.
    fn latencies(&self, at_most: Duration, over: &AtomicBool) -> Vec<f64> {
        let (began, mut waited) = (Instant::now(), Vec::new());
        let mut number = 0;
        while began.elapsed() < at_most && !over.load(Ordering::SeqCst) || waited.is_empty() {
            let started = Instant::now();
            let mut connection = Connection::open(self.server.address).expect("the server accepts");
            for _ in 0..10 {
                number = (number + 1) % KNOWN;
                let answer = connection.get(&Source::lookup(number)).expect("a good client is answered");
                assert_eq!(answer.status, 200, "a good client: {}", answer.text());
            }
            waited.push(started.elapsed().as_secs_f64() * 100.0);
        }
        waited
    }

    /// The most memory that the process has had.
    fn memory_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    /// The memory that the process has now.
    fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with(name)).expect("Linux says so");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }
}

/// A connection from an address of our choice; all of 127.0.0.0/8 is this machine.
pub(crate) fn connection_from(address: Ipv4Addr, server: SocketAddr) -> Connection {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((IpAddr::V4(address), 0).into())?;
        socket.connect(server).await?.into_std()
    });
    let stream = stream.expect("the server accepts");
    stream.set_nonblocking(false).expect("a socket");
    Connection::over(stream).expect("a socket")
}

fn quantile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
