//! Faults of the operating system by `strace -e inject`: one system call of one thread fails, or kills the process.
//!
//! strace counts calls (`when=N`) for each thread and each system call apart. A commit is made by one thread that lives
//! as long as the log, so its Nth `pwrite64` is the same write every time: [`calls`] of a run without faults lists them,
//! and each becomes a [`Fault`].

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::campaign::skipped;

/// System calls that change files; locks and memory are not what fails on a bad disk.
const WRITES: [&str; 13] = [
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fallocate",
    "openat",
    "rename",
    "renameat2",
    "unlink",
    "mkdir",
];
/// Those that fail when there is no space.
const NEED_SPACE: [&str; 9] =
    ["write", "pwrite64", "writev", "pwritev", "fsync", "ftruncate", "fallocate", "openat", "mkdir"];

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It fails with EIO.
    Io,
    /// It fails with ENOSPC.
    Space,
    /// The process is killed before it is made.
    Kill,
}

/// The Nth call of its kind, and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) call: String,
    pub(crate) nth: u32,
    pub(crate) effect: Effect,
    /// What it acts on, for people.
    pub(crate) target: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} number {} ({})", self.effect, self.call, self.nth, self.target)
    }
}

impl Fault {
    fn expression(&self) -> String {
        let effect = match self.effect {
            Effect::Io => "error=EIO",
            Effect::Space => "error=ENOSPC",
            Effect::Kill => "signal=SIGKILL",
        };
        format!("inject={}:{effect}:when={}", self.call, self.nth)
    }
}

/// A strace that looks at a thread or runs a program.
pub(crate) struct Strace {
    child: Child,
    log: PathBuf,
}

/// Whether faults can be injected here; says loudly why not.
pub(crate) fn is_available(test: &str) -> bool {
    let program = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    let why = match program {
        Ok(output) if output.status.success() => return true,
        Ok(output) => {
            format!("strace may not trace here: {}", String::from_utf8_lossy(&output.stderr).trim())
        }
        Err(_) => "strace is not installed".to_owned(),
    };
    skipped(test, &why);
    false
}

/// Arguments of strace: which calls are written down, and what happens to which.
fn arguments(faults: &[Fault], log: &Path) -> Vec<String> {
    let mut arguments = vec!["-y".to_owned(), "-s0".to_owned(), "-o".to_owned(), log.display().to_string()];
    arguments.push(format!("-etrace={}", WRITES.join(",")));
    arguments.extend(faults.iter().map(|fault| format!("-e{}", fault.expression())));
    arguments
}

impl Strace {
    /// Looks at one thread from now on; returns when it does.
    pub(crate) fn attach(thread: u32, faults: &[Fault], log: &Path) -> Strace {
        let mut child = Command::new("strace")
            .args(arguments(faults, log))
            .args(["-p", &thread.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is available");
        let mut said = String::new();
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        stderr.read_line(&mut said).expect("strace says that it is attached");
        assert!(said.contains("attached"), "strace: {said}");
        Strace { child, log: log.to_owned() }
    }

    /// Lets go of the thread. Returns what was seen.
    pub(crate) fn detach(mut self) -> String {
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        self.child.wait().expect("it is our child");
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command that runs `program` under strace, which looks at its first thread alone: an injection counts the calls of
/// each thread apart, and the Nth call of another thread is another call every time.
pub(crate) fn under(program: &Command, faults: &[Fault], log: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(arguments(faults, log)).arg(program.get_program()).args(program.get_args());
    command.current_dir(program.get_current_dir().expect("it has one"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped());
    // strace is found by our own PATH; the program gets its own environment.
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) if name != "PATH" => command.env(name, value),
            _ => continue,
        };
    }
    command
}

/// Every call that the thread makes to change a file of the data or the anchor: name, number and file.
pub(crate) fn calls(log: &str) -> Vec<(String, u32, String)> {
    let (mut counts, mut found) = (HashMap::new(), Vec::new());
    for line in log.lines() {
        let Some((call, operands)) = line.split_once('(') else { continue };
        if !WRITES.contains(&call) {
            continue;
        }
        let count = counts.entry(call.to_owned()).or_insert(0);
        *count += 1;
        let changes = call != "openat" || operands.contains("O_CREAT");
        if let Some(target) = target(operands).filter(|_| changes) {
            found.push((call.to_owned(), *count, target));
        }
    }
    found
}

/// The file below data/ or anchor/ that the operands name, by descriptor or by path.
fn target(operands: &str) -> Option<String> {
    let names = operands.split(['<', '>', '"']).skip(1).step_by(2);
    let mut inside = names.filter_map(|name| {
        let at = ["data/", "anchor/"].iter().filter_map(|directory| name.rfind(directory)).min()?;
        Some(name[at..].to_owned())
    });
    inside.next()
}

/// Each call with each effect that makes sense for it.
pub(crate) fn faults(calls: &[(String, u32, String)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (call, nth, target) in calls {
        for effect in [Effect::Io, Effect::Space, Effect::Kill] {
            let fits = match effect {
                Effect::Space => NEED_SPACE.contains(&call.as_str()),
                Effect::Io | Effect::Kill => true,
            };
            if fits {
                let (call, target) = (call.clone(), target.clone());
                faults.push(Fault { call, nth: *nth, effect, target });
            }
        }
    }
    faults
}
