//! The verifying client of a remote log: against the real answers of sum.golang.org, against logs of our own that lie,
//! fork and grow, and (one test) against the real log.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the report; clippy knows only functions marked as tests"
)]

mod audited;
mod audited_lines;
mod commands;
mod drill;
mod faults;
mod fixture;
mod full;
mod gossip;
mod gosum;
mod growth;
mod hanging;
mod heads;
mod hooks;
mod kept_twice;
mod liars;
mod live;
mod monitor;
mod operations;
mod permissions;
mod served;
pub(crate) mod small_log;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tallystick::clock::Clock;
use tallystick::mirror::{ProvenRecord, RemoteError, RemoteLimits, RemoteLog, RemoteLogOptions};
use tallystick::module::ModuleVersion;
use tallystick::source::SourceUrl;
use tallystick::upstream::{ClientOptions, HttpClient, ProxySettings, RemoteSumdb};

use crate::support::hostile::{Behaviour, HostileServer};

/// As printed in the `go` command.
const GOLANG_KEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
const GOLANG: &str = "sum.golang.org";

/// Time enough for any answer on this machine.
fn ample() -> Instant {
    Clock::system().instant() + Duration::from_secs(60)
}

fn module(text: &str) -> ModuleVersion {
    text.parse().unwrap()
}

/// How a log is opened in these tests.
struct Client {
    directory: tempfile::TempDir,
    name: String,
    key: String,
}

impl Client {
    fn new(name: &str, key: &str) -> Client {
        Client { directory: tempfile::tempdir().unwrap(), name: name.into(), key: key.into() }
    }

    fn golang() -> Client {
        Client::new(GOLANG, GOLANG_KEY)
    }

    fn database(&self) -> PathBuf {
        self.directory.path().join("remote.db")
    }

    fn transport(&self, urls: &[String]) -> RemoteSumdb {
        let options = ClientOptions { proxies: ProxySettings::default(), ..ClientOptions::default() };
        let urls = urls.iter().map(|url| SourceUrl::parse(url).unwrap()).collect();
        RemoteSumdb::new(self.name.clone(), urls, HttpClient::new(options).unwrap())
    }

    fn options(&self, transport: RemoteSumdb) -> RemoteLogOptions {
        RemoteLogOptions {
            name: self.name.clone(),
            key: self.key.parse().unwrap(),
            transport,
            database: self.database(),
            clock: Clock::system(),
            replica: None,
            limits: RemoteLimits::default(),
        }
    }

    fn open(&self, urls: &[String]) -> RemoteLog {
        RemoteLog::open(self.options(self.transport(urls))).unwrap()
    }

    /// Opens the log with no server to ask.
    fn open_offline(&self) -> RemoteLog {
        self.open(&["file:///nonexistent".to_owned()])
    }
}

/// What is answered must be provable from what is kept.
fn assert_provable(log: &RemoteLog, proven: &ProvenRecord) {
    let head = log.head(proven.head.size).unwrap().expect("the head is stored");
    assert_eq!(head.tree, proven.head);
    let proof = log.prove(proven.record, proven.head.size).unwrap().expect("the tiles are kept");
    let leaf = tallystick::tlog::Hash::of_record(proven.lines.to_text().as_bytes());
    let tallystick::tlog::TreeHead { size, root } = proven.head;
    tallystick::tlog::verify_inclusion(&proof, size, &root, proven.record, &leaf).unwrap();
}

fn fixture_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sum.golang.org")
}

/// The file of the fixture that answers a path, if there is one.
fn fixture_answer(path: &str) -> Option<Vec<u8>> {
    std::fs::read(fixture_directory().join(path.trim_start_matches('/'))).ok()
}

/// A server of the fixture whose answers `change` may change.
fn fixture_server(change: impl Fn(&str, Vec<u8>) -> Behaviour + Send + Sync + 'static) -> HostileServer {
    HostileServer::start(move |path| match fixture_answer(path) {
        Some(body) => change(path, body),
        None => Behaviour::not_found(),
    })
}

fn honest_fixture_server() -> HostileServer {
    fixture_server(|_, body| Behaviour::ok(body))
}

/// The module versions of the fixture with their record texts.
fn fixture_modules() -> Vec<(ModuleVersion, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let root = fixture_directory().join("lookup");
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.sort();
    let one = |file: &PathBuf| {
        let wire = file.strip_prefix(&root).unwrap().to_str().unwrap();
        let answer = std::fs::read_to_string(file).unwrap();
        let record = answer.split_once('\n').unwrap().1.split_once("\n\n").unwrap().0;
        (ModuleVersion::unescape(wire).unwrap(), format!("{record}\n"))
    };
    let modules: Vec<_> = files.iter().map(one).collect();
    assert_eq!(modules.len(), 30);
    modules
}

fn unproven(result: Result<ProvenRecord, RemoteError>) -> std::sync::Arc<tallystick::mirror::Unproven> {
    match result {
        Err(RemoteError::Unproven(unproven)) => unproven,
        other => panic!("expected unproven, got {other:?}"),
    }
}

#[tokio::test]
async fn every_lie_is_refused() {
    liars::each_lie_is_neither_answered_nor_kept().await;
}
