//! What the server must refuse to start on: each time a sentence with the cause and the fix, an exit code that a
//! script can act on, and nothing changed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use super::campaign::{Tally, skipped};
use super::server::{Ended, Place};
use super::source::Source;
use crate::support::write_program;

/// Exit codes of the design.
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const DAMAGE: i32 = 4;

/// A log with one record, stopped.
fn place_with_a_log() -> (Source, Place) {
    let source = Source::start();
    let place = Place::new(&source.url());
    let server = place.serve();
    assert_eq!(server.get(&Source::lookup(0)).expect("an answer").status, 200);
    assert_eq!(server.stop().code, Some(0));
    (source, place)
}

fn check(name: &str, place: &Place, code: i32, words: &[&str]) {
    let ended = match place.try_serve() {
        Ok(server) => panic!("{name}: it starts: {}", server.readiness()),
        Err(ended) => ended,
    };
    check_end(name, &ended, code, words);
}

fn check_end(name: &str, ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.fault(), None, "{name}");
    assert_eq!(ended.code, Some(code), "{name}: {}", ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "{name}: {word:?} in {}", ended.stderr);
    }
}

fn key_file(place: &Place) -> PathBuf {
    let files = fs::read_dir(place.data().join("keys")).expect("there are keys");
    files
        .flatten()
        .map(|file| file.path())
        .find(|file| file.extension().is_some_and(|end| end == "skey"))
        .expect("a key")
}

#[test]
fn keys_that_cannot_be_right_are_refused() {
    let mut tally =
        Tally::new("05-keys", "start with a key that is missing, wrong, open to others or damaged");
    let mut case = |name: &str, code: i32, words: &[&str], change: &dyn Fn(&Place)| {
        let (_source, place) = place_with_a_log();
        let before = fs::read(key_file(&place)).unwrap();
        let path = key_file(&place);
        change(&place);
        check(name, &place, code, words);
        // With the key back the log goes on: nothing was made that is in its way.
        fs::create_dir_all(place.data().join("keys")).unwrap();
        if name == "key of another log" {
            fs::remove_file(key_file(&place)).unwrap();
        }
        fs::set_permissions(place.data().join("keys"), Permissions::from_mode(0o700)).unwrap();
        fs::write(&path, before).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let server = place.try_serve().unwrap_or_else(|ended| panic!("{name}, with its key back: {ended:?}"));
        assert_eq!(server.readiness(), "ready\n", "{name}");
        tally.tried(1);
    };
    case("no key directory", USAGE, &["no key", "keys", "fix"], &|place| {
        fs::remove_dir_all(place.data().join("keys")).unwrap();
    });
    case("no key file", USAGE, &["no key", "keys", "fix"], &|place| {
        fs::remove_file(key_file(place)).unwrap()
    });
    case("key of another log", USAGE, &["does not belong to the log", "sum.crash.example"], &|place| {
        let (_source, other) = place_with_a_log();
        fs::remove_dir_all(place.data().join("keys")).unwrap();
        super::server::copy_tree(&other.data().join("keys"), &place.data().join("keys"));
    });
    case("open to others", USAGE, &["mode 0644", "chmod 600"], &|place| {
        fs::set_permissions(key_file(place), Permissions::from_mode(0o644)).unwrap();
    });
    case("not a key", DAMAGE, &["backup", ".skey"], &|place| {
        fs::write(key_file(place), "PRIVATE+KEY+nonsense\n").unwrap()
    });
    case("an empty key", DAMAGE, &["backup", ".skey"], &|place| fs::write(key_file(place), "").unwrap());
    tally.finish();
}

#[test]
fn databases_that_cannot_be_right_are_refused() {
    let mut tally = Tally::new("05-databases", "start on a database that is newer, foreign or damaged");
    let mut case = |name: &str, code: i32, words: &[&str], change: &dyn Fn(&Place)| {
        let (_source, place) = place_with_a_log();
        change(&place);
        check(name, &place, code, words);
        tally.tried(1);
    };
    let sql = |place: &Place, file: &str, sql: &str| {
        rusqlite::Connection::open(place.path(file)).unwrap().execute_batch(sql).unwrap();
    };
    case("a newer log", USAGE, &["schema version 99", "newer program"], &|place| {
        sql(place, "data/log.db", "PRAGMA user_version = 99");
    });
    case("a database of something else", USAGE, &["log.db", "not a database of this program"], &|place| {
        fs::remove_file(place.path("data/log.db")).unwrap();
        sql(place, "data/log.db", "CREATE TABLE accounts (name TEXT)");
    });
    case("text", DAMAGE, &["damaged", "database"], &|place| {
        fs::write(place.path("data/log.db"), "This is not a database, it is a sentence. ".repeat(100))
            .unwrap();
    });
    case("a directory", FAILED, &["log.db"], &|place| {
        fs::remove_file(place.path("data/log.db")).unwrap();
        fs::create_dir(place.path("data/log.db")).unwrap();
    });
    case("a first page of zeros", DAMAGE, &["damaged"], &|place| {
        let mut bytes = fs::read(place.path("data/log.db")).unwrap();
        bytes[..16 << 10].fill(0);
        fs::write(place.path("data/log.db"), bytes).unwrap();
    });
    tally.finish();
}

#[test]
fn another_name_than_that_of_the_key_is_refused() {
    let (_source, place) = place_with_a_log();
    let mut command = place.command();
    command.args(["--name", "sum.other.example"]);
    let ended = place.try_serve_as(command).map(|_| "it runs").expect_err("another name");
    check_end("another name", &ended, USAGE, &["sum.other.example", "sum.crash.example", "fix"]);
}

#[test]
fn a_port_that_is_taken_is_named_before_anything_is_made() {
    let source = Source::start();
    let (running, place) = (Place::new(&source.url()), Place::new(&source.url()));
    let server = running.serve();
    let mut command = place.command();
    command.args(["--listen", &server.address.to_string()]);
    let ended = place.try_serve_as(command).map(|_| "it runs").expect_err("the port is taken");
    check_end("taken", &ended, FAILED, &[&server.address.to_string(), "listen", "free it"]);
    assert!(!place.data().join("log.db").exists(), "nothing was made");
}

#[test]
fn data_that_is_no_directory_is_named() {
    let source = Source::start();
    let place = Place::new(&source.url());
    fs::write(place.data(), "a file").unwrap();
    check("a file", &place, USAGE, &["is not a directory", "fix: move what is there away"]);
}

/// As a user who may not write there: root may write everywhere, so the program is copied to where that user reaches it.
#[test]
fn a_data_directory_of_somebody_else_is_named() {
    const NAME: &str = "crash::starts::a_data_directory_of_somebody_else_is_named";
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return skipped(NAME, "needs root, to be somebody else");
    }
    for (mode, words) in [(0o755, ["Permission denied", "fix"]), (0o700, ["Permission denied", "fix"])] {
        let (_source, place) = place_with_a_log();
        let program = place.path("tallystick");
        write_program(&program, &fs::read(env!("CARGO_BIN_EXE_tallystick")).unwrap());
        fs::set_permissions(place.path(""), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(place.data(), Permissions::from_mode(mode)).unwrap();
        let mut command = Command::new(&program);
        command.args(["serve", "--config", "tallystick.toml"]).current_dir(place.path("")).env_clear();
        command.env("PATH", "/nonexistent").stdout(std::process::Stdio::piped()).uid(NOBODY).gid(NOBODY);
        let ended = place.try_serve_as(command).map(|_| "it runs").expect_err("it may not write there");
        check_end(&format!("{mode:o}"), &ended, USAGE, &words);
    }
}

#[test]
fn a_read_only_disk_is_named() {
    const NAME: &str = "crash::starts::a_read_only_disk_is_named";
    let (_source, place) = place_with_a_log();
    let data = place.data();
    let mount = |arguments: &[&str]| {
        Command::new("mount").args(arguments).arg(&data).output().is_ok_and(|output| output.status.success())
    };
    if !mount(&["--bind", &data.display().to_string()]) {
        return skipped(NAME, "a directory cannot be mounted (needs root)");
    }
    let read_only = mount(&["-o", "remount,ro,bind"]);
    let ended = place.try_serve().map(|_| "it runs");
    let _ = Command::new("umount").arg("-l").arg(&data).status();
    assert!(read_only);
    check_end(
        "read-only",
        &ended.expect_err("nothing can be written"),
        USAGE,
        &["Read-only file system", "data"],
    );
    assert_eq!(place.serve().readiness(), "ready\n");
}
