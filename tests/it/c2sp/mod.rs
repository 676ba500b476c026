//! The log as C2SP sees it, held against other people's programs: `tests/oracle/c2sp`, built with filippo.io/torchwood,
//! github.com/transparency-dev/formats and github.com/transparency-dev/tessera.

mod checkpoint;
mod cosignature;
mod policy;
mod proof;
mod served;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// Builds a program of `tests/oracle/c2sp`, or says loudly why it cannot be had here.
pub(crate) fn build(test: &str, package: &str) -> Option<PathBuf> {
    build_in(test, "tests/oracle/c2sp", package)
}

/// Builds a package that a module of ours, or one that it requires, has.
pub(crate) fn build_in(test: &str, module: &str, package: &str) -> Option<PathBuf> {
    let directory = &Path::new(env!("CARGO_MANIFEST_DIR")).join(module);
    let go = |arguments: &[&str]| {
        let mut go = Command::new("go");
        go.args(arguments).current_dir(directory);
        go.env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "-mod=readonly -buildvcs=false")
            .env("GOWORK", "off")
            .output()
    };
    let why = match go(&["mod", "download"]) {
        Err(error) => Some(format!("the go command does not run: {error}")),
        Ok(output) if !output.status.success() => {
            Some(format!("the modules are not to be had: {}", String::from_utf8_lossy(&output.stderr)))
        }
        Ok(_) => None,
    };
    if let Some(why) = why {
        eprintln!("SKIPPED: {test}: {why}");
        return None;
    }
    // A package of our own, or a tool of another module.
    let name = package.rsplit('/').next().expect("a last part");
    let package = if package.contains('/') { package.to_owned() } else { format!("./{package}") };
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("c2sp-{name}"));
    let output = go(&["build", "-o", program.to_str().expect("a path in UTF-8"), &package])
        .expect("go ran a moment ago");
    assert!(output.status.success(), "{package}: {}", String::from_utf8_lossy(&output.stderr));
    Some(program)
}

/// A foreign program that answers each line of JSON with another.
pub(crate) struct Oracle {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Oracle {
    pub(crate) fn start(test: &str, package: &str) -> Option<Oracle> {
        let mut process = Command::new(build(test, package)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("what was built runs");
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Some(Oracle { process, input, output: BufReader::new(output) })
    }

    pub(crate) fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.input, "{question}").expect("the oracle reads");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("the oracle answers");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{question}: {answer:?}: {error}"))
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
