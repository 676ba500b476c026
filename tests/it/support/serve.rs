//! `tallystick serve` as a process: started on free ports, found by what it prints, ended when dropped.
//!
//! ```ignore
//! let data = LogDirectory::new("sum.corp.example", ROUTES);     // a configuration and a directory, nothing running
//! let server = data.serve();
//! server.url;                            // "http://127.0.0.1:PORT"
//! server.metric("tree_size");            // one figure of /metrics
//! server.stop();                         // SIGTERM, and it must end well; dropping it kills
//! ```

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::web;

/// How long a start or a stop may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A configuration file and the directory of a log.
pub(crate) struct LogDirectory {
    directory: tempfile::TempDir,
}

/// A server that runs.
pub(crate) struct Server {
    child: Child,
    printed: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    pub(crate) url: String,
    pub(crate) vkey: String,
    metrics: String,
}

impl LogDirectory {
    /// `rest` is the rest of the configuration: limits and routes.
    pub(crate) fn new(name: &str, rest: &str) -> LogDirectory {
        let directory = LogDirectory { directory: tempfile::tempdir().expect("a directory") };
        directory.configure(name, rest);
        directory
    }

    pub(crate) fn configure(&self, name: &str, rest: &str) {
        let text = format!("name = \"{name}\"\ndata = \"data\"\n{rest}");
        std::fs::write(self.config(), text).expect("a configuration can be written");
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("tallystick.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A copy of all files, as a backup or a cloned disk would be. Nothing must be running.
    pub(crate) fn copy(&self) -> LogDirectory {
        let copy = LogDirectory { directory: tempfile::tempdir().expect("a directory") };
        copy_tree(self.directory.path(), copy.directory.path());
        copy
    }

    pub(crate) fn serve(&self) -> Server {
        let config = self.config();
        Server::start(self.directory.path(), &["--config", config.to_str().expect("a path in UTF-8")], &[])
    }
}

/// Copies files and directories, and leaves out what is neither.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => {
                std::fs::create_dir_all(&target).expect("a directory can be made");
                copy_tree(&source, &target);
            }
            kind if kind.is_file() => drop(std::fs::copy(&source, &target).expect("a file can be copied")),
            // A socket of the server that is gone.
            _ => {}
        }
    }
}

impl Server {
    /// `serve` with these arguments, in `directory`, on ports of its own, with the PATH of the tests and no other
    /// environment than `environment`.
    pub(crate) fn start(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tallystick"));
        command.arg("serve").args(arguments);
        command.args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]).current_dir(directory);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", directory);
        command.envs(environment.iter().copied());
        Server::spawn(command)
    }

    /// The command of a server, as [`LogDirectory::serve`] starts it, to be started in another way.
    pub(crate) fn command(data: &LogDirectory) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tallystick"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--config"]);
        command.arg(data.config()).env("HOME", data.directory.path());
        command
    }

    /// Starts such a command.
    pub(crate) fn spawn(mut command: Command) -> Server {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let printed = Arc::new(Mutex::new(String::new()));
        let reader = read_all(child.stderr.take().expect("a pipe"), printed.clone());
        let lines = read_lines(child.stdout.take().expect("a pipe"));
        let mut server = Server {
            child,
            printed,
            reader: Some(reader),
            url: String::new(),
            vkey: String::new(),
            metrics: String::new(),
        };
        server.read_announcement(&lines);
        server
    }

    /// The listeners are bound before this is printed, so whoever connects then is answered.
    fn read_announcement(&mut self, lines: &Receiver<String>) {
        let deadline = Instant::now() + PATIENCE;
        while self.metrics.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = lines.recv_timeout(left) else {
                panic!("serve did not start; it printed\n{}", self.printed());
            };
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("verifier"), Some("key"), Some(key)) => self.vkey = key.to_owned(),
                (Some("address"), Some(url), None) => self.url = url.to_owned(),
                (Some("metrics"), Some(url), None) => {
                    self.metrics = url.trim_end_matches("/metrics").to_owned();
                }
                _ => {}
            }
        }
        assert!(!self.url.is_empty() && !self.vkey.is_empty(), "the address of metrics comes last");
    }

    /// What it wrote to stderr so far.
    pub(crate) fn printed(&self) -> String {
        self.printed.lock().expect("the reader does not panic").clone()
    }

    /// What `GOSUMDB` must be to use this server by its address.
    pub(crate) fn gosumdb(&self) -> String {
        format!("{} {}", self.vkey, self.url)
    }

    /// The log's name.
    pub(crate) fn name(&self) -> &str {
        self.vkey.split('+').next().expect("a first part")
    }

    pub(crate) fn get(&self, path: &str) -> web::Page {
        web::get(&self.url, path).unwrap_or_else(|error| panic!("{error}\n{}", self.printed()))
    }

    /// The address of the operators' door.
    pub(crate) fn metrics_url(&self) -> &str {
        &self.metrics
    }

    /// What `/readyz` says.
    pub(crate) fn ready(&self) -> String {
        web::get(&self.metrics, "/readyz").expect("readiness is served").text()
    }

    fn samples(&self) -> Vec<(String, f64)> {
        let page = web::get(&self.metrics, "/metrics").expect("metrics are served");
        let text = page.text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }

    /// A figure without labels, without `tallystick_` and `_total`.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let wanted = [format!("tallystick_{name}"), format!("tallystick_{name}_total")];
        let samples = self.samples();
        let found = samples.iter().find(|(name, _)| wanted.contains(name));
        found.unwrap_or_else(|| panic!("no metric {name} in {samples:?}")).1 as u64
    }

    /// A figure of a remote log.
    pub(crate) fn log_metric(&self, name: &str, log: &str) -> u64 {
        let wanted = [
            format!("tallystick_{name}{{log=\"{log}\"}}"),
            format!("tallystick_{name}_total{{log=\"{log}\"}}"),
        ];
        let samples = self.samples();
        let found = samples.iter().find(|(name, _)| wanted.contains(name));
        found.unwrap_or_else(|| panic!("no metric {name} of {log} in {samples:?}")).1 as u64
    }

    /// Requests of clients, of all kinds or of one (`lookup`, `notarize`, `hash_tile`, …), whatever became of them.
    pub(crate) fn requests(&self, endpoint: Option<&str>) -> u64 {
        let label = endpoint.map(|endpoint| format!("endpoint=\"{endpoint}\""));
        let wanted = |name: &str| {
            name.starts_with("tallystick_http_requests_total")
                && label.as_ref().is_none_or(|label| name.contains(label))
        };
        self.samples().iter().filter(|(name, _)| wanted(name)).map(|(_, value)| *value as u64).sum()
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it runs");
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        // Its stderr ends with it: a wait without polling. What hangs is killed by the drop, and fails here.
        let (sender, receiver) = mpsc::channel();
        let reader = self.reader.take().expect("it is joined only here");
        std::thread::spawn(move || sender.send(reader.join().is_ok()));
        let ended = receiver.recv_timeout(PATIENCE);
        assert_eq!(ended, Ok(true), "serve does not stop\n{}", self.printed());
        let status = self.child.wait().expect("a child");
        assert!(status.success(), "serve ended with {status}\n{}", self.printed());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- serve at {} printed\n{}---", self.url, self.printed());
        }
    }
}

fn read_all(mut pipe: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            into.lock().expect("nobody panics with it").push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    })
}

fn read_lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            // Nobody listens any more once it is up; it must be able to go on printing.
            let _ = sender.send(line);
        }
    });
    receiver
}
