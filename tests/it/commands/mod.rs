//! `lookup`, `import`, `fsck` with the real binary, each beside a server and without one.

mod advice;
mod exits;
mod fsck;
mod import;
mod incidents;
mod logs;
mod lookup;
mod prove;
mod records;
mod schema;
mod server;

use std::fs;
use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tallystick::store::LogReader;
use tallystick::store::evidence::KeptIncident;
use tallystick::store::sqlite::SqliteReader;
use tallystick::tlog::TreeSize;

use crate::cli::{Ran, Sandbox};
use crate::support::hostile::{Behaviour, HostileServer};

const QUOTE: &str = "\
rsc.io/quote v1.5.2 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=
rsc.io/quote v1.5.2/go.mod h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=
";

const GO_MOD: &[u8] = b"module corp.example/billing\n\ngo 1.21\n";

/// A data directory with a key, a private module in a directory, and sum.golang.org as it was.
struct World {
    sandbox: Sandbox,
    golang: HostileServer,
}

impl World {
    fn new() -> World {
        let world = World { sandbox: Sandbox::new(), golang: HostileServer::start(fixture) };
        let config = format!(
            r#"
data = "data"
name = "sum.corp.example"
listen = "127.0.0.1:0"
metrics_listen = "127.0.0.1:0"

[sumdb."sum.golang.org"]
key = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
urls = ["{}"]

[[route]]
modules = ["corp.example/*"]
source = ["file://{}"]
checksum = "compute"

[[route]]
modules = ["*"]
source = ["file:///nonexistent"]
checksum = "sum.golang.org"
"#,
            world.golang.url(),
            world.sandbox.path("goproxy").display()
        );
        world.sandbox.write("tallystick.toml", &config);
        world.publish();
        world.succeed(&["key", "new"]);
        world
    }

    /// Puts corp.example/billing v0.4.0 where its route finds it.
    fn publish(&self) {
        let directory = self.sandbox.path("goproxy/corp.example/billing/@v");
        fs::create_dir_all(&directory).unwrap();
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in billing() {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        fs::write(directory.join("v0.4.0.zip"), zip.finish().unwrap().into_inner()).unwrap();
        fs::write(directory.join("v0.4.0.mod"), GO_MOD).unwrap();
        let info = r#"{"Version":"v0.4.0","Origin":{"VCS":"git","Hash":"0123abc"}}"#;
        fs::write(directory.join("v0.4.0.info"), info).unwrap();
    }

    fn arguments<'a>(&self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["--config", "tallystick.toml"], arguments].concat()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.sandbox.run(&self.arguments(arguments))
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        self.sandbox.succeed(&self.arguments(arguments))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(arguments).stdout).unwrap()
    }

    /// Runs a command with something on its standard input.
    fn run_with_input(&self, arguments: &[&str], input: Vec<u8>) -> Ran {
        let mut command = self.sandbox.command(&self.arguments(arguments));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        // A command that refuses its input does not read all of it.
        let _ = writer.join().unwrap();
        Ran::of(output)
    }

    fn database(&self) -> PathBuf {
        self.sandbox.path("data/log.db")
    }

    fn reader(&self) -> SqliteReader {
        SqliteReader::open(&self.database(), 1024).unwrap()
    }

    /// Records in the log.
    fn size(&self) -> u64 {
        self.reader().heads(TreeSize(u64::MAX), 1).unwrap()[0].tree.size.0
    }

    fn incidents(&self) -> Vec<KeptIncident> {
        self.reader().incidents(100).unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.sandbox.path("data/control.sock")
    }

    fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    /// Starts a server, and waits until it says that it listens.
    fn serve_with(&self, environment: &[(&str, &str)]) -> Server {
        let mut command = self.sandbox.command(&self.arguments(&["serve"]));
        command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = Server { child: command.spawn().unwrap(), announced: String::new() };
        let mut lines = BufReader::new(server.child.stdout.take().unwrap()).lines();
        while !server.announced.contains("go env -w GONOSUMDB") {
            let line = lines.next().expect("the announcement is not cut").unwrap();
            server.announced += &format!("{line}\n");
        }
        server
    }

    /// Runs what holds with a server and without one.
    fn both_ways(test: impl Fn(&World)) {
        test(&World::new());
        let world = World::new();
        let server = world.serve();
        test(&world);
        assert!(server.stop().0, "the server ends well");
    }
}

/// A running `tallystick serve`.
struct Server {
    child: Child,
    /// What it printed on stdout.
    announced: String,
}

impl Server {
    fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// Ends it as an operator does. Returns whether it ended with 0, and what it logged.
    fn stop(mut self) -> (bool, String) {
        self.signal(rustix::process::Signal::TERM);
        let mut logged = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut logged).unwrap();
        (self.child.wait().unwrap().success(), logged)
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only a test that fails leaves one behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fixture(path: &str) -> Behaviour {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sum.golang.org");
    fs::read(root.join(path.trim_start_matches('/'))).map_or_else(|_| Behaviour::not_found(), Behaviour::ok)
}

fn billing() -> [(&'static str, &'static [u8]); 2] {
    [
        ("corp.example/billing@v0.4.0/billing.go", b"package billing\n"),
        ("corp.example/billing@v0.4.0/go.mod", GO_MOD),
    ]
}

/// The hash as golang.org/x/mod/sumdb/dirhash specifies it: SHA-256 of `<hex of the file's SHA-256>  <name>\n`, by name.
fn h1(files: &[(&str, &[u8])]) -> String {
    let mut summary = Sha256::new();
    for (name, content) in files {
        let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        summary.update(format!("{hex}  {name}\n"));
    }
    format!("h1:{}", base64::engine::general_purpose::STANDARD.encode(summary.finalize()))
}

/// The go.sum lines of corp.example/billing v0.4.0.
fn billing_lines() -> String {
    format!(
        "corp.example/billing v0.4.0 {}\ncorp.example/billing v0.4.0/go.mod {}\n",
        h1(&billing()),
        h1(&[("go.mod", GO_MOD)])
    )
}

/// Times and roots of trees change from run to run.
fn without_times(text: &str) -> String {
    let is_time = |words: &[&str]| words.len() == 3 && words[2].starts_with("UTC");
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        match words.windows(3).position(is_time) {
            Some(at) => [&words[..at], &["TIME"], &words[at + 3..]].concat().join(" "),
            None => line.to_owned(),
        }
    };
    text.lines().map(line).map(|line| format!("{line}\n")).collect()
}
