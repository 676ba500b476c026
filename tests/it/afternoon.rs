//! README.md's "An auditor's afternoon", played as it is written, on other ports and without its build.
//!
//! It goes to the network as the `go` command does: for `rsc.io/quote` and two modules more, through the proxy of the environment.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::cli::installed;

const TEST: &str = "afternoon::it_can_be_played_as_it_is_written";
/// A few seconds, and some downloads.
const PATIENCE: Duration = Duration::from_secs(240);
/// What is printed, in this order.
const PRINTED: &[&str] = &[
    "cosigned by 2 of 2",
    "1 of 1 files verified",
    "w1.example w2.example",
    "record 1 of 2 is\nrsc.io/quote v1.5.2 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=\n",
    "clean     every record, tile and head agrees",
    "head      66398721 records, root 5oXTdOltbW8oy+WAHSPYkUE7FskIY/5ZJCYGy+buJ3g=\n  records   30 read",
    "clean     what was read of it agrees",
    "\n4\n",
    "this database is a fork of the real log",
    "ALARM: the log has signed two trees",
    "\n4\n",
    "signed two trees of 5 records",
];
/// For each of the three texts: of the witness, of the monitor, of the log.
const CONVICTED: &str = "has signed two trees, of 5 and of 5 records, that no one log can have\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The commands of the section.
fn commands() -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split("\n### ").find(|section| section.starts_with("An auditor's afternoon\n"));
    let parts = section.expect("README.md has the section").split("\n```");
    parts.filter_map(|part| part.strip_prefix("sh\n")).map(|block| format!("{block}\n")).collect()
}

/// Ports that are free, and stay so: the system gives out larger ones.
fn free_ports(count: usize) -> Vec<String> {
    let first = 20_000 + (std::process::id() % 1_000) as u16 * 10;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (first..32_000).filter(is_free).take(count).map(|port| port.to_string()).collect()
}

/// The same on ports that are free, and waiting for what a person waits for.
fn adapted(directory: &Path) -> String {
    let ports = free_ports(6);
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_tallystick"));
    let place = directory.join("afternoon").display().to_string();
    let witness_port = format!("$((n == 1 ? {} : {}))", ports[0], ports[1]);
    let wait = "until tallystick incidents --data stolen | grep -q misbehaviour; do sleep 0.1; done\n\
                until [ -e monitor/*.incident-1.txt ]; do sleep 0.1; done\n\
                until ! tallystick witness evidence --data w1 >/dev/null; do sleep 0.1; done\n";
    let mut text = commands();
    for (written, here) in [
        ("cargo build --release\n", ""),
        ("$PWD/target/release", binary.parent().unwrap().to_str().unwrap()),
        ("/tmp/afternoon", &place),
        ("127.0.0.1:847$((4 + n))", &format!("127.0.0.1:{witness_port}")),
        ("127.0.0.1:847%s", "127.0.0.1:%s"),
        (" $n $((4 + n)) ", &format!(" $n {witness_port} ")),
        ("8470", &ports[2]),
        ("8480", &ports[3]),
        ("8481", &ports[4]),
        (
            "tallystick witnesses status\n",
            "until tallystick witnesses status | grep 'by 2 of 2'; do sleep 0.1; done\n",
        ),
        ("sleep 2\n", wait),
    ] {
        assert!(text.contains(written), "README.md no longer has {written:?}");
        text = text.replace(written, here);
    }
    let first = format!(
        "exec 2>&1\nexport TALLYSTICK_LISTEN=127.0.0.1:{} TALLYSTICK_METRICS_LISTEN=127.0.0.1:{}\n",
        ports[2], ports[5]
    );
    first + &text
}

/// A shell with all that it started, ended with it.
struct Shell(Child);

impl Drop for Shell {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        // It may be gone already.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

fn play(directory: &Path) -> String {
    let script = directory.join("afternoon.sh");
    std::fs::write(&script, adapted(directory)).unwrap();
    let mut command = Command::new("bash");
    command.arg(&script).current_dir(root()).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
    for name in ["GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GONOPROXY", "TALLYSTICK_CONFIG", "TALLYSTICK_DATA"] {
        command.env_remove(name);
    }
    let mut shell = Shell(command.spawn().unwrap());
    let (sender, printed) = mpsc::channel();
    let mut pipe = shell.0.stdout.take().unwrap();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = pipe.read_to_end(&mut text);
        let _ = sender.send(read.map(|_| String::from_utf8_lossy(&text).into_owned()));
    });
    match printed.recv_timeout(PATIENCE) {
        Ok(text) => text.unwrap(),
        Err(_) => {
            drop(shell);
            panic!("it does not end; it printed\n{}", printed.recv().unwrap().unwrap());
        }
    }
}

/// Whether the modules can be had, as the `go` command gets them.
fn network(directory: &Path) -> Result<(), String> {
    for module in ["rsc.io/quote@v1.5.2", "rsc.io/pdf@v0.1.1", "rsc.io/qr@v0.2.0", "golang.org/x/mod@v0.42.0"]
    {
        let mut command = Command::new("go");
        command
            .args(["mod", "download", module])
            .env("GOFLAGS", "-modcacherw")
            .env("GOPATH", directory.join("try"));
        let output = command.current_dir(directory).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
    }
    Ok(())
}

#[test]
fn it_can_be_played_as_it_is_written() {
    if ["bash", "curl", "jq", "go", "unshare"].iter().any(|program| installed(program, TEST).is_none()) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    if let Err(why) = network(directory.path()) {
        eprintln!("SKIPPED: {TEST}: {why}");
        return;
    }
    let alone = Command::new("unshare").args(["-rn", "true"]).output().unwrap();
    if !alone.status.success() {
        eprintln!("SKIPPED: {TEST}: unshare: {}", String::from_utf8_lossy(&alone.stderr));
        return;
    }
    let printed = play(directory.path());
    let mut rest = printed.as_str();
    for expected in PRINTED {
        let (_, after) = rest
            .split_once(expected)
            .unwrap_or_else(|| panic!("no {expected:?} where it belongs in\n{printed}"));
        rest = after;
    }
    assert_eq!(rest.matches(CONVICTED).count(), 3, "{printed}");
    assert!(!directory.path().join("afternoon").exists(), "it cleans up");
}
