//! The Go programs of `tests/oracle` that speak JSON on standard input and output: modules made by x/mod, look-ups made by
//! x/mod, a tree hashed by x/mod.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const PROGRAMS: [&str; 7] = ["evidence", "mkproxy", "openapi", "proofs", "rehash", "static", "sumdbclient"];

/// The directory of the programs, built once, or why there is none.
fn built() -> &'static Result<PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oracle");
        std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
        let mut command = Command::new("go");
        command.args(["build", "-o"]).arg(&directory).args(PROGRAMS.map(|program| format!("./{program}")));
        command.current_dir(source).env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=readonly");
        let output = command.env("GOWORK", "off").output();
        let output = output.map_err(|error| format!("go cannot be run: {error}"))?;
        if output.status.success() {
            return Ok(directory);
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // A program that does not compile is a failure; x/mod that cannot be fetched is not.
        let cannot_fetch = ["dial tcp", "missing go.sum", "lookup ", "no required module provides", "proxy"];
        assert!(cannot_fetch.iter().any(|mark| said.contains(mark)), "tests/oracle: {said}");
        Err(format!("golang.org/x/mod is not to be had: {said}"))
    })
}

/// Whether the `go` command and the programs can be used; says loudly when not.
pub(crate) fn is_there(test: &str) -> bool {
    match built() {
        Ok(_) => true,
        Err(why) => {
            eprintln!("SKIPPED: client::{test}: {why}");
            false
        }
    }
}

/// A program that Go has built.
pub(crate) fn program(name: &str) -> PathBuf {
    built().as_ref().expect("a test asks is_there first").join(name)
}

/// Runs a program with `input`; it must succeed.
fn run<T: DeserializeOwned>(program: &str, input: &Value) -> T {
    let directory = built().as_ref().expect("a test asks is_there first");
    let mut command = Command::new(directory.join(program));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it was just built");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.to_string().as_bytes()).expect("it reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

/// The hashes that x/mod gives a module version.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) zip: String,
    #[serde(rename = "mod")]
    pub(crate) go_mod: String,
}

/// A module version to be published.
pub(crate) struct Spec {
    path: String,
    version: String,
    files: BTreeMap<String, String>,
}

impl Spec {
    /// A module with a go.mod and one package.
    pub(crate) fn new(path: &str) -> Spec {
        Spec { path: path.to_owned(), version: "v1.0.0".to_owned(), files: BTreeMap::new() }
            .file("go.mod", &format!("module {path}\n\ngo 1.21\n"))
            .file("lib.go", "package lib\n\nconst Name = 1\n")
    }

    pub(crate) fn version(mut self, version: &str) -> Spec {
        self.version = version.to_owned();
        self
    }

    pub(crate) fn file(mut self, name: &str, text: &str) -> Spec {
        self.files.insert(name.to_owned(), text.to_owned());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Spec {
        self.files.remove(name);
        self
    }

    /// Requires v1.0.0 of each of these.
    pub(crate) fn requires(self, paths: &[String]) -> Spec {
        let lines: String = paths.iter().map(|path| format!("\t{path} v1.0.0\n")).collect();
        let go_mod = format!("module {}\n\ngo 1.21\n\nrequire (\n{lines})\n", self.path);
        self.file("go.mod", &go_mod)
    }
}

/// A module proxy of files.
pub(crate) struct Proxy {
    directory: tempfile::TempDir,
    sums: BTreeMap<String, Sums>,
}

impl Proxy {
    pub(crate) fn new(modules: Vec<Spec>) -> Proxy {
        let mut proxy = Proxy { directory: tempfile::tempdir().expect("a directory"), sums: BTreeMap::new() };
        proxy.publish(modules);
        proxy
    }

    /// Modules `prefix0` to `prefix<count - 1>`, and their paths.
    pub(crate) fn of_many(prefix: &str, count: usize) -> (Proxy, Vec<String>) {
        let paths: Vec<String> = (0..count).map(|i| format!("{prefix}{i}")).collect();
        (Proxy::new(paths.iter().map(|path| Spec::new(path)).collect()), paths)
    }

    /// Adds modules, or puts others in their places as somebody who moves a tag does.
    pub(crate) fn publish(&mut self, modules: Vec<Spec>) {
        let modules: Vec<Value> = modules
            .into_iter()
            .map(|spec| json!({"path": spec.path, "version": spec.version, "files": spec.files}))
            .collect();
        let made: BTreeMap<String, Sums> =
            run("mkproxy", &json!({"dir": self.directory.path(), "modules": modules}));
        self.sums.extend(made);
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    /// A route that hashes what this proxy has.
    pub(crate) fn route(&self, patterns: &str) -> String {
        format!(
            "[[route]]\nmodules = [\"{patterns}\"]\nsource = [\"{}\"]\nchecksum = \"compute\"\n",
            self.url()
        )
    }

    /// What x/mod says of `path@version`.
    pub(crate) fn sums(&self, module: &str) -> &Sums {
        &self.sums[module]
    }

    /// The two go.sum lines of `path@version`, from x/mod's hashes.
    pub(crate) fn lines(&self, module: &str) -> [String; 2] {
        let (path, version) = module.split_once('@').expect("path@version");
        let sums = self.sums(module);
        [format!("{path} {version} {}", sums.zip), format!("{path} {version}/go.mod {}", sums.go_mod)]
    }
}

/// What x/mod's client did.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Looked {
    pub(crate) results: Vec<Found>,
    pub(crate) latest: String,
    pub(crate) security: Vec<String>,
    pub(crate) remote: Vec<String>,
    pub(crate) cached: Vec<String>,
}

/// One of its answers.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Found {
    pub(crate) lines: Option<Vec<String>>,
    pub(crate) error: String,
}

/// Looks up `lookups` at `url` with x/mod's client; `more` are other keys of its input.
pub(crate) fn look_up(vkey: &str, url: &str, lookups: &[String], more: Value) -> Looked {
    let mut input = json!({"key": vkey, "url": url, "lookups": lookups});
    let fields = input.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    run("sumdbclient", &input)
}

/// What a report of misbehaviour proves to x/mod.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) older: u64,
    pub(crate) newer: u64,
    pub(crate) error: String,
}

/// Judges a report of misbehaviour by the log's key.
pub(crate) fn judge(vkey: &str, report: &str) -> Judged {
    run("evidence", &json!({"key": vkey, "text": report}))
}

/// A whole log, hashed again.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Rehashed {
    pub(crate) size: u64,
    pub(crate) root: String,
    pub(crate) tiles: u64,
}

/// Reads and hashes the log at `url`, and trees of `older` sizes; compares every tile in every width.
pub(crate) fn rehash(vkey: &str, url: &str, older: &[u64]) -> Rehashed {
    run("rehash", &json!({"key": vkey, "url": url, "older": older}))
}

/// The same for a large log: each tile is compared in its widest form only.
pub(crate) fn rehash_widest(vkey: &str, url: &str, older: &[u64]) -> Rehashed {
    run("rehash", &json!({"key": vkey, "url": url, "older": older, "widest": true}))
}

/// A static checksum database, hashed again.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Static {
    pub(crate) size: u64,
    pub(crate) root: String,
    pub(crate) files: u64,
    /// What a delta in the first directory goes on from, else 0.
    pub(crate) old: u64,
}

/// Reads and hashes the files in these directories, of which the first has precedence, and trees of `older` sizes.
pub(crate) fn check_static(vkey: &str, directories: &[&Path], older: &[u64]) -> Static {
    run("static", &json!({"key": vkey, "dirs": directories, "older": older}))
}

/// Proofs of a server, verified.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Proved {
    pub(crate) size: u64,
    pub(crate) inclusion: u64,
    pub(crate) consistency: u64,
    /// Of them, those that came with the signed note of their tree.
    pub(crate) notes: u64,
}

/// Verifies the proofs of every record and pair in trees of these sizes (of all sizes if none are given), and of `random` more.
pub(crate) fn prove_all(vkey: &str, url: &str, sizes: Option<&[u64]>, random: u64) -> Proved {
    run("proofs", &json!({"key": vkey, "url": url, "sizes": sizes, "random": random}))
}

/// What of these answers and questions is not as an OpenAPI document says.
pub(crate) fn described(document: &str, answers: &[Value], questions: &[Value]) -> Vec<String> {
    run("openapi", &json!({"document": document, "answers": answers, "questions": questions}))
}
