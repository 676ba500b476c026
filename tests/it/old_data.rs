//! What earlier versions wrote is opened by this one. See `tests/fixtures/data-of-2026-11/README.md`.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tallystick::note::{CosignatureSigner, SignerKey};

use crate::cli::Sandbox;
use crate::support::hostile::{Behaviour, HostileServer};
use crate::support::raw::behind_triggers;
use crate::support::serve::{Server, copy_tree};

/// Records of the log in the fixture.
const RECORDS: u64 = 13;
/// What `tallystick.toml` and `monitor.toml` of the fixture call other servers, whose addresses end in
/// digits of their own.
const ADDRESSES: &str = "http://127.0.0.1:97";

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data-of-2026-11")
}

fn expected(name: &str) -> Vec<u8> {
    fs::read(fixture().join("expected").join(name)).unwrap()
}

/// A copy of the fixture with its keys. Every other server in it is one that is out of order.
struct Copy {
    sandbox: Sandbox,
    _others: HostileServer,
}

impl Copy {
    fn new() -> Copy {
        let copy = Copy {
            sandbox: Sandbox::new(),
            _others: HostileServer::always(Behaviour::error(503, "out of order")),
        };
        copy_tree(&fixture(), &copy.sandbox.path(""));
        let log = SignerKey::generate("sum.corp.example".parse().unwrap(), [1; 32]);
        copy.write_key("data", &format!("{}+{}", log.name(), log.id()), &log.to_skey());
        let witness = CosignatureSigner::generate("w1.example".parse().unwrap(), [2; 32]);
        copy.write_key("witness", &format!("{}+{}", witness.name(), witness.id()), &witness.to_skey());
        copy.replace_addresses("tallystick.toml", &copy._others.url());
        copy
    }

    fn write_key(&self, data: &str, stem: &str, skey: &str) {
        let keys = self.sandbox.path(data).join("keys");
        DirBuilder::new().mode(0o700).create(&keys).unwrap();
        let file = format!("{data}/keys/{stem}.skey");
        self.sandbox.write(&file, &format!("{skey}\n"));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(self.sandbox.path(&file), mode).unwrap();
    }

    /// Puts `url` in the place of every address, each of which has two more digits.
    fn replace_addresses(&self, file: &str, url: &str) {
        let text = fs::read_to_string(self.sandbox.path(file)).unwrap();
        let mut parts = text.split(ADDRESSES);
        let first = parts.next().unwrap().to_owned();
        self.sandbox.write(file, &parts.fold(first, |text, part| text + url + &part[2..]));
    }

    fn serve(&self) -> Server {
        Server::start(&self.sandbox.path(""), &["--config", "tallystick.toml"], &[])
    }

    /// The stdout of a command that must succeed.
    fn succeed(&self, arguments: &[&str]) -> String {
        self.sandbox.succeed(&[&["--config", "tallystick.toml"], arguments].concat())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.succeed(arguments)).unwrap()
    }
}

#[test]
fn the_log_and_its_mirrors_answer_what_they_answered() {
    let copy = Copy::new();
    let server = copy.serve();
    for (path, name) in [
        ("/latest", "latest"),
        ("/lookup/demand.test/lib1@v1.2.0", "lookup"),
        ("/sumdb/full.example/latest", "full.latest"),
        ("/sumdb/heads.example/latest", "heads.latest"),
        ("/sumdb/demand.example/lookup/demand.test/lib0@v1.0.0", "demand.lookup"),
    ] {
        let page = server.get(path);
        assert_eq!((page.status, page.body), (200, expected(name)), "{path}");
    }
    // What the log's own key and its witness signed; their times are newer ones by now.
    let tree = |checkpoint: &str| checkpoint.lines().take(3).map(str::to_owned).collect::<Vec<_>>();
    let before = String::from_utf8(expected("checkpoint")).unwrap();
    let now = server.get("/tlog/checkpoint").text();
    assert_eq!(tree(&now), tree(&before));
    assert!(now.contains("\n\u{2014} w1.example "), "the cosignature is kept: {now}");
    server.stop();
    copy.succeed(&["fsck"]);
    copy.succeed(&["mirror", "verify", "full.example"]);
}

/// Its records are all at the right edge: a server without them does not know what it never had.
#[test]
fn a_log_that_lost_its_records_never_says_that_one_is_not_there() {
    let copy = Copy::new();
    let database = copy.sandbox.path("data/log.db");
    behind_triggers(&database, |raw| raw.execute_batch("DELETE FROM tail WHERE record_id > 0").unwrap());
    let server = copy.serve();
    for path in [
        "/lookup/demand.test/lib1@v1.2.0",
        "/lookup/nobody.test/unknown@v1.2.0",
        "/api/v1/modules/demand.test/lib1@v1.2.0",
        "/api/v1/proofs/inclusion?module=demand.test/lib1@v1.2.0",
        "/api/v1/heads/7",
        "/api/v1/records/12",
    ] {
        let page = server.get(path);
        assert_eq!(page.status, 500, "{path}: {}", page.text());
    }
    let known = server.get("/latest");
    assert_eq!((known.status, known.body), (200, expected("latest")));
    server.stop();
    let arguments = ["--config", "tallystick.toml", "lookup", "demand.test/lib1@v1.2.0"];
    assert_eq!(copy.sandbox.run(&arguments).code, 4, "damage");
}

#[test]
fn the_log_goes_on_from_its_anchor() {
    let copy = Copy::new();
    assert_eq!(copy.json(&["anchor", "show", "--json"])["anchored"]["size"], RECORDS);
    let hash = format!("h1:{}=", "A".repeat(43));
    let record = format!("new.test/a v1.0.0 {hash}\nnew.test/a v1.0.0/go.mod {hash}\n");
    copy.sandbox.write("records.txt", &record);
    copy.succeed(&["import", "records.txt", "--trust", "--importer", "a test"]);
    assert_eq!(copy.json(&["anchor", "show", "--json"])["anchored"]["size"], RECORDS + 1);
    copy.succeed(&["fsck"]);
}

#[test]
fn a_witness_remembers_what_it_cosigned() {
    let copy = Copy::new();
    // Without the configuration, which is the log's.
    let known = copy.sandbox.succeed(&["witness", "status", "--data", "witness", "--json"]);
    let known: Value = serde_json::from_str(&known).unwrap();
    let before = String::from_utf8(expected("checkpoint")).unwrap();
    let mut lines = before.lines();
    assert_eq!((known[0]["origin"].as_str(), known[0]["size"].as_u64()), (lines.next(), Some(RECORDS)));
    assert_eq!(known[0]["root"].as_str(), lines.nth(1));
}

#[test]
fn a_monitor_goes_on_without_telling_again() {
    let copy = Copy::new();
    let server = copy.serve();
    copy.replace_addresses("monitor.toml", &server.url);
    assert_eq!(copy.succeed(&["monitor", "monitor.toml", "--once", "--json"]), "");
}
