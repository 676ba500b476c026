//! A running server takes another configuration: `tallystick reload`, SIGHUP, and what systemd is
//! told.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the report; clippy knows only functions marked as tests"
)]

mod checks;
mod notify;
mod parts;
mod tls;

use std::time::Duration;

use serde_json::Value;

use crate::cli::Ran;
use crate::crash::source::Source;
use crate::support::hostile::{Behaviour, HostileServer};
use crate::support::poll;
use crate::support::serve::{LogDirectory, Server};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn route(url: &str) -> String {
    format!("[[route]]\nmodules = [\"*\"]\nsource = [\"{url}\"]\nchecksum = \"compute\"\n")
}

/// Runs a command beside the server.
fn run(data: &LogDirectory, arguments: &[&str]) -> Ran {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tallystick"));
    command.args(arguments).arg("--config").arg(data.config());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    Ran::of(command.output().unwrap())
}

fn reload(data: &LogDirectory) -> Ran {
    run(data, &["reload"])
}

/// The source that the evidence of a record names.
fn source_of(data: &LogDirectory, module: &str) -> String {
    let ran = run(data, &["lookup", module, "--json"]);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stderr));
    let text = answer.to_string();
    let url = text.split("\"source\":\"").nth(1).unwrap_or_else(|| panic!("{text}"));
    url.split('"').next().unwrap().trim_end_matches('/').to_owned()
}

const M1: &str = "crash.example/Team/m1@v1.0.0";
const M2: &str = "crash.example/Team/m2@v1.0.0";

#[test]
fn routes_and_limits_take_effect_and_the_server_says_what_has_changed() {
    let (old, new) = (Source::start(), Source::start());
    let data = LogDirectory::new("sum.corp.example", &route(&old.url()));
    let server = data.serve();
    assert_eq!(server.get(&Source::lookup(1)).status, 200);
    assert_eq!(server.metric("config_reload_success"), 1);
    let unchanged = reload(&data);
    assert_eq!(unchanged.code, 0, "{}", unchanged.stderr);
    assert!(unchanged.stdout.contains("nothing has changed"), "{}", unchanged.stdout);

    let limits = "[limits]\nmisses_per_minute = 1\nclient_misses_per_minute = 1\n";
    data.configure("sum.corp.example", &(limits.to_owned() + &route(&new.url())));
    let changed = reload(&data);
    assert_eq!(changed.code, 0, "{}", changed.stderr);
    for key in ["route.1.source", "limits.misses_per_minute", "limits.client_misses_per_minute"] {
        assert!(changed.stdout.contains(key), "{key}: {}", changed.stdout);
    }
    assert_eq!(server.get(&Source::lookup(2)).status, 200);
    assert_eq!((source_of(&data, M1), source_of(&data, M2)), (old.url(), new.url()));
    let limited = server.get(&Source::lookup(3));
    assert_eq!(limited.status, 503, "one miss a minute: {}", limited.text());
    // What is in the log is answered as before.
    assert_eq!(server.get(&Source::lookup(1)).status, 200);
    server.stop();
}

#[test]
fn a_bad_file_changes_nothing_and_the_command_and_the_signal_say_where_it_is_wrong() {
    let source = Source::start();
    let data = LogDirectory::new("sum.corp.example", &route(&source.url()));
    let server = data.serve();
    data.configure("sum.corp.example", &(route(&source.url()) + "[limits]\ndeadline_seconds = 9000\n"));
    let place = format!("{}:", data.config().display());
    let checked = run(&data, &["config", "check"]);
    let refused = reload(&data);
    assert_eq!((refused.code, checked.code), (2, 2));
    assert_eq!(refused.stderr, checked.stderr, "the same words");
    assert!(refused.stderr.contains(&place) && refused.stderr.contains("limits.deadline_seconds"));
    poll("the server has refused it", PATIENCE, || {
        (server.metric("config_reload_success") == 0).then_some(())
    });
    assert_eq!(server.get(&Source::lookup(1)).status, 200, "by the configuration of before");

    // A signal has no exit code: the log and the figures tell.
    server.hang_up();
    poll("the log tells", PATIENCE, || {
        (server.printed().matches("the configuration was not reloaded").count() >= 2).then_some(())
    });
    assert!(server.printed().contains("limits.deadline_seconds"), "{}", server.printed());
    data.configure("sum.corp.example", &route(&source.url()));
    server.hang_up();
    poll("it is taken", PATIENCE, || (server.metric("config_reload_success") == 1).then_some(()));
    assert!(server.metric("config_reload_success_timestamp_seconds") > 1_700_000_000);
    server.stop();
}

#[test]
fn what_needs_a_restart_is_named_and_then_nothing_is_changed() {
    let (old, new) = (Source::start(), Source::start());
    let data = LogDirectory::new("sum.corp.example", &route(&old.url()));
    let server = data.serve();
    let restart = "anchor = \"elsewhere.db\"\nlog_format = \"json\"\n";
    data.configure("sum.corp.example", &(restart.to_owned() + &route(&new.url())));
    let refused = reload(&data);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    for said in ["`anchor`", "`log_format`", "only when the server starts", "fix: restart the server"] {
        assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    assert!(!refused.stderr.contains("route.1"), "{}", refused.stderr);
    assert_eq!(server.get(&Source::lookup(1)).status, 200);
    assert_eq!(source_of(&data, M1), old.url());
    // The fix that it names.
    data.configure("sum.corp.example", &route(&new.url()));
    assert_eq!(reload(&data).code, 0);
    server.stop();
}

#[test]
fn a_look_up_that_hangs_starts_again_on_the_new_route() {
    let good = Source::start();
    let hangs = HostileServer::always(Behaviour::Stall);
    let data = LogDirectory::new("sum.corp.example", &route(&hangs.url()));
    let server = data.serve();
    let url = server.url.clone();
    let waiting = std::thread::spawn(move || crate::support::web::get(&url, &Source::lookup(1)));
    poll("the source is asked", PATIENCE, || (!hangs.paths().is_empty()).then_some(()));
    data.configure("sum.corp.example", &route(&good.url()));
    assert_eq!(reload(&data).code, 0);
    let answer = waiting.join().unwrap().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(source_of(&data, M1), good.url());
    assert_eq!((server.metric("notary_rerouted"), server.metric("tree_size")), (1, 1));
    server.stop();
}

/// Requests in a loop while the configuration is replaced again and again: each is answered.
#[test]
fn hits_never_fail_during_a_reload() {
    let (first, second) = (Source::start(), Source::start());
    let data = LogDirectory::new("sum.corp.example", &route(&first.url()));
    let server = data.serve();
    assert_eq!(server.get(&Source::lookup(1)).status, 200);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let hits = scope.spawn(|| {
            let mut hits = 0;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                for path in [&Source::lookup(1), "/latest", "/tile/8/0/000.p/1"] {
                    assert_eq!(server.get(path).status, 200, "{path}");
                    hits += 1;
                }
            }
            hits
        });
        for round in 0..6 {
            let to = if round % 2 == 0 { &second } else { &first };
            let deadline = format!("[limits]\ndeadline_seconds = {}\n", 20 + round);
            data.configure("sum.corp.example", &(deadline + &route(&to.url())));
            let ran = reload(&data);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(hits.join().unwrap() > 0);
    });
    server.stop();
}

#[test]
fn without_a_server_there_is_nothing_to_reload() {
    let data = LogDirectory::new("sum.corp.example", &route("https://proxy.example"));
    let ran = reload(&data);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("no server runs in") && ran.stderr.contains("fix: "), "{}", ran.stderr);
    let server: Server = data.serve();
    let ran = run(&data, &["reload", "--json"]);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &answer["changed"]), (0, &Value::Array(Vec::new())));
    server.stop();
}
