//! No space: what is there is still served, what is new is refused with the reason, and nothing needs a restart.
//!
//! Each disk is a tmpfs of its own size, which needs root. That ENOSPC may also come in the middle of a commit is
//! [`super::faults`]'s matter: here the server sees the end coming.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::campaign::{Random, Tally, seed, skipped, times};
use super::history::History;
use super::server::{Place, Server};
use super::source::Source;

const MIB: u64 = 1 << 20;
/// The server writes nothing below 64 MiB of free space.
const FLOOR: u64 = 64 * MIB;

/// A disk of a known size. Dropping it unmounts it.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Mounts one, or says loudly that it cannot.
    pub(crate) fn mount(path: &Path, bytes: u64, test: &str) -> Option<Disk> {
        fs::create_dir_all(path).expect("a directory");
        let options = format!("size={bytes},mode=0700");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(path).output();
        match output {
            Ok(output) if output.status.success() => Some(Disk(path.to_owned())),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                skipped(test, &format!("a tmpfs cannot be mounted (needs root): {why}"));
                None
            }
            Err(error) => {
                skipped(test, &format!("mount: {error}"));
                None
            }
        }
    }

    pub(crate) fn resize(&self, bytes: u64) {
        let options = format!("remount,size={bytes}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(status.expect("mount runs").success());
    }

    pub(crate) fn free(&self) -> u64 {
        let found = statvfs(&self.0).expect("it is mounted");
        found.f_bavail * found.f_frsize
    }

    /// Leaves so many bytes.
    fn fill(&self, leave: u64) {
        let filler = File::create(self.0.join("filler")).expect("there is space for a name");
        let bytes = self.free().saturating_sub(leave);
        if bytes > 0 {
            fallocate(&filler, FallocateFlags::empty(), 0, bytes).expect("there is space");
        }
    }

    fn empty(&self) {
        let filler = self.0.join("filler");
        // A program that another test starts at this moment may still hold the file, and its bytes with it.
        File::create(&filler).expect("it was filled");
        fs::remove_file(filler).expect("it was filled");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// What is asked of a server on a full disk.
struct Client {
    source: Source,
    place: Place,
    next: u64,
}

impl Client {
    fn new() -> Client {
        let source = Source::start();
        Client { place: Place::new(&source.url()), source, next: 0 }
    }

    fn take_in(&mut self, server: &Server, history: &mut History, count: u64) {
        for _ in 0..count {
            self.must_take_in(server, history, self.next);
            self.next += 1;
        }
    }

    fn must_take_in(&self, server: &Server, history: &mut History, number: u64) {
        let answer = server.get(&Source::lookup(number)).expect("an answer");
        let observed = history.observe_lookup(number, &answer, history.floor(), &self.source);
        observed.unwrap_or_else(|why| panic!("{why}; the server's log:\n{}", server.stderr()));
    }

    /// A new module is refused with the reason, a known one is not.
    fn is_read_only(&self, server: &Server, history: &mut History) {
        let answer = server.get(&Source::lookup(self.next)).expect("an answer");
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        assert!(answer.text().contains("read-only"), "the reason: {}", answer.text());
        let readiness = server.readiness();
        assert!(readiness.contains("read-only") && readiness.contains("full"), "{readiness}");
        if history.records() > 0 {
            self.must_take_in(server, history, 0);
        }
        assert_eq!(server.get("/latest").expect("an answer").status, 200);
    }

    fn writes_again(&mut self, server: &Server, history: &mut History) {
        self.take_in(server, history, 2);
        assert_eq!(server.readiness(), "ready\n");
        history.verify_all(server, &self.source, &mut Random::new(seed())).unwrap();
    }
}

#[test]
fn a_full_disk_is_read_only_until_there_is_space_and_loses_nothing() {
    const NAME: &str = "crash::full_disk::a_full_disk_is_read_only_until_there_is_space_and_loses_nothing";
    let mut client = Client::new();
    let Some(disk) = Disk::mount(&client.place.data(), 128 * MIB, NAME) else { return };
    let mut tally = Tally::new("04-full-disk", "disk filled, then space again, then a start on a full disk");
    let mut random = Random::new(seed());
    let mut server = client.place.serve();
    let mut history = History::new(server.verifier.clone());
    for round in 0..times(2) {
        client.take_in(&server, &mut history, 3);
        disk.fill(if round % 2 == 0 { random.below(FLOOR - MIB) } else { 0 });
        client.is_read_only(&server, &mut history);
        client.is_read_only(&server, &mut history);
        let said = server.stderr();
        assert!(said.contains("read-only until there is space"), "what the operator is told: {said}");
        disk.empty();
        client.writes_again(&server, &mut history);
        disk.fill(random.below(FLOOR - MIB));
        server.kill();
        // On a disk without any space SQLite cannot even open its files: then the server must say so.
        server = match client.place.try_serve() {
            Ok(server) => {
                client.is_read_only(&server, &mut history);
                disk.empty();
                server
            }
            Err(ended) => {
                assert!(ended.code == Some(1) && ended.fault().is_none(), "{ended:?}");
                assert!(ended.stderr.contains("full") || ended.stderr.contains("space"), "{ended:?}");
                disk.empty();
                client.place.serve()
            }
        };
        client.writes_again(&server, &mut history);
        tally.tried(1);
    }
    assert_eq!(server.stop().code, Some(0));
    tally.finish();
}

#[test]
fn a_full_disk_under_the_anchor_is_read_only_until_there_is_space() {
    const NAME: &str = "crash::full_disk::a_full_disk_under_the_anchor_is_read_only_until_there_is_space";
    let mut client = Client::new();
    let Some(disk) = Disk::mount(&client.place.path("anchor"), 96 * MIB, NAME) else { return };
    let server = client.place.serve();
    let mut history = History::new(server.verifier.clone());
    client.take_in(&server, &mut history, 3);
    for leave in [FLOOR / 2, 0] {
        disk.fill(leave);
        client.is_read_only(&server, &mut history);
        assert!(server.readiness().contains("anchor"), "which disk: {}", server.readiness());
        disk.empty();
        client.writes_again(&server, &mut history);
    }
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn a_first_start_without_space_says_so_and_the_next_one_works() {
    const NAME: &str = "crash::full_disk::a_first_start_without_space_says_so_and_the_next_one_works";
    for kib in [4_u64, 8, 16, 32, 64, 96, 128, 192, 256, 512, 1024] {
        let mut client = Client::new();
        let Some(disk) = Disk::mount(&client.place.data(), kib << 10, NAME) else { return };
        match client.place.try_serve() {
            // Enough for a log, not enough for records.
            Ok(server) => {
                let mut history = History::new(server.verifier.clone());
                client.is_read_only(&server, &mut history);
                server.kill();
            }
            Err(ended) => {
                assert!(ended.code == Some(1) && ended.fault().is_none(), "{kib} KiB: {ended:?}");
                let says = ["full", "No space left"].iter().any(|words| ended.stderr.contains(words));
                assert!(says, "{kib} KiB: the cause: {ended:?}");
            }
        }
        disk.resize(128 * MIB);
        let server = client.place.serve();
        let mut history = History::new(server.verifier.clone());
        client.writes_again(&server, &mut history);
    }
}

#[test]
fn a_full_scratch_disk_fails_what_needs_it_and_nothing_else() {
    const NAME: &str = "crash::full_disk::a_full_scratch_disk_fails_what_needs_it_and_nothing_else";
    let mut client = Client::new();
    let Some(disk) = Disk::mount(&client.place.data().join("scratch"), MIB, NAME) else { return };
    let server = client.place.serve();
    let mut history = History::new(server.verifier.clone());
    const LARGE: u64 = 1_000_000;
    client.source.pad(LARGE, 48 << 20);
    let answer = server.get(&Source::lookup(LARGE)).expect("an answer");
    assert!(matches!(answer.status, 500 | 503), "{} {}", answer.status, answer.text());
    assert!(answer.text().trim().len() > 20, "a sentence: {}", answer.text());
    assert!(server.stderr().contains("space"), "the operator is told: {}", server.stderr());
    client.writes_again(&server, &mut history);
    disk.resize(128 * MIB);
    client.must_take_in(&server, &mut history, LARGE);
}

/// A zip on its way lies on the log's disk: it ends before the log does.
#[test]
fn a_zip_larger_than_what_is_left_leaves_the_log_writable() {
    const NAME: &str = "crash::full_disk::a_zip_larger_than_what_is_left_leaves_the_log_writable";
    const RESERVE: u64 = 256 * MIB;
    const LARGE: u64 = 1_000_000;
    let mut client = Client::new();
    let Some(disk) = Disk::mount(&client.place.data(), RESERVE + 96 * MIB, NAME) else { return };
    let server = client.place.serve();
    let mut history = History::new(server.verifier.clone());
    client.take_in(&server, &mut history, 2);
    client.source.pad(LARGE, 120 << 20);
    let answer = server.get(&Source::lookup(LARGE)).expect("an answer");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert!(answer.text().contains("no disk space left to fetch"), "{}", answer.text());
    let (said, scratch) = (server.stderr(), client.place.data().join("scratch"));
    let scratch = scratch.canonicalize().expect("the server made it").display().to_string();
    for words in ["leaves 268435456 to the log", "fix: free some space there", &scratch] {
        assert!(said.contains(words), "{words}: {said}");
    }
    client.writes_again(&server, &mut history);
    assert!(disk.free() > RESERVE, "{} bytes are free", disk.free());
    // The advice: space on that disk.
    disk.resize(RESERVE + 512 * MIB);
    client.must_take_in(&server, &mut history, LARGE);
    assert_eq!(server.stop().code, Some(0));
}

/// A log file on the full disk is common, and a panic while writing it would be the end of the writer.
#[test]
fn messages_that_cannot_be_written_stop_nothing() {
    const NAME: &str = "crash::full_disk::messages_that_cannot_be_written_stop_nothing";
    let mut client = Client::new();
    let Some(disk) = Disk::mount(&client.place.data(), 128 * MIB, NAME) else { return };
    let mut command = client.place.command();
    command.env("TALLYSTICK_LOG_FILTER", "debug");
    let server = client.place.try_serve_to(command, client.place.data().join("stderr")).expect("it starts");
    let mut history = History::new(server.verifier.clone());
    client.take_in(&server, &mut history, 3);
    disk.fill(0);
    for _ in 0..20 {
        client.is_read_only(&server, &mut history);
    }
    disk.empty();
    client.writes_again(&server, &mut history);
    let ended = server.stop();
    assert!(ended.code == Some(0) && !ended.stderr.contains("panicked"), "{ended:?}");
}
