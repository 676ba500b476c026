//! `tallystick mirror`, beside a server and without one.

use std::process::{Child, Stdio};

use serde_json::Value;

use super::served::{PATIENCE, lookup_of, mirroring, reconfigure};
use super::small_log::{NAME, SmallLog, answer};
use super::*;
use crate::cli::{Ran, Sandbox};
use crate::support::poll;
use crate::support::serve::LogDirectory;

pub(super) fn arguments<'a>(directory: &LogDirectory, rest: &[&'a str]) -> Vec<std::borrow::Cow<'a, str>> {
    let config = directory.config().to_str().unwrap().to_owned();
    let mut all = vec!["--config".into(), config.into(), "mirror".into()];
    all.extend(rest.iter().map(|word| (*word).into()));
    all
}

pub(super) fn run(directory: &LogDirectory, rest: &[&str]) -> Ran {
    let all = arguments(directory, rest);
    Sandbox::new().run(&all.iter().map(|word| &**word).collect::<Vec<_>>())
}

#[track_caller]
pub(super) fn ran(directory: &LogDirectory, rest: &[&str], code: i32) -> Ran {
    let ran = run(directory, rest);
    assert_eq!(ran.code, code, "{rest:?}: {}{}", ran.stdout, ran.stderr);
    ran
}

/// What `mirror status` says of the log.
pub(super) fn status(directory: &LogDirectory) -> Value {
    let all: Value = serde_json::from_str(&run(directory, &["status", "--json"]).stdout).unwrap();
    all.as_array().unwrap().iter().find(|status| status["log"] == NAME).cloned().unwrap_or_default()
}

/// Runs what holds with a server and without one.
fn both_ways(directory: &LogDirectory, test: impl Fn(&LogDirectory)) {
    test(directory);
    let server = directory.serve();
    test(directory);
    server.stop();
}

#[test]
fn a_sync_advances_the_head_alone_and_beside_a_server() {
    for mode in ["on-demand", "heads"] {
        let log = SmallLog::new(700);
        let upstream = log.serve();
        let directory = mirroring(&log, &upstream.url(), &format!("mode = \"{mode}\""));
        // Without a log of its own, without a key.
        let before = ran(&directory, &["status"], 0);
        assert!(before.stderr.contains("nothing is kept of any remote log yet"), "{}", before.stderr);
        assert_eq!(ran(&directory, &["sync", "--once"], 0).stdout, format!("{NAME}: 700 records\n"));
        both_ways(&directory, |directory| {
            let again = ran(directory, &["sync", NAME], 0);
            assert_eq!(again.stdout, format!("{NAME}: nothing new, 700 records\n"));
            assert_eq!(ran(directory, &["sync", NAME, "--quiet"], 0).stdout, "");
            let status = status(directory);
            assert_eq!((&status["mode"], &status["size"]), (&mode.into(), &700.into()), "{status}");
            assert_eq!((&status["remote_size"], &status["heads"]), (&700.into(), &1.into()), "{status}");
            assert!(status["last_success"].is_string() && status["last_error"].is_null(), "{status}");
            // A test that takes a quarter of an hour has other troubles.
            assert!(status["lag_seconds"].as_u64().is_some_and(|lag| lag < 900), "{status}");
            assert_eq!(
                (&status["stopped"], &status["urls"][0]["lies"]),
                (&Value::Null, &0.into()),
                "{status}"
            );
            let text = ran(directory, &["status"], 0).stdout;
            assert!(text.starts_with(&format!("{NAME}\n  mode        {mode}, polled every ")), "{text}");
            assert!(text.contains("  size        700 records\n"), "{text}");
            assert!(
                text.lines().any(|line| line.starts_with("  reached ") && line.ends_with(" ago")),
                "{text}"
            );
        });
    }
}

#[test]
fn an_unknown_name_is_usage_and_says_which_are_known() {
    let log = SmallLog::new(7);
    let directory = mirroring(&log, "file:///nonexistent", "");
    both_ways(&directory, |directory| {
        let ran = ran(directory, &["sync", "sum.other.example"], 2);
        assert!(ran.stderr.contains(&format!("use one of: {NAME}\n")), "{}", ran.stderr);
    });
}

#[test]
fn a_log_that_is_not_reached_is_exit_3_and_kept_in_the_status() {
    let log = SmallLog::new(7);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), "");
    drop(upstream);
    both_ways(&directory, |directory| {
        let ran = ran(directory, &["sync"], 3);
        assert!(
            ran.stderr.starts_with(&format!("error: {NAME}: checksum database {NAME}: ")),
            "{}",
            ran.stderr
        );
        let status = status(directory);
        assert!(status["last_error"]["why"].as_str().unwrap().contains("127.0.0.1"), "{status}");
        assert_eq!((&status["size"], &status["last_success"]), (&Value::Null, &Value::Null));
    });
}

#[test]
fn what_each_url_sent_is_told_when_none_is_taken() {
    let (log, other) = (SmallLog::new(700), SmallLog::new(300));
    let page = HostileServer::always(Behaviour::ok("<html>please log in</html>"));
    // One that went back as a whole, and one whose head alone is old.
    let old = other.serve();
    let grown = log.clone();
    let lagging = HostileServer::start(move |path| match path {
        "/latest" => Behaviour::ok(grown.note(300)),
        path => answer(grown.answer(path, 700, |_| 700)),
    });
    let new = log.serve();
    let directory = mirroring(&log, &new.url(), "");
    ran(&directory, &["sync"], 0);
    drop(new);
    let urls = [&page, &old, &lagging].map(HostileServer::url).join("\", \"");
    reconfigure(&directory, &log, &urls, "");
    both_ways(&directory, |directory| {
        let ran = ran(directory, &["sync"], 3);
        let told = ran.stderr;
        assert!(
            told.contains(&format!("{}/latest: reading tree note: malformed note", page.url())),
            "{told}"
        );
        let older = "an older head of 300 records, after one of 700";
        for url in [old.url(), lagging.url()] {
            assert!(told.contains(&format!("{url}/latest: {older}")), "{told}");
        }
        let status = status(directory);
        assert_eq!((&status["size"], &status["stopped"]), (&700.into(), &Value::Null), "{status}");
    });
}

/// A fork, without and with a server: told by exit code, status and file; ended by a person who names the incident.
#[test]
fn misbehaviour_is_exit_4_until_a_person_goes_on() {
    let honest = SmallLog::new(700);
    let fork = honest.fork(500, 900);
    for beside in [false, true] {
        let (good, bad) = (honest.serve(), fork.serve());
        let directory = mirroring(&honest, &good.url(), "");
        let show = |server: &HostileServer| reconfigure(&directory, &honest, &server.url(), "");
        ran(&directory, &["sync"], 0);
        show(&bad);
        let server = beside.then(|| directory.serve());
        let stopped = ran(&directory, &["sync"], 4);
        let resume = format!("tallystick mirror resume {NAME} --incident 1");
        assert!(stopped.stderr.contains("two tree heads that contradict each other"), "{}", stopped.stderr);
        assert!(stopped.stderr.contains(&resume), "{}", stopped.stderr);
        ran(&directory, &["sync", "--watch"], 4);
        let told = status(&directory);
        assert_eq!((&told["stopped"]["incident"], &told["size"]), (&1.into(), &700.into()), "{told}");
        let evidence = told["stopped"]["evidence"].as_str().unwrap().to_owned();
        assert!(std::fs::read_to_string(&evidence).unwrap().contains(&fork.note(900).replace('\n', "\n\t")));
        assert!(ran(&directory, &["status"], 4).stdout.contains(&resume));
        let wrong = ran(&directory, &["resume", NAME, "--incident", "2"], 2);
        assert!(wrong.stderr.contains("is stopped for incident 1, not for 2"), "{}", wrong.stderr);
        ran(&directory, &["resume", NAME, "--incident", "1"], 0);
        assert_eq!(status(&directory)["stopped"], Value::Null);
        ran(&directory, &["resume", NAME, "--incident", "1"], 2);
        // The same contradiction is the next incident; an honest source goes on.
        ran(&directory, &["sync"], 4);
        assert_eq!(status(&directory)["stopped"]["incident"], 2);
        ran(&directory, &["resume", NAME, "--incident", "2"], 0);
        if let Some(server) = server {
            server.stop();
        }
        show(&good);
        ran(&directory, &["sync"], 0);
        assert!(std::path::Path::new(&evidence).exists(), "the evidence stays");
    }
}

/// Ends a command that would wait for ever, also when the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_second_sync_at_once_is_exit_5() {
    let log = SmallLog::new(7);
    let upstream = HostileServer::always(Behaviour::Stall);
    let directory = mirroring(&log, &upstream.url(), "");
    let second = |directory: &LogDirectory| {
        let asked = upstream.paths().len();
        let sandbox = Sandbox::new();
        let all = arguments(directory, &["sync"]);
        let mut command = sandbox.command(&all.iter().map(|word| &**word).collect::<Vec<_>>());
        let first = Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        poll("the first asks", PATIENCE, || (upstream.paths().len() > asked).then_some(()));
        ran(directory, &["sync"], 5);
        drop(first);
    };
    second(&directory);
    let server = directory.serve();
    second(&directory);
    let late = ran(&directory, &["sync", "--max-time", "100ms"], 3);
    assert!(late.stderr.contains(&format!("\n  {}: no failure so far", upstream.url())), "{}", late.stderr);
    drop(server);
}

#[test]
fn a_watch_follows_and_ends_in_time() {
    let log = SmallLog::new(900);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), "poll = \"1s\"");
    let ran = ran(&directory, &["sync", "--watch", "--max-time", "1500ms"], 0);
    assert_eq!(ran.stdout, format!("{NAME}: 900 records\n{NAME}: nothing new, 900 records\n"));
}

#[test]
fn the_lookups_of_a_mirror_are_counted_in_its_status() {
    let log = SmallLog::new(700);
    let served = log.clone();
    let upstream = HostileServer::start(move |path| answer(served.answer(path, 700, |_| 700)));
    let directory = mirroring(&log, &upstream.url(), "");
    let server = directory.serve();
    for n in 0..3 {
        assert_eq!(server.get(&format!("/sumdb/{NAME}/{}", lookup_of(n))).status, 200);
    }
    let beside = status(&directory);
    assert_eq!((&beside["records"], &beside["heads"]), (&3.into(), &1.into()), "{beside}");
    server.stop();
    let alone = status(&directory);
    assert_eq!((&alone["records"], &alone["tiles"]), (&beside["records"], &beside["tiles"]));
    let second = |status: &Value| status["last_success"].as_str().unwrap()[..19].to_owned();
    assert_eq!(second(&alone), second(&beside), "kept for the next process");
}
