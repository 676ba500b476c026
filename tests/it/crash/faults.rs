//! Every system call of a commit fails once, in every way: EIO, ENOSPC, SIGKILL.
//!
//! | template | what its next commit is |
//! |---|---|
//! | plain | one record onto a short right edge |
//! | sealing | the 256th record: segments, evidence, the deletion of the right edge |
//! | checkpoint | the one after which SQLite writes its write-ahead log back into the database |
//! | start | not a commit: the calls of a start after a SIGKILL, recovery of the write-ahead log and both claims of the epoch |
//! | conversion | a start, too, that finds the anchor of an older program, with its newest row in the `-wal` |
//!
//! A try copies the template, starts the server, injects the fault into the thread that writes, and looks up a new
//! module, another new one, and a known one. Each may be answered or refused (503), and the server may end (exit code 1,
//! with a sentence). Then it starts again without faults: everything that was acknowledged must be there, every head
//! ever seen must be a prefix, and both modules must be taken in.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tallystick::store::anchor::{Anchor as _, Anchored, FileAnchor};
use tallystick::tlog::{Hash, TreeHead, TreeSize};

use super::campaign::{Random, Tally, seed, times};
use super::history::History;
use super::server::{Place, Server};
use super::source::Source;
use super::strace::{Effect, Fault, Strace, calls, faults, is_available, under};
use crate::anchor::old;
use crate::support::poll;

/// Tries at one time: a try mostly waits for processes to start and end.
const WORKERS: usize = 3;
/// Pages after which SQLite checkpoints, less what a start and one commit write: the next commit is the one.
const PAGES_BEFORE_CHECKPOINT: u64 = 1_000 - 3;
const PAGE_BYTES: u64 = 24 + (8 << 10);

/// More than any template needs.
const MOST_RECORDS: usize = 3_000;

/// A server that may not go on closes its doors, which takes as long as the answers that are under way.
const END_WITHIN: Duration = Duration::from_secs(30);

/// A log that was killed, and what its clients know.
struct Template {
    name: &'static str,
    place: Place,
    history: History,
}

/// Numbers of modules that nobody has asked for yet.
struct Fresh(AtomicU64);

impl Fresh {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

struct Bench {
    source: Source,
    fresh: Fresh,
}

impl Bench {
    fn new() -> Bench {
        Bench { source: Source::start(), fresh: Fresh(AtomicU64::new(0)) }
    }

    /// Looks a module up; the answer goes into the history. `Ok(false)`: it was refused or not answered.
    fn ask(&self, server: &Server, number: u64, history: &mut History) -> Result<bool, String> {
        let floor = history.floor();
        match server.get(&Source::lookup(number)) {
            Ok(answer) if answer.status == 503 => {
                let has_reason = answer.text().trim().len() > 20 && answer.header("retry-after").is_some();
                if has_reason { Ok(false) } else { Err(format!("a 503 without a reason: {answer:?}")) }
            }
            Ok(answer) => history.observe_lookup(number, &answer, floor, &self.source).map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// A log that is killed when `enough` says so.
    fn template(&self, name: &'static str, enough: impl Fn(&Place, &History) -> bool) -> Template {
        let place = Place::new(&self.source.url());
        let server = place.serve();
        let mut history = History::new(server.verifier.clone());
        while !enough(&place, &history) {
            let taken = self.ask(&server, self.fresh.next(), &mut history).expect("nothing is wrong yet");
            assert!(taken && history.records() < MOST_RECORDS, "nothing is wrong yet, and there is an end");
        }
        server.kill();
        Template { name, place, history }
    }

    fn templates(&self) -> Vec<Template> {
        let wal = |place: &Place| place.data().join("log.db-wal").metadata().map_or(0, |found| found.len());
        vec![
            self.template("plain", |_, history| history.records() == 3),
            self.template("sealing", |_, history| history.records() == 255),
            // Not on the edge of a tile, and with the write-ahead log as long as it gets.
            self.template("checkpoint", |place, _| wal(place) / PAGE_BYTES >= PAGES_BEFORE_CHECKPOINT),
        ]
    }

    /// The calls of the next commit of a template.
    fn commit_calls(&self, template: &Template) -> Vec<(String, u32, String)> {
        let place = template.place.copied();
        let server = place.serve();
        let strace = Strace::attach(server.sequencer(), &[], &place.path("strace"));
        let mut history = template.history.clone();
        let taken = self.ask(&server, self.fresh.next(), &mut history).expect("nothing is wrong yet");
        assert!(taken, "nothing is wrong yet");
        calls(&strace.detach())
    }

    /// One try with faults in a commit. `Ok(false)`: no fault was met.
    fn try_commit(&self, template: &Template, faults: &[Fault], random: &mut Random) -> Result<bool, String> {
        let place = template.place.copied();
        let mut history = template.history.clone();
        let server = place.serve();
        let strace = Strace::attach(server.sequencer(), faults, &place.path("strace"));
        let modules = [self.fresh.next(), self.fresh.next()];
        let (over, mut watcher) = (AtomicBool::new(false), history.another());
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| watcher.watch(&server, &over));
            let asked =
                modules.iter().try_for_each(|number| self.ask(&server, *number, &mut history).map(drop));
            over.store(true, Ordering::SeqCst);
            asked.and(watching.join().expect("it does not panic"))
        })?;
        history.absorb(watcher)?;
        // What is read must not need the writer: either the process is gone, or it answers.
        if let Ok(answer) = server.get("/latest") {
            history.observe_head(&answer.text(), history.floor())?;
        }
        if let [fault] = faults {
            self.check_kind(template, fault, &server, modules[0], &mut history)?;
        }
        let is_gone = server.get("/latest").is_err();
        let seen = strace.detach();
        // A killed process may be gone before strace has written so.
        let met = seen.contains("(INJECTED)") || is_gone;
        // A server that answers nobody any more must be about to end, by itself.
        let ended = if is_gone { server.wait() } else { server.kill() };
        self.check_end(&ended, faults)?;
        self.check_restart(&place, &mut history, &modules, random)?;
        Ok(met)
    }

    /// What a single fault of a commit itself must lead to. After a checkpoint that failed nobody knows what is in the file.
    fn check_kind(
        &self,
        template: &Template,
        fault: &Fault,
        server: &Server,
        module: u64,
        history: &mut History,
    ) -> Result<(), String> {
        let of_checkpoint = template.name == "checkpoint" && fault.target.ends_with("log.db");
        let of_commit = fault.target.ends_with("-wal") || fault.target.ends_with("anchor.db");
        if !of_checkpoint && (template.name == "checkpoint" || !of_commit) {
            return Ok(());
        }
        match (fault.effect, fault.call.as_str()) {
            // There is space again: nobody has to start anything.
            (Effect::Space, "pwrite64") if !of_checkpoint && !self.ask(server, module, history)? => {
                Err("after ENOSPC the log takes nothing in, although there is space".to_owned())
            }
            // It ends by itself, after it has told those who wait.
            (Effect::Io, "pwrite64" | "fsync" | "fdatasync") | (Effect::Space, "fsync") => {
                let what = format!("the end of the server after {fault}");
                poll(&what, END_WITHIN, || server.get("/latest").err());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// One try with faults in a start.
    fn try_start(&self, template: &Template, faults: &[Fault], random: &mut Random) -> Result<bool, String> {
        let place = template.place.copied();
        let mut history = template.history.clone();
        let log = place.path("strace");
        let modules = [self.fresh.next()];
        match place.try_serve_as(under(&place.command(), faults, &log)) {
            Ok(server) => {
                // It may have become read-only, and may end by itself when it writes.
                self.ask(&server, modules[0], &mut history)?;
                end_traced(server);
            }
            Err(ended) => self.check_end(&ended, faults)?,
        }
        let seen = std::fs::read_to_string(&log).unwrap_or_default();
        self.check_restart(&place, &mut history, &modules, random)?;
        Ok(seen.contains("(INJECTED)") || seen.contains("SIGKILL"))
    }

    fn check_end(&self, ended: &super::server::Ended, faults: &[Fault]) -> Result<(), String> {
        let killed = ended.signal == Some(9) || faults.iter().any(|fault| fault.effect == Effect::Kill);
        if killed || ended.code == Some(1) && ended.fault().is_none() {
            return Ok(());
        }
        // Damage is what a page that cannot be read looks like.
        if ended.code == Some(4) && ended.fault().is_none() {
            return Ok(());
        }
        Err(format!("the server ended badly: {ended:?}"))
    }

    /// Without faults everything is there, and the log takes in what it refused.
    fn check_restart(
        &self,
        place: &Place,
        history: &mut History,
        modules: &[u64],
        random: &mut Random,
    ) -> Result<(), String> {
        let server = place.try_serve().map_err(|ended| format!("it does not start again: {ended:?}"))?;
        history.verify_all(&server, &self.source, random)?;
        if server.readiness() != "ready\n" {
            return Err(format!("after the restart: {}", server.readiness()));
        }
        for number in modules {
            if !self.ask(&server, *number, history)? {
                return Err(format!("after the restart module {number} is refused"));
            }
        }
        history.verify_all(&server, &self.source, random).map(drop)
    }
}

/// Kills the process that a strace runs; strace ends after it.
fn end_traced(server: Server) {
    let strace = server.id();
    let children = std::fs::read_to_string(format!("/proc/{strace}/task/{strace}/children"));
    // It may have ended by itself.
    for id in children.unwrap_or_default().split_whitespace() {
        let id = Pid::from_raw(id.parse().expect("the kernel writes numbers")).expect("and none is 0");
        let _ = kill_process(id, Signal::KILL);
    }
    server.wait();
}

/// Tries all of them, several at a time. Each try says whether its fault was met.
fn run(
    tally: &mut Tally,
    tries: &[(&Template, Vec<Fault>)],
    attempt: impl Fn(&Template, &[Fault], &mut Random) -> Result<bool, String> + Sync,
) {
    let (next, failures, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    let Some((template, faults)) = tries.get(at) else { return };
                    let names: Vec<String> = faults.iter().map(Fault::to_string).collect();
                    let mut random = Random::new(seed() + at as u64);
                    match attempt(template, faults, &mut random) {
                        Ok(true) => {}
                        Ok(false) => {
                            missed.lock().unwrap().push(format!("{}: {}", template.name, names.join(" and ")))
                        }
                        Err(why) => {
                            let place = format!("{}: {}", template.name, names.join(" and "));
                            failures.lock().unwrap().push(format!("{place}: {why}"));
                        }
                    }
                }
            });
        }
    });
    tally.tried(tries.len() as u64);
    failures.into_inner().unwrap().into_iter().for_each(|failure| tally.failed(failure));
    let missed = missed.into_inner().unwrap();
    tally.note(format!("{} faults were met", tries.len() - missed.len()));
    // A pair's second fault is often not reached; a single one always is, or the enumeration is wrong.
    if tries.iter().all(|(_, faults)| faults.len() == 1) {
        missed.into_iter().for_each(|fault| tally.failed(format!("never met: {fault}")));
    }
}

#[test]
fn every_call_of_a_commit_may_fail() {
    const NAME: &str = "crash::faults::every_call_of_a_commit_may_fail";
    if !is_available(NAME) {
        return;
    }
    let bench = Bench::new();
    let templates = bench.templates();
    let mut tally = Tally::new("02-commit-faults", "fault in one system call of a commit");
    let mut tries = Vec::new();
    for template in &templates {
        let calls = bench.commit_calls(template);
        let on = |file: &str| calls.iter().filter(|(_, _, target)| target.ends_with(file)).count();
        tally.note(format!(
            "{}: {} calls, {} on the database itself",
            template.name,
            calls.len(),
            on("log.db")
        ));
        assert!(on("log.db-wal") >= 3, "a commit is not what it was: {calls:?}");
        assert_eq!(on("anchor.db"), 2, "a move of the anchor is one write and one sync: {calls:?}");
        assert_eq!(template.name == "checkpoint", on("log.db") > 0, "{}: {calls:?}", template.name);
        for _ in 0..times(1) {
            tries.extend(faults(&calls).into_iter().map(|fault| (template, vec![fault])));
        }
    }
    run(&mut tally, &tries, |template, faults, random| bench.try_commit(template, faults, random));
    tally.finish();
}

#[test]
fn every_call_of_a_start_may_fail() {
    const NAME: &str = "crash::faults::every_call_of_a_start_may_fail";
    if !is_available(NAME) {
        return;
    }
    let bench = Bench::new();
    let template = bench.template("start", |_, history| history.records() == 3);
    every_call_of_its_start(&bench, &template, "02-start-faults", "fault in one system call of a start");
}

#[test]
fn every_call_of_a_conversion_may_fail() {
    const NAME: &str = "crash::faults::every_call_of_a_conversion_may_fail";
    if !is_available(NAME) {
        return;
    }
    let bench = Bench::new();
    let template = bench.template("conversion", |_, history| history.records() == 3);
    let anchor = template.place.path("anchor/anchor.db");
    let newest = FileAnchor::at(&anchor).read().unwrap().expect("there is one");
    let tree = TreeHead { size: TreeSize(0), root: Hash::EMPTY_TREE };
    old::write(&anchor, Some(&Anchored { tree, ..newest.clone() }), Some(&newest));
    let what = "fault in one system call of a start that converts an old anchor";
    every_call_of_its_start(&bench, &template, "02-conversion-faults", what);
}

fn every_call_of_its_start(bench: &Bench, template: &Template, row: &'static str, what: &'static str) {
    let place = template.place.copied();
    let log = place.path("strace");
    let server = place.try_serve_as(under(&place.command(), &[], &log)).expect("nothing is wrong yet");
    end_traced(server);
    let seen = std::fs::read_to_string(&log).expect("strace writes down what it sees");
    let calls = calls(&seen);
    assert!(calls.len() >= 6, "a start is not what it was: {calls:?}");
    let mut tally = Tally::new(row, what);
    tally.note(format!("{} calls", calls.len()));
    let mut tries = Vec::new();
    for _ in 0..times(1) {
        tries.extend(faults(&calls).into_iter().map(|fault| (template, vec![fault])));
    }
    run(&mut tally, &tries, |template, faults, random| bench.try_start(template, faults, random));
    tally.finish();
}

#[test]
fn pairs_of_faults_in_commits_are_survived() {
    const NAME: &str = "crash::faults::pairs_of_faults_in_commits_are_survived";
    if !is_available(NAME) {
        return;
    }
    let bench = Bench::new();
    let templates = bench.templates();
    let mut random = Random::new(seed());
    let all: Vec<Vec<Fault>> = templates.iter().map(|one| faults(&bench.commit_calls(one))).collect();
    let mut tries = Vec::new();
    while tries.len() < times(12) as usize {
        let at = random.below(templates.len() as u64) as usize;
        let mut any = || all[at][random.below(all[at].len() as u64) as usize].clone();
        let (first, second) = (any(), any());
        // strace knows one injection for each system call of a thread.
        if first.call != second.call {
            tries.push((&templates[at], vec![first, second]));
        }
    }
    let mut tally = Tally::new("02-pairs", "pair of faults in commits");
    run(&mut tally, &tries, |template, faults, random| bench.try_commit(template, faults, random));
    tally.finish();
}
