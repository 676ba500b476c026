//! The `go` command, for what only it knows: go.mod and go.work files, and where downloads lie.
//!
//! It runs in this environment, as the build does. What only reads a file runs with the `go` that
//! is installed and outside of every module, so that nothing that lies about can make it fetch
//! another toolchain.

use std::io::{self, Read};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// `go mod download -json` says about 1 KB for each module.
const MAX_OUTPUT_BYTES: u64 = 256 << 20;
/// What `go` says when it fails.
const MAX_SAID_BYTES: u64 = 16 << 10;

/// Why the `go` command did not tell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GoFailure {
    /// It cannot be run.
    #[error("the go command cannot be run: {source}\n  fix: install Go, or put it into PATH")]
    Start {
        /// Why not.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("`go {command}` failed: {said}")]
    Failed {
        /// Its arguments.
        command: String,
        /// What it said.
        said: String,
    },
    /// Its output is not what it is known to print.
    #[error("`go {command}` printed something unexpected: {why}")]
    Output {
        /// Its arguments.
        command: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A go.mod file, as `go mod edit -json` prints it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct GoMod {
    pub(super) require: Option<Vec<GoModule>>,
    pub(super) replace: Option<Vec<Replacement>>,
}

/// A go.work file, as `go work edit -json` prints it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct GoWork {
    #[serde(rename = "Use")]
    pub(super) uses: Option<Vec<WorkspaceMember>>,
    pub(super) replace: Option<Vec<Replacement>>,
}

/// A `use` line.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WorkspaceMember {
    pub(super) disk_path: String,
}

/// A `replace` line.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Replacement {
    pub(super) old: GoModule,
    pub(super) new: GoModule,
}

/// A module in one of them; without a version where any is meant, or where the path is that of a
/// directory.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GoModule {
    pub(super) path: String,
    #[serde(default)]
    pub(super) version: String,
}

/// Returns what a `go` command that only reads a file prints.
pub(super) fn read_only(arguments: &[&str]) -> Result<Vec<u8>, GoFailure> {
    let mut command = Command::new("go");
    command.env("GOTOOLCHAIN", "local").env("GOFLAGS", "").current_dir(std::env::temp_dir());
    run(command, arguments, false)
}

/// Reads the JSON of a command that only reads a file.
pub(super) fn read_json<T: DeserializeOwned>(arguments: &[&str]) -> Result<T, GoFailure> {
    let output = read_only(arguments)?;
    serde_json::from_slice(&output)
        .map_err(|error| GoFailure::Output { command: arguments.join(" "), why: error.to_string() })
}

/// Returns what a command prints that downloads. It says in its output what failed, and is outside
/// of every module.
pub(super) fn download(arguments: &[&str]) -> Result<Vec<u8>, GoFailure> {
    let mut command = Command::new("go");
    command.env("GOWORK", "off").current_dir(std::env::temp_dir());
    if let Ok(flags) = std::env::var("GOFLAGS") {
        // There is no vendor directory where it runs.
        let is_mode = |flag: &&str| flag.trim_start_matches('-').starts_with("mod=");
        let kept: Vec<&str> = flags.split_whitespace().filter(|flag| !is_mode(flag)).collect();
        command.env("GOFLAGS", kept.join(" "));
    }
    run(command, arguments, true)
}

fn run(mut command: Command, arguments: &[&str], may_fail: bool) -> Result<Vec<u8>, GoFailure> {
    let named = || arguments.iter().take(4).copied().collect::<Vec<_>>().join(" ");
    let started =
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.map_err(|source| GoFailure::Start { source })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let said = std::thread::spawn(move || {
        let mut said = Vec::new();
        let Some(mut stderr) = stderr else { return said };
        let read = stderr.by_ref().take(MAX_SAID_BYTES).read_to_end(&mut said);
        // The rest goes nowhere, but a full pipe would stop the command.
        let _ = read.and_then(|_| io::copy(&mut stderr, &mut io::sink()));
        said
    });
    let mut output = Vec::new();
    let read = stdout.map_or(Ok(0), |stdout| stdout.take(MAX_OUTPUT_BYTES + 1).read_to_end(&mut output));
    let is_long = output.len() as u64 > MAX_OUTPUT_BYTES;
    if is_long || read.is_err() {
        // It may have ended by itself.
        let _ = child.kill();
    }
    let status = child.wait();
    let said = said.join().expect("reading what a program says does not panic");
    let failed = |why: String| GoFailure::Output { command: named(), why };
    read.map_err(|error| failed(error.to_string()))?;
    let status = status.map_err(|error| failed(error.to_string()))?;
    if is_long {
        return Err(failed(format!("more than {MAX_OUTPUT_BYTES} bytes")));
    }
    if status.success() || (may_fail && !output.is_empty()) {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let said = if said.is_empty() { status.to_string() } else { said };
    Err(GoFailure::Failed { command: named(), said })
}
