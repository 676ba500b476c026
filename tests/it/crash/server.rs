//! `tallystick serve` as a process: started, asked, stopped, and looked at when it is dead.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tallystick::note::VerifierKey;

use super::wire::{self, Answer};
use crate::support::poll;

/// How long a server may take to end when it is told to, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// A data directory with its anchor and configuration, and two loopback addresses that are nobody else's.
pub(crate) struct Place {
    root: PathBuf,
    source: String,
    address: Ipv4Addr,
    _temporary: Option<tempfile::TempDir>,
}

/// A server that runs. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    ops: SocketAddr,
    pub(crate) verifier: VerifierKey,
    stderr: PathBuf,
    /// What it prints must have a reader.
    _stdout: BufReader<ChildStdout>,
}

/// How a server ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None`: by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stderr: String,
}

/// An address of this machine for one place. All of 127.0.0.0/8 is ours: the places of one process
/// take one address after the other, from one that the number of the process decides.
fn own_address() -> Ipv4Addr {
    /// From 127.2.0.0 to 127.251.255.255.
    const ADDRESSES: u32 = 250 << 16;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Far from where a process with the next number begins.
    let first = std::process::id().wrapping_mul(0x9e37_79b1);
    let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::SeqCst)) % ADDRESSES;
    Ipv4Addr::from_bits((127 << 24 | 2 << 16) + number)
}

impl Place {
    /// A new place whose modules come from `source`.
    pub(crate) fn new(source: &str) -> Place {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        Place { _temporary: Some(temporary), ..Place::at(&PathBuf::new(), source) }.rooted()
    }

    /// A place in a directory of the caller's.
    pub(crate) fn at(root: &Path, source: &str) -> Place {
        Place { root: root.to_owned(), source: source.to_owned(), address: own_address(), _temporary: None }
    }

    fn rooted(mut self) -> Place {
        self.root = self._temporary.as_ref().expect("it was just made").path().to_owned();
        self.configure("");
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Writes the configuration; `more` stands before the route.
    pub(crate) fn configure(&self, more: &str) {
        self.write("anchor/anchor.db", 1_000_000, more);
    }

    /// The same with another anchor.
    pub(crate) fn configure_anchor(&self, anchor: &str) {
        self.write(anchor, 1_000_000, "");
    }

    /// The same with so many misses a minute for each client.
    pub(crate) fn configure_misses(&self, each_client: u64) {
        self.write("anchor/anchor.db", each_client, "");
    }

    fn write(&self, anchor: &str, misses: u64, more: &str) {
        fs::create_dir_all(self.path("anchor")).expect("a directory for the anchor");
        let Place { address, source, .. } = self;
        let text = format!(
            "name = \"sum.crash.example\"\ndata = \"data\"\nanchor = \"{anchor}\"\n\
             listen = \"{address}:8470\"\nmetrics_listen = \"{address}:8471\"\n\
             [limits]\nclient_misses_per_minute = {misses}\nmisses_per_minute = 10000000\n{more}\n\
             [[route]]\nmodules = [\"crash.example\"]\nsource = [\"{source}\"]\nchecksum = \"compute\"\n"
        );
        fs::write(self.path("tallystick.toml"), text).expect("a configuration");
    }

    /// The command that starts the server.
    pub(crate) fn command(&self) -> Command {
        self.program(&["serve", "--config", "tallystick.toml"])
    }

    /// Runs another command of the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        let output = self.program(arguments).output().expect("the program runs");
        let text = [output.stdout, output.stderr].concat();
        let (code, signal) = (output.status.code(), output.status.signal());
        Ended { code, signal, stderr: String::from_utf8_lossy(&text).into_owned() }
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tallystick"));
        command.args(arguments);
        command.current_dir(&self.root).stdin(Stdio::null()).stdout(Stdio::piped());
        command.env_clear().env("HOME", &self.root).env("PATH", "/nonexistent");
        command.env("TALLYSTICK_LOG_FILTER", "warn");
        command
    }

    pub(crate) fn serve(&self) -> Server {
        self.try_serve().unwrap_or_else(|ended| panic!("the server did not start: {ended:?}"))
    }

    /// Starts the server, and waits until it listens or has ended.
    pub(crate) fn try_serve(&self) -> Result<Server, Ended> {
        self.try_serve_as(self.command())
    }

    /// Starts a command of the caller's.
    pub(crate) fn try_serve_as(&self, command: Command) -> Result<Server, Ended> {
        self.try_serve_to(command, self.path("stderr"))
    }

    /// The same with its messages elsewhere.
    pub(crate) fn try_serve_to(&self, command: Command, stderr: PathBuf) -> Result<Server, Ended> {
        self.await_start(self.spawn(command, &stderr), stderr)
    }

    pub(crate) fn spawn(&self, mut command: Command, stderr: &Path) -> Child {
        command
            .stderr(File::create(stderr).expect("a file for stderr"))
            .spawn()
            .expect("the server's program")
    }

    fn await_start(&self, mut child: Child, stderr: PathBuf) -> Result<Server, Ended> {
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut verifier = None;
        loop {
            let mut line = String::new();
            if stdout.read_line(&mut line).unwrap_or(0) == 0 {
                return Err(Ended::of(child.wait().expect("it is our child"), &stderr));
            }
            if let Some(key) = line.strip_prefix("verifier key  ") {
                verifier = key.split_whitespace().next().and_then(|key| key.parse().ok());
            }
            if line.starts_with("address") {
                break;
            }
        }
        let (address, ops) = ((self.address, 8470).into(), (self.address, 8471).into());
        let verifier = verifier.expect("the key stands before the address");
        Ok(Server { child, address, ops, verifier, stderr, _stdout: stdout })
    }

    /// A place with the same data and anchor, copied as they are at this moment.
    pub(crate) fn copied(&self) -> Place {
        let copy = Place::new(&self.source);
        copy_tree(&self.data(), &copy.data());
        copy_tree(&self.path("anchor"), &copy.path("anchor"));
        copy
    }
}

/// Copies files and directories, the log last and its write-ahead log before it: as `cp` would, nothing is locked.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory for the copy");
    for entry in fs::read_dir(from).expect("the directory is there").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().expect("its type") {
            kind if kind.is_dir() => copy_tree(&from, &to),
            kind if kind.is_file() => drop(fs::copy(&from, &to).expect("a file can be copied")),
            _ => {}
        }
    }
}

impl Ended {
    fn of(status: ExitStatus, stderr: &Path) -> Ended {
        let stderr = String::from_utf8_lossy(&fs::read(stderr).unwrap_or_default()).into_owned();
        Ended { code: status.code(), signal: status.signal(), stderr }
    }

    /// What is wrong with this end, if it was the server's own: a panic, or an error without a sentence.
    pub(crate) fn fault(&self) -> Option<String> {
        let panicked =
            self.stderr.contains("panicked at") || self.code == Some(101) || self.signal == Some(6);
        (panicked || self.stderr.is_empty() && self.signal.is_none()).then(|| format!("{self:?}"))
    }
}

impl Server {
    pub(crate) fn get(&self, path: &str) -> std::io::Result<Answer> {
        wire::get(self.address, path)
    }

    /// `/readyz` of the second door.
    pub(crate) fn readiness(&self) -> String {
        wire::get(self.ops, "/readyz").expect("the second door answers").text()
    }

    /// A figure of the metrics page, by its name and labels. `None`: there is no such figure.
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        let page = wire::get(self.ops, "/metrics").expect("the second door answers").text();
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The number of the thread that writes. A thread gives itself its name, which may take a moment.
    pub(crate) fn sequencer(&self) -> u32 {
        poll("the sequencer's thread", PATIENCE, || self.thread("sequencer"))
    }

    fn thread(&self, wanted: &str) -> Option<u32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id())).ok()?;
        tasks.flatten().map(|task| task.path()).find_map(|task| {
            let name = fs::read_to_string(task.join("comm")).ok()?;
            (name.trim() == wanted).then(|| task.file_name()?.to_str()?.parse().ok())?
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // It may be dead already, which is what some tests wait for.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Ends it at once, if it has not ended by itself.
    pub(crate) fn kill(mut self) -> Ended {
        let _ = self.child.kill();
        Ended::of(self.child.wait().expect("it is our child"), &self.stderr)
    }

    /// Tells it to end, and waits until it has.
    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(mut self) -> Ended {
        let status =
            poll("the end of the server", PATIENCE, || self.child.try_wait().expect("it is our child"));
        Ended::of(status, &self.stderr)
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `wait` both fail, which is what they should.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
