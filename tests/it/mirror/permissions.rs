//! State is private: a full data directory of the real program, file by file, under careless umasks.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::monitor::Lab;
use super::served::{get, lookup_of, mirroring, sections};
use super::small_log::{NAME, SmallLog};
use super::*;
use crate::crash::campaign::skipped;
use crate::support::logs::signer;
use crate::support::serve::{LogDirectory, Server};
use crate::support::witness::{self, WitnessProcess};

const OWN: &str = "sum.corp.example";

/// The same command under a umask.
fn under(umask: &str, command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "umask $0 && exec \"$@\"", umask]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        shell.env(name, value.expect("no variable is taken away"));
    }
    if let Some(directory) = command.get_current_dir() {
        shell.current_dir(directory);
    }
    shell
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut paths = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { paths.extend(entries(&entry)) } else { paths.push(entry) }
    }
    paths
}

/// Nobody else can reach anything in this directory of state, in which these files are.
#[track_caller]
fn assert_private(directory: &Path, wanted: &[&str]) {
    for path in entries(directory) {
        let found = fs::metadata(&path).unwrap();
        let allowed = match &path {
            path if found.is_dir() => (path, 0o700),
            // The public key says so: everybody is to have it.
            path if path.extension().is_some_and(|end| end == "vkey") => (path, 0o644),
            path => {
                assert!(found.is_file() || found.file_type().is_socket(), "{}", path.display());
                (path, 0o600)
            }
        };
        assert_eq!(mode(&path), allowed.1, "{} has mode {:o}", path.display(), mode(&path));
    }
    for name in wanted {
        assert!(directory.join(name).exists(), "{name} is not there: {:?}", entries(directory));
    }
}

/// A log with an anchor elsewhere and a mirror in this mode.
fn configure(directory: &LogDirectory, log: &SmallLog, url: &str, mode: &str) {
    let sections = sections(NAME, &log.vkey(), url, &format!("mode = \"{mode}\""));
    directory.configure(OWN, &format!("anchor = \"place/anchor.db\"\n{sections}"));
}

#[test]
fn whatever_the_umask_is_state_is_private() {
    for umask in ["000", "022"] {
        let log = SmallLog::new(701);
        let upstream = log.serve();
        let directory = mirroring(&log, &upstream.url(), "");
        let place = directory.config().with_file_name("place");
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        for (mode, files) in [
            ("full", ["full.db", "full.segments", "full.places", "full.lock"]),
            ("on-demand", ["db", "db-wal", "db-shm", "full.db"]),
            ("heads", ["db", "db-wal", "db-shm", "full.db"]),
        ] {
            configure(&directory, &log, &upstream.url(), mode);
            let mut sync = Command::new(env!("CARGO_BIN_EXE_tallystick"));
            sync.args(["mirror", "sync", "--once", "--config"]).arg(directory.config());
            let synced = under(umask, &sync).output().unwrap();
            assert!(synced.status.success(), "{}", String::from_utf8_lossy(&synced.stderr));
            let server = Server::spawn(under(umask, &Server::command(&directory)));
            if mode != "heads" {
                assert_eq!(get(&server, &lookup_of(3)).0, 200);
            }
            let mirrors = files.map(|end| format!("mirror/{NAME}.{end}"));
            let own = ["log.db", "log.db-wal", "log.db-shm", "lock", "control.sock", "keys", "scratch"];
            let all: Vec<&str> = own.into_iter().chain(mirrors.iter().map(String::as_str)).collect();
            assert_private(&directory.data(), &all);
            assert_eq!(mode_of_anchor(&place), (0o755, 0o600), "umask {umask}");
            server.stop();
        }

        let world = tempfile::tempdir().unwrap();
        let data = world.path().join("witness");
        let free_ports =
            ["--name", "witness.example/w", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
        let command = witness::command(&data, &free_ports, &[signer().verifier().to_string()]);
        let running = WitnessProcess::spawn(under(umask, &command));
        assert_private(&data, &["witness.db", "witness.db-wal", "lock", "keys"]);
        assert!(running.stop());

        let lab = Lab::new(&log, &upstream.url(), "");
        lab.configure("feed = \"feed.xml\"\n");
        let command = lab.sandbox.command(&["monitor", "monitor.toml", "--once"]);
        let polled = under(umask, &command).output().unwrap();
        assert!(polled.status.success(), "{}", String::from_utf8_lossy(&polled.stderr));
        assert_private(&lab.state(), &["monitor.state", "lock"]);
    }
}

fn mode_of_anchor(place: &Path) -> (u32, u32) {
    for path in entries(place).into_iter().skip(1) {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    (mode(place), mode(&place.join("anchor.db")))
}

/// As an older version made it, or `cp` under a careless umask.
fn loosen(directory: &Path) {
    for path in entries(directory) {
        // Who could read a key has to make another: that is refused, not mended.
        if path.extension().is_none_or(|end| end != "skey") && !path.ends_with("control.sock") {
            let loose = if path.is_dir() { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(loose)).unwrap();
        }
    }
}

#[test]
fn what_is_looser_is_tightened_at_the_next_start_and_told_once() {
    const TOLD: &str = "it is private now";
    let log = SmallLog::new(701);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), "mode = \"full\"");
    directory.serve().stop();
    loosen(&directory.data());
    let server = directory.serve();
    assert_private(&directory.data(), &["log.db", "anchor.db", "lock", "mirror"]);
    let told = server.printed();
    assert_eq!(told.matches(TOLD).count(), 1, "{told}");
    server.stop();
    let server = directory.serve();
    assert!(!server.printed().contains(TOLD), "{}", server.printed());
    server.stop();
}

/// The fault: whoever could read a database could lock it, and end the server or keep it from starting.
#[test]
fn another_user_cannot_lock_anything() {
    const TEST: &str = "mirror::permissions::another_user_cannot_lock_anything";
    if !rustix::process::geteuid().is_root() {
        return skipped(TEST, "another user's commands can be run by root only");
    }
    let log = SmallLog::new(701);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), "mode = \"full\"");
    let server = Server::spawn(under("000", &Server::command(&directory)));
    let root = directory.config().parent().unwrap().to_owned();
    let opens = |path: &Path| {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "exec 9<\"$0\""]).arg(path).uid(65_534).gid(65_534).current_dir("/");
        shell.output().unwrap().status.success()
    };
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(opens(&directory.config()), "the other user comes as far as the configuration");
    // Whoever opens the directories again, as for a backup, does not open the files.
    for open_directories in [false, true] {
        for path in entries(&directory.data()) {
            if path.is_dir() && open_directories {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        let files: Vec<PathBuf> =
            entries(&directory.data()).into_iter().filter(|path| path.is_file()).collect();
        assert!(files.len() > 6, "{files:?}");
        for path in files.iter().filter(|path| path.extension().is_none_or(|end| end != "vkey")) {
            assert!(!opens(path), "{}", path.display());
        }
    }
    server.stop();
}
