//! SIGKILL at random moments under concurrent load, and what is left then.
//!
//! A round starts the server on what the round before left, verifies everything, puts it under load, lets it run on
//! for a random while (sometimes stopped and continued, sometimes killed while it is stopped or while it starts), and
//! kills it. Clients write down only whole answers: what they did not hear, they do not know.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::process::Signal;

use super::campaign::{Random, Tally, seed, times};
use super::history::History;
use super::server::{Place, Server};
use super::source::Source;
use super::wire::Connection;

/// Clients at one time: enough that several wait for one commit, few enough for two cores.
const CLIENTS: usize = 6;
/// Rounds on one data directory in the long form: then the log is as large as those of most companies.
const ROUNDS_OF_ONE_LOG: u64 = 250;

/// Milliseconds of load before a kill: what is interesting are starts and kills ...
const SHORT: Range<u64> = 20..100;
/// ... or what clients are told meanwhile.
const LONG: Range<u64> = 400..800;

/// What the clients of one log share.
struct World {
    place: Place,
    source: Source,
    history: Mutex<Option<History>>,
    /// Modules that were asked for so far.
    modules: AtomicU64,
    violations: Mutex<Vec<String>>,
}

impl World {
    fn new() -> World {
        let source = Source::start();
        World {
            place: Place::new(&source.url()),
            source,
            history: Mutex::default(),
            modules: AtomicU64::new(0),
            violations: Mutex::default(),
        }
    }

    fn with_history<T>(&self, act: impl FnOnce(&mut History) -> T) -> T {
        act(self.history.lock().unwrap().as_mut().expect("a server has run"))
    }

    fn violated(&self, result: Result<(), String>) {
        if let Err(violation) = result {
            self.violations.lock().unwrap().push(violation);
        }
    }

    fn verify(&self, server: &Server, random: &mut Random) {
        let mut history = self.history.lock().unwrap();
        let history = history.get_or_insert_with(|| History::new(server.verifier.clone()));
        self.violated(history.verify_all(server, &self.source, random).map(drop));
    }

    /// Asks until the server is gone.
    fn ask(&self, server: &Server, mut random: Random) {
        let Ok(mut connection) = Connection::open(server.address) else { return };
        loop {
            let floor = self.with_history(|history| history.floor());
            if random.below(10) == 0 {
                let Ok(answer) = connection.get("/latest") else { return };
                let result = self.with_history(|history| history.observe_head(&answer.text(), floor));
                self.violated(result.map(drop));
                continue;
            }
            let number = match random.below(3) {
                // New for everybody, or just asked for by another client, or any.
                0 => self.modules.fetch_add(1, Ordering::SeqCst),
                1 => self.modules.load(Ordering::SeqCst).saturating_sub(random.below(4)),
                _ => random.below(self.modules.load(Ordering::SeqCst)),
            };
            let Ok(answer) = connection.get(&Source::lookup(number)) else { return };
            let result =
                self.with_history(|history| history.observe_lookup(number, &answer, floor, &self.source));
            self.violated(result);
        }
    }

    fn round(&self, round: u64, load: Range<u64>, random: &mut Random) {
        if round % 10 == 7 {
            self.kill_while_it_starts(random);
        }
        if round % 3 == 2 {
            self.source.advance();
        }
        let server = self.place.serve();
        self.verify(&server, random);
        std::thread::scope(|scope| {
            // Nobody sends: the end of the round is the end of waiting. A client that panics is told at the join.
            let (alive, ended) = mpsc::channel::<()>();
            for _ in 0..CLIENTS {
                let (random, alive, server) = (random.split(), alive.clone(), &server);
                scope.spawn(move || {
                    self.ask(server, random);
                    drop(alive);
                });
            }
            drop(alive);
            wait(&ended, load.start + random.below(load.end - load.start));
            let paused = random.below(3) == 0;
            if paused {
                server.signal(Signal::STOP);
                wait(&ended, random.below(20));
            }
            if !paused || random.below(2) == 0 {
                server.signal(Signal::CONT);
                wait(&ended, if paused { random.below(20) } else { 0 });
            }
            server.signal(Signal::KILL);
        });
        let ended = server.wait();
        if ended.signal != Some(9) {
            self.violated(Err(format!("round {round}: the server ended by itself: {ended:?}")));
        }
    }

    fn kill_while_it_starts(&self, random: &mut Random) {
        let mut child = self.place.spawn(self.place.command(), &self.place.path("stderr"));
        let (_alive, ended) = mpsc::channel::<()>();
        wait(&ended, random.below(60));
        let _ = child.kill();
        child.wait().expect("it is our child");
    }

    /// The last start: every record by its look-up, and an end as it should be.
    fn conclude(&self, random: &mut Random) {
        let server = self.place.serve();
        self.verify(&server, random);
        self.violated(self.with_history(|history| history.ask_all(&server, &self.source)));
        let ended = server.stop();
        if ended.code != Some(0) {
            self.violated(Err(format!("the last server did not stop: {ended:?}")));
        }
        let fsck = self.place.run(&["fsck", "--config", "tallystick.toml"]);
        if fsck.code != Some(0) {
            self.violated(Err(format!("fsck: {fsck:?}")));
        }
    }
}

/// Waits for so long, or until every client is gone.
fn wait(ended: &mpsc::Receiver<()>, milliseconds: u64) {
    let waited = ended.recv_timeout(Duration::from_millis(milliseconds));
    assert!(matches!(waited, Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)));
}

#[test]
fn acknowledged_records_survive_kills() {
    let rounds = times(100);
    let mut random = Random::new(seed());
    let mut tally = Tally::new("01-kill", "round of load and SIGKILL");
    let (mut answers, mut records, mut heads) = (0, 0, 0);
    for first in (0..rounds).step_by(ROUNDS_OF_ONE_LOG as usize) {
        let world = World::new();
        for round in first..rounds.min(first + ROUNDS_OF_ONE_LOG) {
            world.round(round, SHORT, &mut random);
            tally.tried(1);
            for violation in world.violations.lock().unwrap().drain(..) {
                tally.failed(format!("seed {}, round {round}: {violation}", seed()));
            }
        }
        world.conclude(&mut random);
        for violation in world.violations.lock().unwrap().drain(..) {
            tally.failed(format!("seed {}, at the end: {violation}", seed()));
        }
        world.with_history(|history| {
            answers += history.answers;
            records += history.records();
            heads += history.heads();
        });
    }
    assert!(records > 0, "nothing was acknowledged: the rounds are too short to show anything");
    tally.note(format!("{answers} answers checked, {records} records acknowledged, {heads} heads seen"));
    tally.finish();
}

/// As above, with more answers between the kills: look-ups are monotone, a module version has one set of hashes, heads
/// never shrink.
#[test]
fn answers_never_go_back() {
    let wanted = times(10_000);
    let mut random = Random::new(seed() ^ 0x0013);
    let mut tally = Tally::new("13-history", "answer to one of several clients under kills and pauses");
    let (world, mut round) = (World::new(), 0);
    let answers = || world.history.lock().unwrap().as_ref().map_or(0, |history| history.answers);
    while answers() < wanted {
        world.round(round, LONG, &mut random);
        round += 1;
        for violation in world.violations.lock().unwrap().drain(..) {
            tally.failed(format!("seed {}, round {round}: {violation}", seed()));
        }
    }
    tally.tried(answers());
    tally.note(format!("{round} kills, {} records", world.with_history(|history| history.records())));
    tally.finish();
}
