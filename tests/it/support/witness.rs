//! `tallystick witness` as a process, on a free port, found by what it prints, killed when dropped.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a start may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A witness that runs.
pub(crate) struct WitnessProcess {
    child: Child,
    pub(crate) url: String,
    pub(crate) vkey: String,
    pub(crate) metrics: String,
}

/// The command, with the directory of its data and these logs.
pub(crate) fn command(data: &Path, arguments: &[&str], logs: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallystick"));
    command.arg("witness").args(arguments).arg("--data").arg(data);
    for log in logs {
        command.args(["--log", log]);
    }
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

impl WitnessProcess {
    pub(crate) fn start(data: &Path, name: &str, logs: &[String]) -> WitnessProcess {
        WitnessProcess::start_with(data, name, logs, &[])
    }

    pub(crate) fn start_with(data: &Path, name: &str, logs: &[String], more: &[&str]) -> WitnessProcess {
        let arguments = ["--name", name, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
        WitnessProcess::spawn(command(data, &[&arguments, more].concat(), logs))
    }

    /// Starts a [`command`] that listens on free ports.
    pub(crate) fn spawn(mut command: Command) -> WitnessProcess {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("the binary runs");
        let (sender, lines) = mpsc::channel();
        let pipe = child.stdout.take().expect("a pipe");
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut witness =
            WitnessProcess { child, url: String::new(), vkey: String::new(), metrics: String::new() };
        while witness.metrics.is_empty() {
            let line = lines.recv_timeout(PATIENCE).expect("the witness starts");
            let words: Vec<_> = line.split_whitespace().collect();
            match words[..] {
                ["witness", "key", key, ..] => witness.vkey = key.to_owned(),
                ["address", url] => witness.url = url.to_owned(),
                ["metrics", url] => witness.metrics = url.trim_end_matches("/metrics").to_owned(),
                _ => {}
            }
        }
        witness
    }

    /// SIGKILL, at whatever it is.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child");
    }

    /// SIGTERM, and whether it ended well.
    pub(crate) fn stop(mut self) -> bool {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        self.child.wait().expect("a child").success()
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it runs");
    }

    /// Stands still, with its connections open, until [`WitnessProcess::go_on`].
    pub(crate) fn freeze(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it runs");
    }

    pub(crate) fn go_on(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("it runs");
    }
}

impl Drop for WitnessProcess {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
